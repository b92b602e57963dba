import pytest
import torch

from pipeline.training.muon import Muon, is_matrix, orthogonal
from pipeline.training.optimizer import parameter_group

RATE = 1e-2


def steps_of(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, gradients: list[torch.Tensor]):
    """How far each gradient moves the parameter."""
    moves = []
    for gradient in gradients:
        before = parameter.detach().clone()
        parameter.grad = gradient.clone()
        optimizer.step()
        moves.append(parameter.detach() - before)
    return moves


def muon(parameter: torch.nn.Parameter, decay: float = 0.0) -> Muon:
    group = parameter_group("unet", [parameter], RATE, decay)
    return Muon([group], betas=(0.9, 0.999), eps=1e-8)


@pytest.mark.parametrize("shape", [(48, 96), (96, 48), (64, 16, 3, 3), (64, 64)])
def test_every_direction_of_a_matrix_moves_alike(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(shape))
    scales = torch.logspace(0, -1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    move = steps_of(weight, muon(weight), [torch.randn(shape) * scales])[0].reshape(shape[0], -1)
    values = torch.linalg.svdvals(move) / (RATE * 0.2 * max(move.shape) ** 0.5)
    assert 0.5 < values.min() <= values.max() < 1.3


def test_a_step_of_a_matrix_turns_with_its_gradient_and_not_with_its_size() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(32, 64)
    weights = [torch.nn.Parameter(torch.zeros(32, 64)) for _ in range(2)]
    one, thousand = (
        steps_of(weight, muon(weight), [gradient * size])[0] for weight, size in zip(weights, (1, 1000), strict=True)
    )
    assert torch.allclose(one, thousand, atol=1e-7)
    assert float((one * gradient).sum()) < 0
    assert float(one.square().mean().sqrt()) == pytest.approx(0.2 * RATE, rel=0.2)


@pytest.mark.parametrize("shape", [(64,), (1, 64), (64, 1)])
def test_vectors_take_the_steps_of_adamw(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(5)]
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    steps_of(ours, muon(ours, decay=0.1), gradients)
    steps_of(theirs, torch.optim.AdamW([theirs], lr=RATE, weight_decay=0.1), gradients)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_bits_of_a_step_do_not_depend_on_the_number_of_threads() -> None:
    shapes, found = [(256, 384), (256, 256, 3, 3), (256,), (64, 128)], []
    for threads in (1, 2):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        optimizer = Muon([parameter_group("unet", weights, RATE, 0.0)], betas=(0.9, 0.999), eps=1e-8)
        kept = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for _ in range(3):
                for weight in weights:
                    weight.grad = torch.randn(weight.shape)
                optimizer.step()
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(kept)
        torch.manual_seed(0)
        assert not any(torch.equal(weight, torch.randn(weight.shape)) for weight in weights)  # all of them moved
        found.append([weight.detach().clone() for weight in weights])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_decay_pulls_a_matrix_towards_zero() -> None:
    weights = [torch.nn.Parameter(torch.ones(4, 8)) for _ in range(2)]
    gradient = torch.ones(4, 8)
    for weight, decay in zip(weights, (0.0, 0.5), strict=True):
        steps_of(weight, muon(weight, decay), [gradient])
    assert torch.allclose(weights[0] - weights[1], torch.full((4, 8), RATE * 0.5))


def test_a_matrix_without_a_gradient_stays_and_one_of_zeros_gives_no_step() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 8))
    optimizer = muon(weight)
    optimizer.step()
    assert torch.equal(weight, torch.ones(4, 8))
    assert not steps_of(weight, optimizer, [torch.zeros(4, 8)])[0].any()


def test_what_is_orthogonal_keeps_its_singular_vectors() -> None:
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(8, 8))[0] for _ in range(2))
    made = left.T @ orthogonal(left @ torch.diag(torch.linspace(1, 0.3, 8)) @ right) @ right.T
    assert torch.allclose(made, torch.diag(made.diagonal()), atol=1e-5)
    assert 0.6 < made.diagonal().min() <= made.diagonal().max() < 1.3


def test_what_counts_as_a_matrix() -> None:
    shapes = {(4, 4): True, (4, 2, 3, 3): True, (4,): False, (1, 4): False, (4, 1): False, (1, 4, 1, 1): False}
    assert {shape: is_matrix(torch.Size(shape)) for shape in shapes} == shapes
