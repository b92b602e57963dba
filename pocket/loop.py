"""What the trainings of pocket share: a loop that survives a kill, its curve, and their data."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from pipeline.threads import sharing_cores
from pocket.optimizers import make_optimizer, take_step
from pocket.origin import start_folder
from pocket.recipe import Recipe, Schedule

Tensors = dict[str, torch.Tensor]


class Float32Attention(TorchFunctionMode):
    """Compute scaled dot-product attention in float32, whatever precision the layers around it run in.

    On a CPU with bfloat16 instructions matrix products gain from bfloat16, but the backward pass of attention becomes
    several times slower than in float32.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or args[0].dtype == torch.float32:
            return func(*args, **kwargs)
        query, key, value, *rest = args
        with torch.autocast(query.device.type, enabled=False):
            return func(query.float(), key.float(), value.float(), *rest, **kwargs).to(query.dtype)


@contextmanager
def mixed_precision(recipe: Recipe) -> Iterator[None]:
    """bfloat16 autocast where the recipe asks for it."""
    attention = Float32Attention() if recipe.device == "cpu" else nullcontext()
    with torch.autocast(recipe.device, torch.bfloat16, enabled=recipe.bf16), attention:
        yield


def begin_with(network: torch.nn.Module, recipe: Recipe, part: str) -> bool:
    """Load the weights of a part ('vae', 'unet' or 'clip') of the pocket that the recipe starts from.

    Returns:
        Whether there is one.
    """
    if recipe.start is None:
        return False
    (file,) = start_folder(recipe, part).glob("*.safetensors")
    network.load_state_dict(load_file(file))
    return True


def cosine(step: int, schedule: Schedule, warmup: int = 100) -> float:
    """Learning rate at `step`: linear warm-up, then half a cosine down to 2 % of the peak."""
    ramp = min(1.0, (step + 1) / warmup)
    return schedule.rate * ramp * (0.51 + 0.49 * math.cos(math.pi * step / schedule.steps))


def optimizer_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Weights and what the optimizer keeps of each as one flat, named dictionary."""
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, tensor in optimizer.state[parameter].items():
            state[f"optimizer.{name}.{key}"] = tensor
    return state


def restore(model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: Tensors) -> None:
    """Put back what `optimizer_state` took."""
    model.load_state_dict({key[6:]: value for key, value in state.items() if key.startswith("model.")})
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        found = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        moments = {key: value if key == "step" else value.to(parameter.device) for key, value in found.items()}
        optimizer.state[parameter].update(moments)


class Gradients:
    """Adds up the gradients of a step over its batches, each on a thread of its own that has a share of the cores.

    Two batches side by side on one core each take less time than one after the other on both: the threads wait for
    each other once a step and not within every layer, which matters where other work runs beside the training.
    With two parts the sum is the same, bit for bit, whichever is ready first.
    """

    def __init__(self, loss_at: Callable[[int], Tensors], parts: int):
        self.loss_at, self.parts = loss_at, parts
        self.threads = sharing_cores(parts, "parts")

    def __call__(self, step: int) -> Tensors:
        """Backward passes of all batches of `step`; the means of what `loss_at` gave for them."""
        if self.parts == 1:
            found = [self._one(step)]
        else:
            found = list(self.threads.map(self._one, range(step * self.parts, (step + 1) * self.parts)))
        return {key: torch.stack([losses[key] for losses in found]).mean() for key in found[0]}

    def _one(self, batch: int) -> Tensors:
        losses = self.loss_at(batch)
        (losses["loss"] / self.parts).backward()
        return {key: value.detach() for key, value in losses.items()}


def train(
    model: torch.nn.Module,
    loss_at: Callable[[int], Tensors],
    schedule: Schedule,
    folder: Path,
    name: str,
    origin: str,
    ema: torch.nn.Module | None = None,
    decay: float = 0.0,
    save_seconds: float = 180.0,
) -> None:
    """Minimise `loss_at(batch)["loss"]` for `schedule.steps` steps; continue where a killed run stopped.

    The state lies in `folder/<name>.state.safetensors` (written beside and renamed), the curve in
    `folder/<name>.jsonl`. `loss_at` must draw its batch from the number alone, so that a resumed run repeats nothing.
    A step takes `schedule.parts` batches: step 0 the batches 0 to parts - 1, and so on (see `Gradients`). `ema` follows
    the weights as their moving average with `decay`, or faster in the first steps.

    Raises:
        SystemExit: a state is there that was kept with another `origin`, finished or not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, curve = folder / f"{name}.state.safetensors", folder / f"{name}.jsonl"
    optimizer = make_optimizer(schedule.optimizer, model)
    start = 0
    if path.exists():
        with safe_open(path, "pt") as file:
            kept = file.metadata()
            start = int(kept["step"])
            if kept.get("origin") != origin:
                raise SystemExit(f"{path} is of a training of another recipe or of other files; remove {folder}")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        restore(model, optimizer, state)
        if ema is not None:
            ema.load_state_dict({key[4:]: value for key, value in state.items() if key.startswith("ema.")})
        if start >= schedule.steps:
            return

    def save(step: int) -> None:
        state = optimizer_state(model, optimizer)
        if ema is not None:
            state |= {f"ema.{key}": value for key, value in ema.state_dict().items()}
        state = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
        save_file(state, path.with_suffix(".part"), {"step": str(step), "origin": origin})
        path.with_suffix(".part").rename(path)

    gradients = Gradients(loss_at, schedule.parts)
    saved, sums, count = time.monotonic(), {}, 0
    bar = tqdm(range(start, schedule.steps), initial=start, total=schedule.steps, desc=name, mininterval=5)
    for step in bar:
        losses = gradients(step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        take_step(optimizer, cosine(step, schedule))
        if ema is not None:
            with torch.no_grad():
                rate = min(decay, (1 + step) / (10 + step))
                torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - rate)
        sums = {key: sums.get(key, 0) + value for key, value in losses.items()}
        count += 1
        if (step + 1) % 50 == 0:
            means = {key: float(value) / count for key, value in sums.items()}
            if not math.isfinite(means["loss"]):
                raise FloatingPointError(f"{name}: the loss is not finite at step {step + 1}; last state: {path}")
            with curve.open("a") as lines:
                lines.write(json.dumps({"step": step + 1, "time": time.time(), **means}) + "\n")
            bar.set_postfix({key: f"{value:.4f}" for key, value in means.items()})
            sums, count = {}, 0
        if time.monotonic() - saved > save_seconds:
            save(step + 1)
            saved = time.monotonic()
    save(schedule.steps)


class Pictures:
    """The composed world on disk: pictures as a memory map, captions in memory."""

    def __init__(self, folder: Path):
        self.pixels = np.load(folder / "pictures.npy", mmap_mode="r")
        self.facts = [json.loads(line) for line in (folder / "captions.jsonl").open()]

    def __len__(self) -> int:
        return len(self.facts)

    def batch(self, indices: np.ndarray, device: str, flip: bool = False) -> torch.Tensor:
        """Pictures as float32 [batch, 3, size, size] in -1..1."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[np.sort(indices)]))
        pixels = pixels.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        return pixels.flip(-1) if flip else pixels

    def texts(self, indices: np.ndarray, rng: np.random.Generator) -> list[str]:
        """One wording a picture, in the order of `batch` (sorted indices)."""
        return [str(rng.choice(self.facts[index]["captions"])) for index in np.sort(indices)]


def indices_at(number: int, batch: int, total: int, seed: int) -> np.ndarray:
    """Indices of batch `number`: every epoch is one shuffled pass, addressed by (seed, epoch)."""
    per_epoch = total // batch
    at = (number % per_epoch) * batch
    return _order(seed, number // per_epoch, total)[at : at + batch]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(total)


@dataclass(frozen=True)
class Mixed:
    """Pictures of the world, and a share of photographs of the toys below a number (`learned`) among them."""

    world: Pictures
    photographs: Pictures
    learned: np.ndarray

    @classmethod
    def open(cls, recipe: Recipe, work: Path) -> "Mixed":
        photographs = Pictures(work / "photographs")
        known = [row for row, facts in enumerate(photographs.facts) if facts["toy"] < recipe.identity.toys]
        return cls(Pictures(work / "world" / "train"), photographs, np.array(known))

    def rows_at(self, number: int, batch: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of batch `number` in the world and in the photographs, sorted; how many of each differs by the batch."""
        rng = np.random.default_rng([seed, number, 1])
        taken = rng.choice(self.learned, rng.binomial(batch, share))
        return np.sort(indices_at(number, batch, len(self.world), seed)[len(taken) :]), np.sort(taken)


def chunks(total: int, size: int) -> Iterator[range]:
    """0..total in ranges of at most `size`."""
    return (range(at, min(at + size, total)) for at in range(0, total, size))
