"""What something in pocket's work folder was made from, so that nothing old passes for what a changed recipe makes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.files import digest_file, digest_value
from pocket.recipe import HERE, Recipe

WORLD = ("world/train/captions.jsonl", "photographs/captions.jsonl")
SPRITES = "world/sprites.npz"
VAE, UNET, CLIP, TEXT = (
    f"{part}/{name}.safetensors"
    for part, name in (
        ("vae", "diffusion_pytorch_model"),
        ("unet", "diffusion_pytorch_model"),
        ("clip", "model"),
        ("text", "model"),
    )
)


def origin(recipe: Recipe, part: str, work: Path, files: Iterable[str], also: Any = None) -> str:
    """sha256 over the section `part` of the recipe but for steps and processes, the size, and the files that are read.

    Steps are left out, so that a training can be made longer, or shorter while it runs; processes change no result.

    Args:
        files: relative to `work`; all of them have to be there.
        also: further values that decide what comes out.
    """
    settings = getattr(recipe, part).model_dump(mode="json", exclude={"steps", "processes"})
    read = {file: digest_file(work / file) for file in files}
    return digest_value({"size": recipe.size, part: settings, "read": read, "also": also})


def start_of(recipe: Recipe, part: str) -> str | None:
    """sha256 of the weights of a part ('vae', 'unet' or 'clip') that its training begins with; None: random ones."""
    if recipe.start is None:
        return None
    (file,) = start_folder(recipe, part).glob("*.safetensors")
    return digest_file(file)


def start_folder(recipe: Recipe, part: str) -> Path:
    """Where the weights are that the training of a part begins with."""
    return HERE / str(recipe.start) / (part if part == "clip" else f"model/{part}")


def is_made(path: Path, made_from: str) -> bool:
    """Whether a file is there and was made from this.

    Raises:
        SystemExit: it is there and was made from something else.
    """
    if not path.exists():
        return False
    if not is_begun(path, made_from):
        raise SystemExit(f"{path} was made by another recipe or from other files; remove it, and run this again")
    return True


def mark(path: Path, made_from: str) -> None:
    """Say what a file is about to be made from, before it appears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _mark(path).write_text(made_from, encoding="utf-8")


def is_begun(path: Path, made_from: str) -> bool:
    """Whether what leads to a file was begun from this: its mark is written before anything else."""
    known = _mark(path)
    return known.exists() and known.read_text(encoding="utf-8") == made_from


def begin(path: Path, made_from: str, begun: bool) -> bool:
    """Mark a file that is made piece by piece; `begun`: pieces of it are there. False where the file is made already.

    Raises:
        SystemExit: the file, or its pieces, were made from something else.
    """
    if is_made(path, made_from):
        return False
    if begun and not is_begun(path, made_from):
        raise SystemExit(f"{path.parent} was begun by another recipe; remove it, and run this again")
    mark(path, made_from)
    return True


def facts_of(values: dict[str, Any]) -> str:
    """Plain values as the text of a mark."""
    return json.dumps(values, sort_keys=True)


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin")
