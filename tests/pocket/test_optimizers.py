"""The optimizers of pocket's trainings: what a step of Muon is, and what it does to which weights."""

import torch
from torch import nn

from pocket.optimizers import AdamW, Muon


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 3))


def step(model: nn.Sequential, optimizer: AdamW, rate: float) -> dict[str, torch.Tensor]:
    """By how much each weight changed."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    model(torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(1))).square().mean().backward()
    optimizer.step(rate)
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


def test_the_step_of_a_convolution_has_singular_values_alike() -> None:
    model = network()
    change = step(model, Muon(model), 0.01)
    for name, shape in (("0.weight", (8, 36)), ("2.weight", (4, 72))):
        values = torch.linalg.svdvals(change[name].reshape(shape))
        assert values.min() > 0.5 * values.max()
    plain = network()
    values = torch.linalg.svdvals(step(plain, AdamW(plain), 0.01)["0.weight"].reshape(8, 36))
    assert values.min() < 0.5 * values.max()


def test_a_step_is_about_as_large_as_one_of_adamw() -> None:
    model = network()
    change = step(model, Muon(model), 0.01)
    for name in ("0.weight", "2.weight"):
        size = change[name].square().mean().sqrt()
        assert 0.1 * 0.01 < size < 0.4 * 0.01  # AdamW's are 0.2 to 0.4 of the rate in a long training


def test_biases_and_norms_are_those_of_adamw() -> None:
    model, other = network(), network()
    muon, adamw = step(model, Muon(model), 0.01), step(other, AdamW(other), 0.01)
    for name in ("0.bias", "1.weight", "1.bias", "2.bias"):
        assert torch.equal(muon[name], adamw[name])


def test_gradients_are_forgotten_after_a_step() -> None:
    for kind in (Muon, AdamW):
        model = network()
        step(model, kind(model), 0.01)
        assert all(weight.grad is None for weight in model.parameters())
