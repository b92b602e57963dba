"""The optimizers of pocket's trainings; the steps of Muon have tests of their own (tests/training/test_muon.py)."""

import pytest
import torch
from torch import nn

from pocket.optimizers import make_optimizer, take_step

KINDS = ["adamw", "muon"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 4), nn.LayerNorm(4))


def changes(kind: str, rate: float) -> dict[str, torch.Tensor]:
    """By how much one step at a rate changes each weight of a network."""
    model = network()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    (model(torch.arange(6)) * torch.arange(24.0).reshape(6, 4)).square().mean().backward()
    take_step(make_optimizer(kind, model), rate)
    assert all(weight.grad is None for weight in model.parameters())
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_the_rate_that_it_is_given(kind: str) -> None:
    small, large = changes(kind, 0.001), changes(kind, 0.01)
    for name, change in small.items():
        assert change.any()
        assert torch.allclose(10 * change, large[name], atol=1e-5)


def test_muon_leaves_biases_and_norms_to_adamw() -> None:
    muon, adamw = changes("muon", 0.01), changes("adamw", 0.01)
    alike = {name for name, change in muon.items() if torch.allclose(change, adamw[name], atol=1e-7)}
    assert alike == {"1.bias", "2.weight", "2.bias"}
