"""LoRA layers taken out of a whole model: the largest parts of what training changed, as a small file on the base.

The change of a layer's weights is cut down to its largest singular values, which is its best approximation of a rank
(Eckart and Young 1936). A convolution of k x k is a matrix [out, in * k * k]: its layers are a convolution of k x k to
`rank` channels, then one of 1 x 1.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open

from pipeline.base.components import weight_files
from pipeline.base.learned import read_learned, with_learned
from pipeline.errors import UserError
from pipeline.training.adapters import kohya_key

MODULES = ("unet", "text_encoder")
TABLES = ("token_embedding.weight", "position_embedding.weight")  # no layer that a LoRA can adapt


class ExtractionError(UserError):
    """The model is no change of this base that LoRA layers can hold."""


@dataclass(frozen=True)
class Extraction:
    """LoRA layers by name in kohya's format; `kept` is the share of the squared change of all weights that they hold,
    `layers` the number of layers, `rank` the largest rank.
    """

    tensors: dict[str, torch.Tensor]
    kept: float
    layers: int
    rank: int


def extract_lora(base: Path, variant: str | None, model: Path, rank: int | None, energy: float | None) -> Extraction:
    """LoRA layers that turn the pipeline folder `base` into nearly the pipeline folder `model`.

    Args:
        base: what the model was trained from, its weights those of `variant`.
        model: the tuned model.
        rank: of every layer (at most what the layer can have), or None.
        energy: share of a layer's squared change that its rank must hold, in (0, 1], where `rank` is None.

    Raises:
        ExtractionError: base and model differ in shape, or not at all.
    """
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    kept = whole = 0.0
    for module in MODULES:
        for name, change in _changes(base, variant, model, module):
            whole += float(change.double().square().sum())
            if change.ndim not in (2, 4) or not name.endswith(".weight") or name.endswith(TABLES):
                continue  # biases, norms and embeddings stay those of the base
            down, up = factors(change, rank, energy)
            kept += float(change.double().square().sum()) - float((change - product(down, up)).double().square().sum())
            found[kohya_key(module, f"{name.removesuffix('.weight')}.lora_A.weight")] = down, up
    if not found:
        raise ExtractionError("the model has the weights of its base: there is nothing to extract")
    largest = max(len(down) for down, _ in found.values())
    return Extraction(_named(found, largest), kept / whole, len(found), largest)


def _named(found: dict[str, tuple[torch.Tensor, torch.Tensor]], alpha: int) -> dict[str, torch.Tensor]:
    """All factors under their names; programs multiply a layer by alpha / rank, and diffusers wants one alpha."""
    tensors = {}
    for key, (down, up) in found.items():
        layer = key.split(".")[0]
        tensors[f"{layer}.lora_down.weight"] = down
        tensors[f"{layer}.lora_up.weight"] = up * (len(down) / alpha)
        tensors[f"{layer}.alpha"] = torch.tensor(float(alpha))
    return tensors


def factors(change: torch.Tensor, rank: int | None, energy: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Down [rank, in] (or [rank, in, k, k]) and up [out, rank] (or [out, rank, 1, 1]), whose product is `change` cut
    down to its largest singular values.
    """
    matrix = change.flatten(1).double()
    turned = len(matrix) > matrix.shape[1]
    if turned:
        matrix = matrix.T
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)  # squared singular values, ascending
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    if rank is None:
        shares = values.cumsum(0) / values.sum()
        rank = int((shares < min(energy or 1.0, float(shares[-1]))).sum()) + 1
    rank = min(rank, len(values))
    left = vectors[:, :rank]
    right = left.T @ matrix
    scale = values[0].sqrt().sqrt()  # both factors of one size, so that half precision serves both
    left, right = left * scale, right / scale
    up, down = (right.T, left.T) if turned else (left, right)
    if change.ndim == 4:
        return down.reshape(rank, *change.shape[1:]).float().contiguous(), up[:, :, None, None].float().contiguous()
    return down.float().contiguous(), up.float().contiguous()


def product(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """What two factors add to a layer's weights."""
    return (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])


def _changes(base: Path, variant: str | None, model: Path, module: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and change of each tensor of a component that differs, one at a time."""
    with ExitStack() as stack:
        before, after = _tensors(stack, base / module, variant), _tensors(stack, model / module, None)
        if before.keys() != after.keys():
            odd = sorted(before.keys() ^ after.keys())[0]
            raise ExtractionError(f"{module} of the model and of its base have other tensors, {odd} for example")
        if (learned := read_learned(model)) is not None and learned.layers is not None:
            whole = with_learned(model, module, {name: load() for name, load in after.items()})
            after = {name: partial(whole.__getitem__, name) for name in after}
        for name in sorted(after):
            one, other = before[name](), after[name]()
            if name.endswith("token_embedding.weight"):
                other = other[: len(one)]  # a learned token has rows behind those of the base
            if one.shape != other.shape:
                raise ExtractionError(
                    f"{module}/{name} is {tuple(other.shape)} in the model and {tuple(one.shape)} in its base"
                )
            if other.is_floating_point() and not torch.equal(change := other.float() - one.float(), change * 0):
                yield name, change


def _tensors(stack: ExitStack, folder: Path, variant: str | None) -> dict[str, Callable[[], torch.Tensor]]:
    """A call that reads each tensor of a component, by its name without `text_model.`."""
    found: dict[str, Callable[[], torch.Tensor]] = {}
    for path in weight_files(folder, variant):
        file = stack.enter_context(safe_open(path, "pt"))
        names = [name for name in file.keys() if "position_ids" not in name]  # noqa: SIM118
        found |= {name.removeprefix("text_model."): partial(file.get_tensor, name) for name in names}
    return found
