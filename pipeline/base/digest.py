"""The content digest of a model folder: over what the model is, not over how its files are packed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.base.components import weight_files
from pipeline.base.file_header import METADATA, read_header
from pipeline.base.learned import LEARNED, read_learned
from pipeline.files import digest_value, read_json

CHUNK = 1 << 22
TEXT_FILES = {
    "tokenizer": ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    "scheduler": ("scheduler_config.json",),
}
SETTINGS = ("config.json", "scheduler_config.json", "tokenizer_config.json")
PATH_KEYS = ("_name_or_path", "name_or_path")  # where a component was loaded from


def folder_digest(folder: Path, components: Iterable[str], variant: str | None = None) -> str:
    """sha256 over all tensors (component, name, dtype, shape, bytes; in order of name) and the text of the tokenizer
    and scheduler configuration. Headers of the files, and which file of several holds a tensor, do not matter. Of a
    folder that keeps what was learned apart that counts too.
    """
    found = hashlib.sha256()
    for component in sorted(components):
        for name in TEXT_FILES.get(component, ()):
            path = folder / component / name
            if path.is_file():
                found.update(f"{component}/{name}\n".encode())
                found.update(path.read_bytes())
        tensors = [entry for path in weight_files(folder / component, variant) for entry in _tensors(path)]
        _add(found, component, tensors)
    for path in _apart(folder):
        if path.name == LEARNED:
            found.update(f"{LEARNED}\n".encode() + path.read_bytes())
        else:
            _add(found, path.parent.name, _tensors(path))
    return found.hexdigest()


def settings_digest(folder: Path) -> str:
    """sha256 over the configurations of a model folder's components, without the paths that they name.

    They decide what the weights compute (`scaling_factor`, activations, lengths), but do not belong to `folder_digest`,
    which says whether weights are the same.
    """
    found = {}
    for path in sorted(path for name in SETTINGS for path in folder.glob(f"*/{name}")):
        value = read_json(path)
        kept = {key: one for key, one in value.items() if key not in PATH_KEYS} if isinstance(value, dict) else value
        found[f"{path.parent.name}/{path.name}"] = kept
    return digest_value(found)


def _add(found: Any, component: str, tensors: list[tuple[str, str, list[int], Path, int, int]]) -> None:
    """Add tensors to a digest, in order of name."""
    for name, dtype, shape, path, start, end in sorted(tensors, key=lambda entry: entry[0]):
        found.update(f"{component}/{name} {dtype} {shape}\n".encode())
        with path.open("rb") as file:
            file.seek(start)
            left = end - start
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise ValueError(f"{path} is cut off inside tensor {name}")
                found.update(chunk)
                left -= len(chunk)


def _apart(folder: Path) -> list[Path]:
    """The files of a model folder that hold what was learned beside its components."""
    learned = read_learned(folder)
    names = [LEARNED, learned.layers, learned.embedding] if learned else []
    return [folder / name for name in names if name is not None]


def digested_files(folder: Path, components: Iterable[str], variant: str | None = None) -> list[Path]:
    """The files that `folder_digest` reads."""
    found: list[Path] = []
    for component in sorted(components):
        texts = (folder / component / name for name in TEXT_FILES.get(component, ()))
        found += [*(path for path in texts if path.is_file()), *weight_files(folder / component, variant)]
    return [*found, *_apart(folder)]


def _tensors(path: Path) -> list[tuple[str, str, list[int], Path, int, int]]:
    """Name, dtype, shape and absolute byte range of each tensor in a safetensors file, read from its header."""
    with path.open("rb") as file:
        header = read_header(file)
        start = file.tell()
    header.pop(METADATA, None)
    return [
        (name, entry["dtype"], entry["shape"], path, *(start + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
    ]
