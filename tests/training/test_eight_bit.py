"""The 8-bit step in C against bitsandbytes, against arithmetic, and without a compiler."""

import numpy as np
import pytest
import torch
from bitsandbytes.functional import create_dynamic_map, dequantize_blockwise
from bitsandbytes.optim import AdamW8bit

from pipeline.training.eight_bit import CELL, MASK, CodeBook, CpuAdamW8bit
from pipeline.training.precision import LowPrecisionCopies
from tests.training.jobs import needs_compiler

SHAPES = [(128, 64), (40, 27, 3, 3), (5000,), (300,), (1,)]  # codes whole and with a rest; moments in float32


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def steps(optimizer: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def states(optimizer: torch.optim.Optimizer) -> list[dict]:
    return [optimizer.state[parameter] for parameter in optimizer.param_groups[0]["params"]]


def wide(state: dict, name: str) -> torch.Tensor:
    moment = state[f"state{name}"]
    if moment.dtype == torch.float32:
        return moment
    return dequantize_blockwise(moment, absmax=state[f"absmax{name}"], code=state[f"qmap{name}"], blocksize=256)


def test_one_step_is_that_of_bitsandbytes() -> None:
    needs_compiler()
    ours, theirs = parameters(), parameters()
    settings = {"lr": 0.01, "weight_decay": 0.1}
    mine, other = CpuAdamW8bit(ours, **settings), AdamW8bit(theirs, **settings)
    steps(mine, 1)
    steps(other, 1)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    for one, two in zip(states(mine), states(other), strict=True):
        assert one.keys() == two.keys()
        assert one["state1"].dtype == two["state1"].dtype
        largest = wide(two, "1").abs().max()
        torch.testing.assert_close(wide(one, "1"), wide(two, "1"), rtol=0, atol=0.02 * float(largest))


def test_steps_follow_adamw_in_float32_as_closely_as_bitsandbytes() -> None:
    needs_compiler()
    settings = {"lr": 0.01, "weight_decay": 0.1}
    ours, theirs, exact = parameters(), parameters(), parameters()
    for some, optimizer in ((ours, CpuAdamW8bit), (theirs, AdamW8bit), (exact, torch.optim.AdamW)):
        steps(optimizer(some, **settings), 30)
    for one, two, three in zip(ours, theirs, exact, strict=True):
        assert (one - three).norm() <= 1.05 * (two - three).norm() + 1e-5
        assert (one - three).norm() < 0.1 * (three - parameters()[0].mean()).norm()


def codes_of(book: CodeBook, values: torch.Tensor) -> torch.Tensor:
    """The codes of floats in -1..1, looked up in the tables as the C file does it."""
    bits = values.numpy().view(np.uint32)
    cells = book.cells.numpy().view(np.uint32)[bits >> CELL]
    inside = np.where(bits >> 31, ~bits, bits) & MASK
    return torch.from_numpy(((cells >> CELL) + (inside > (cells & MASK))).astype(np.int64))


@pytest.mark.parametrize("signed", [True, False])
def test_the_code_is_the_nearest_one(signed: bool) -> None:
    """By the tables that the C file reads: no value of the book is nearer than the one it takes."""
    values = create_dynamic_map(signed)
    book = CodeBook(values)
    generator = torch.Generator().manual_seed(3)
    some = torch.randn(100_000, generator=generator).clamp(-1, 1) * torch.logspace(-8, 0, 100_000)
    some = torch.cat([some if signed else some.abs(), torch.tensor([0.0, 1.0]), (values[1:] + values[:-1]) / 2, values])
    codes = codes_of(book, some)
    nearest = (some[:, None] - values[None]).abs().min(dim=1).values
    assert torch.all((some - values[codes]).abs() <= nearest + 3e-7 * some.abs())  # a middle may go either way


def test_what_the_c_file_coded_is_nearest_too() -> None:
    needs_compiler()
    parameter = torch.nn.Parameter(torch.zeros(64, 256))
    optimizer = CpuAdamW8bit([parameter], lr=0.0, weight_decay=0.0)
    parameter.grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(4))
    optimizer.step()
    state = optimizer.state[parameter]
    moment = 0.1 * parameter.grad
    torch.testing.assert_close(state["absmax1"], moment.abs().amax(dim=1))
    shares = moment / moment.abs().amax(dim=1, keepdim=True)
    away = (state["qmap1"][state["state1"].long()] - shares).abs()
    assert torch.all(away <= (shares[..., None] - state["qmap1"]).abs().amin(dim=-1) + 1e-6)


def test_threads_change_nothing() -> None:
    needs_compiler()
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            some = parameters()
            steps(CpuAdamW8bit(some, lr=0.01), 3)
            found.append(some)
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    needs_compiler()
    still, moved = torch.nn.Parameter(torch.ones(5000)), torch.nn.Parameter(torch.ones(5000))
    moved.grad = torch.ones(5000)
    CpuAdamW8bit([still, moved], lr=0.1).step()
    assert torch.equal(still, torch.ones(5000)) and not torch.equal(moved, torch.ones(5000))


def test_without_a_compiler_bitsandbytes_does_the_step(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.training.eight_bit.load_library", lambda *_: None)
    ours, theirs = parameters(), parameters()
    mine, other = CpuAdamW8bit(ours, lr=0.01), AdamW8bit(theirs, lr=0.01)
    assert not mine.in_c
    steps(mine, 2)
    steps(other, 2)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    norm = mine.clip_gradients(1.0)
    assert norm == torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))


def with_gradients(scale: float, narrow: bool = False) -> list[torch.nn.Parameter]:
    found = parameters()
    generator = torch.Generator().manual_seed(5)
    for parameter in found:
        gradient = (torch.randn(parameter.shape, generator=generator) * scale).bfloat16()
        parameter.grad_dtype = None
        parameter.grad = gradient if narrow else gradient.float()
    return found


def test_a_bfloat16_gradient_counts_as_the_float_it_is() -> None:
    needs_compiler()
    ours, theirs = with_gradients(1.0, narrow=True), with_gradients(1.0)
    CpuAdamW8bit(ours, lr=0.01).step()
    CpuAdamW8bit(theirs, lr=0.01).step()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_copies_are_the_weights_rounded() -> None:
    needs_compiler()
    layers = torch.nn.ModuleList([torch.nn.Linear(300, 20), torch.nn.Linear(7, 3)])
    with torch.no_grad():
        layers[1].weight[0, :4] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, float("inf"), float("nan")])  # ties: to even
    optimizer = CpuAdamW8bit(layers.parameters(), lr=0.0, weight_decay=0.0)
    optimizer.copies = LowPrecisionCopies([layers])
    for copy in optimizer.copies.copies.values():
        copy.zero_()
    for parameter in layers.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, copy in optimizer.copies.copies.items():
        assert torch.equal(copy.nan_to_num(7), parameter.detach().bfloat16().nan_to_num(7))
        assert optimizer.copies.versions[parameter] == parameter._version  # nothing is left to be followed


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_clipping_is_that_of_torch(narrow: bool, scale: float) -> None:
    needs_compiler()
    ours, theirs = with_gradients(scale, narrow), with_gradients(scale)
    mine, other = CpuAdamW8bit(ours, lr=0.01), CpuAdamW8bit(theirs, lr=0.01)
    norm, expected = mine.clip_gradients(1.0), torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    assert (norm > 1) == (scale == 1.0)
    mine.step()
    other.step()
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    moments = [wide(state, "1").norm() for state in states(mine)]
    torch.testing.assert_close(moments, [wide(state, "1").norm() for state in states(other)], rtol=1e-2, atol=0)


def test_only_the_step_after_is_clipped() -> None:
    needs_compiler()
    ours, theirs = with_gradients(1.0), with_gradients(1.0)
    mine, other = CpuAdamW8bit(ours, lr=0.01, betas=(0.0, 0.999)), CpuAdamW8bit(theirs, lr=0.01, betas=(0.0, 0.999))
    mine.clip_gradients(1e-3)
    for optimizer in (mine, other):
        optimizer.step()
        optimizer.step()
    for one, two in zip(states(mine), states(other), strict=True):  # without a memory the moment is the last gradient
        assert torch.equal(wide(one, "1"), wide(two, "1"))


def test_the_norm_does_not_depend_on_threads() -> None:
    needs_compiler()
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(CpuAdamW8bit(with_gradients(1.0), lr=0.01).clip_gradients(1.0))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
