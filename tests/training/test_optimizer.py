from types import SimpleNamespace

import pytest
import torch

from pipeline.params import Train
from pipeline.training.optimizer import (
    clip_gradients,
    drop_stopped_gradients,
    load_optimizer_state,
    make_optimizer,
    optimizer_state,
    parameter_group,
    schedule_factor,
    set_learning_rates,
)
from tests.pretend.fixtures import Gpu

OPTIMIZERS = ["adamw", "adamw-8bit", "muon", "adafactor", "prodigy"]


def train(values, **changes) -> Train:
    return Train.model_validate(values["train"]).model_copy(update=changes)


@pytest.mark.parametrize(("limit", "left"), [(None, [3.0, 4.0]), (10.0, [3.0, 4.0]), (1.0, [0.6, 0.8])])
def test_gradients_are_clipped_where_a_norm_is_given(limit: float | None, left: list[float]) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    accelerator = SimpleNamespace(clip_grad_norm_=torch.nn.utils.clip_grad_norm_)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    assert float(clip_gradients(optimizer, [parameter], accelerator, limit)) == 5  # type: ignore[arg-type]
    assert parameter.grad.tolist() == pytest.approx(left)


def test_warm_up_rises_in_a_line_and_is_then_constant() -> None:
    factors = [schedule_factor("constant", step, 10, 4) for step in range(10)]
    assert factors[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert factors[4:] == [1.0] * 6


def test_cosine_and_linear_go_from_one_to_zero() -> None:
    assert schedule_factor("cosine", 2, 12, 2) == 1
    assert schedule_factor("cosine", 7, 12, 2) == pytest.approx(0.5)
    assert schedule_factor("linear", 2, 12, 2) == 1
    assert schedule_factor("linear", 7, 12, 2) == pytest.approx(0.5)
    assert schedule_factor("linear", 11, 12, 2) == pytest.approx(0.1)


def test_every_group_keeps_its_own_rate_under_the_schedule(values) -> None:
    one, two = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    groups = [parameter_group("unet", [one], 0.1, 0.01), parameter_group("token", [two], 0.5, 0.0)]
    optimizer = make_optimizer(groups, train(values, optimizer="adamw"))
    for factor in (0.5, 1.0):
        set_learning_rates(optimizer, factor, 5)
        assert [group["lr"] for group in optimizer.param_groups] == [0.1 * factor, 0.5 * factor]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]


@pytest.mark.parametrize(("precision", "fused"), [("fp32", True), ("bf16", True), ("fp16", None)])
def test_with_a_loss_scaler_adamw_lets_the_scaler_leave_steps_out(
    values, monkeypatch: pytest.MonkeyPatch, precision: str, fused: bool | None
) -> None:
    made: dict[str, object] = {}
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, **settings: made.update(settings))
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    make_optimizer([{"params": [on_gpu]}], train(values, optimizer="adamw", precision=precision))
    assert made["fused"] is fused


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_restored_optimizer_steps_as_the_first_would_have(values, kind: str) -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(128, 64) for _ in range(6)]

    def fresh(start: torch.Tensor):
        parameter = torch.nn.Parameter(start.clone())
        group = parameter_group("unet", [parameter], 0.01, 0.1)
        return parameter, make_optimizer([group], train(values, optimizer=kind))

    def steps(parameter, optimizer, some) -> None:
        for gradient in some:
            parameter.grad = gradient.clone()
            optimizer.step()

    whole, optimizer = fresh(torch.ones(128, 64))
    steps(whole, optimizer, gradients)
    half, optimizer = fresh(torch.ones(128, 64))
    steps(half, optimizer, gradients[:3])
    tensors, plain = optimizer_state(optimizer)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    again, optimizer = fresh(half.detach())
    load_optimizer_state(optimizer, tensors, plain)
    steps(again, optimizer, gradients[3:])
    assert torch.equal(again, whole)


def test_eight_bit_states_are_eight_bit(values) -> None:
    parameter = torch.nn.Parameter(torch.ones(128, 64))
    optimizer = make_optimizer([parameter_group("unet", [parameter], 0.1, 0.0)], train(values, optimizer="adamw-8bit"))
    parameter.grad = torch.randn(128, 64)
    optimizer.step()
    tensors, _ = optimizer_state(optimizer)
    assert tensors["0.state1"].dtype == tensors["0.state2"].dtype == torch.uint8


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_a_restored_state_is_where_the_first_one_was(values, gpu: Gpu, kind: str) -> None:
    def fresh():
        parameter = torch.nn.Parameter(torch.ones(128, 64).to(gpu.device))
        return parameter, make_optimizer(
            [parameter_group("unet", [parameter], 0.01, 0.1)], train(values, optimizer=kind)
        )

    def step(parameter, optimizer) -> dict[str, torch.device]:
        parameter.grad = torch.full((128, 64), 0.5).to(gpu.device)
        optimizer.step()
        return {name: tensor.device for name, tensor in optimizer_state(optimizer)[0].items()}

    parameter, optimizer = fresh()
    places = step(parameter, optimizer)
    tensors, plain = optimizer_state(optimizer)
    _, again = fresh()
    load_optimizer_state(again, {name: tensor.cpu() for name, tensor in tensors.items()}, plain)
    restored = {name: tensor.device for name, tensor in optimizer_state(again)[0].items() if "RMS" not in name}
    assert restored == {name: places[name] for name in restored} != {}


@pytest.mark.parametrize("kind", ["adamw-8bit", "adafactor"])
def test_layers_that_begin_at_zero_move_as_far_as_with_adamw(values, kind: str) -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(128, 64) + 1 for _ in range(20)]

    def moved(kind: str) -> float:
        layer = torch.nn.Parameter(torch.zeros(128, 64))
        optimizer = make_optimizer([parameter_group("unet", [layer], 1e-4, 0.0)], train(values, optimizer=kind))
        for gradient in gradients:
            layer.grad = gradient.clone()
            optimizer.step()
        return float(layer.detach().abs().mean())

    assert moved(kind) == pytest.approx(moved("adamw"), rel=0.5)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_from_its_stop_on_a_group_stays_as_it_is(values, kind: str) -> None:
    torch.manual_seed(0)
    unet, token = torch.nn.Parameter(torch.ones(128, 64)), torch.nn.Parameter(torch.ones(1, 64))
    groups = [parameter_group("unet", [unet], 0.1, 0.01), parameter_group("token", [token], 0.1, 0.0, stop=3)]
    optimizer = make_optimizer(groups, train(values, optimizer=kind))
    for step in range(6):
        before = unet.detach().clone(), token.detach().clone()
        set_learning_rates(optimizer, 1.0, step)
        unet.grad, token.grad = torch.randn(128, 64), torch.randn(1, 64)
        drop_stopped_gradients(optimizer, step)
        optimizer.step()
        assert not torch.equal(unet, before[0]), step
        assert torch.equal(token, before[1]) == (step >= 3), step
