"""Muon: steps whose singular values are alike, for the weights that are matrices; AdamW for the others."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch

from pipeline.threads import sharing_cores

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST = 1e-7  # norm below which a matrix counts as zero


class Muon(torch.optim.Optimizer):
    """Muon (K. Jordan, "Muon: an optimizer for hidden layers", 2024) with decoupled weight decay.

    A weight of two and more dimensions is a matrix [out, all else]: its momentum, with Nesterov's look ahead, is made
    orthogonal. Steps have the size of AdamW's, 0.2 in the root mean square, times the learning rate (arXiv 2502.16982,
    section 2.2), so that one learning rate serves all weights. Vectors take steps of AdamW.

    On a CPU every weight is changed by one thread, several of them at the same time: the threads of one small product
    would wait for each other more than they compute, and the bits of a step do not depend on their number.

    Args:
        groups: parameter groups with `lr` and `weight_decay`.
        betas: of AdamW.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], eps: float):
        super().__init__(groups, {"betas": betas, "eps": eps})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        jobs = [
            (parameter, group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not any(parameter.device.type == "cpu" for parameter, _ in jobs):
            for job in jobs:
                self._change(*job)
        else:
            jobs.sort(key=lambda job: -_work(job[0].shape))  # the large ones first: all threads end at about one time
            list(self._threads.map(lambda job: self._change(*job), jobs))
        return loss

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return sharing_cores(torch.get_num_threads(), "muon")

    @torch.no_grad()
    def _change(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        matrix = is_matrix(parameter.shape)
        (self._orthogonal_step if matrix else self._adamw_step)(parameter, group)

    def _orthogonal_step(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient, state["momentum"], MOMENTUM).reshape(len(parameter), -1)
        size = 0.2 * max(ahead.shape) ** 0.5
        parameter.add_(orthogonal(ahead).reshape(parameter.shape), alpha=-group["lr"] * size)

    def _adamw_step(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        state, gradient, (first, second) = self.state[parameter], parameter.grad, group["betas"]
        assert gradient is not None
        if "step" not in state:
            state.update(
                step=torch.tensor(0.0), exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter)
            )
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        steps = state["step"].item()
        size = group["lr"] / (1 - first**steps)
        spread = (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["exp_avg"], spread, value=-size)


def _work(shape: torch.Size) -> int:
    """Of a step, in multiplications without a factor: those of the square of the smaller side."""
    return min(shape[0], shape.numel() // shape[0]) * shape.numel() if is_matrix(shape) else shape.numel()


def is_matrix(shape: torch.Size) -> bool:
    """Whether a weight [out, all else] has more than one row and more than one column."""
    return len(shape) > 1 and 1 < shape[0] < shape.numel()


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix of the same singular vectors [rows, columns], float32, whose singular values are all near 1 (0.7 to 1.2)
    but for those that are small beside the largest one (below a hundredth), which come nearer to it.

    Newton-Schulz iteration with Jordan's coefficients, x -> (a + b g + c g g) x with g = x x^T. The factors are
    multiplied with each other first: they are functions of the first g alone, and the smaller side of most weights is
    much smaller than the other one.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    start = (matrix.T if tall else matrix).float()
    start = start / start.norm().clamp(min=SMALLEST)
    linear, cubic, quintic = COEFFICIENTS
    square, product = start @ start.T, None
    for _ in range(ITERATIONS):
        factor = torch.addmm(square, square, square, beta=cubic, alpha=quintic)
        factor.diagonal().add_(linear)
        product = factor if product is None else factor @ product
        square = factor @ square @ factor
    assert product is not None
    found = product @ start
    return found.T if tall else found
