"""Which files of a pipeline folder are missing or do not belong together, by their names and small files alone."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

WEIGHTED = ("text_encoder", "unet", "vae")
CONFIGURATIONS = (
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
STEMS = ("model", "diffusion_pytorch_model")


def missing_files(names: Iterable[str], variant: str | None) -> list[str]:
    """The files that a whole pipeline lacks, given the names of those it has (relative, with `/`).

    A component's weights are one safetensors file, or an index and all parts of a sharded one.
    """
    here = {PurePosixPath(name).as_posix() for name in names}
    folders = {name.partition("/")[0] for name in here if "/" in name}
    lost = [part for part in (*WEIGHTED, "scheduler", "tokenizer") if part not in folders]
    missing = [*lost, *(name for name in CONFIGURATIONS if name not in here and name.partition("/")[0] not in lost)]
    if "tokenizer" in folders and "tokenizer/tokenizer.json" not in here:
        missing += [f"tokenizer/{name}" for name in ("vocab.json", "merges.txt") if f"tokenizer/{name}" not in here]
    for part in WEIGHTED:
        if part in folders:
            missing += _weights(part, here, variant)
    return missing


def other_weights(names: Iterable[str], variant: str | None) -> str:
    """What is there in place of safetensors weights that are missing, and what to do about it; '' where nothing is."""
    here = [PurePosixPath(name) for name in names]
    lacking = [part for part in WEIGHTED if not _files(part, {str(name) for name in here}, variant)]
    found = [name for name in here if name.parent.name in lacking]
    weights = [name for name in found if name.suffix == ".safetensors"]
    for name in weights:
        found_variant = name.stem.partition(".")[2].partition("-")[0] or None
        if found_variant != variant and (found_variant or name.stem in STEMS):
            if all(_files(part, set(map(str, here)), found_variant) for part in WEIGHTED):
                return f"; it holds {_set(found_variant)}: set base.variant to {found_variant or 'null'}"
            wanted = name.name.split(".")[0].split("-0")[0]
            return (
                f"; {name.parent.name} has {_set(found_variant)}, other parts have not: bring all parts to one name, "
                f"such as {wanted}{f'.{variant}' if variant else ''}.safetensors"
            )
    if any(name.suffix in (".bin", ".ckpt", ".pt") for name in found):
        return (
            "; it holds .bin files, which are pickles: convert them once with diffusers, "
            "StableDiffusionPipeline.from_pretrained(OLD, use_safetensors=False).save_pretrained(NEW), and set "
            "base.model to the new folder"
        )
    if any(name.suffix in (".msgpack", ".onnx", ".h5", ".xml") for name in found):
        return "; it holds weights for another framework than PyTorch"
    return ""


def doubled_weights(names: Iterable[str], variant: str | None) -> list[str]:
    """Components whose weights are there twice, as one file and in parts: sentences."""
    here = set(names)
    found = []
    for part in WEIGHTED:
        files = _files(part, here, variant)
        if files and any(SHARD.search(_stem(name)) for name in files) and not all(map(_is_shard, files)):
            found.append(f"{part} has its weights twice, as one file and in parts; remove one of the two")
    return found


def index_problems(folder: Path, variant: str | None) -> list[str]:
    """Indexes of sharded weights that are damaged or name other files than there are: sentences."""
    problems = []
    for part in WEIGHTED:
        files = {path.name for path in (folder / part).glob("*.safetensors") if _is_shard(path.name)}
        indexes = sorted((folder / part).glob("*.safetensors.index*.json")) if files else []
        for index in indexes:
            if (variant or "") not in index.name:
                continue
            try:
                named = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                problems.append(f"{part}/{index.name} cannot be read")
                continue
            told = {name.partition("/")[2] for name in _siblings([f"{part}/{name}" for name in files])}
            problems += [f"{part}/{index.name} names {name}, which is missing" for name in sorted(named - told)]
    return problems


def hint(folder: Path) -> str:
    """What to name instead of a folder that is no pipeline, where that can be seen; '' where it cannot."""
    if (folder.parent / "model_index.json").is_file() and not (folder / "model_index.json").exists():
        return f"; set base.model to the folder above it, {folder.parent}"
    inner = sorted(folder.glob("snapshots/*/model_index.json")) or sorted(folder.glob("*/model_index.json"))
    if inner:
        return f"; set base.model to {inner[0].parent}"
    files = sorted(folder.glob("*.safetensors"))
    return f"; to use one of its files, set base.model to {files[0]}" if files else ""


def file_names(folder: Path) -> list[str]:
    """All files up to one folder deep, relative, with `/`."""
    return [path.relative_to(folder).as_posix() for path in [*folder.glob("*"), *folder.glob("*/*")] if path.is_file()]


def _weights(part: str, here: set[str], variant: str | None) -> Iterator[str]:
    files = _files(part, here, variant)
    if not files:
        yield f"{part}/*.{variant}.safetensors" if variant else f"{part}/*.safetensors"
        return
    shards = [name for name in files if _is_shard(name)]
    if shards and len(shards) == len(files):
        for name in _siblings(shards):
            if name not in here:
                yield name
        indexes = [name for name in here if name.startswith(f"{part}/") and ".safetensors.index" in name]
        if not [name for name in indexes if not variant or variant in name]:
            yield f"{part}/*.safetensors.index.json"


def _siblings(shards: list[str]) -> list[str]:
    """The names of all parts, from those that are there."""
    named = set()
    for name in shards:
        found = SHARD.search(_stem(name))
        assert found is not None
        start = name[: name.rindex(found.group(0))]
        named |= {f"{start}-{n:05d}-of-{found.group(2)}.safetensors" for n in range(1, int(found.group(2)) + 1)}
    return sorted(named)


def _files(part: str, here: set[str], variant: str | None) -> list[str]:
    """The safetensors files of a component for `variant`: the same as `components.weight_files` finds."""
    starts = [f"{part}/{stem}.{variant}" if variant else f"{part}/{stem}" for stem in STEMS]
    found = []
    for name in here:
        if name.endswith(".safetensors"):
            stem = name.removesuffix(".safetensors")
            if stem in starts or SHARD.sub("", stem) in starts:
                found.append(name)
    return sorted(found)


def _set(variant: str | None) -> str:
    return f"the variant {variant}" if variant else "weights without a variant"


def _is_shard(name: str) -> bool:
    return SHARD.search(_stem(name)) is not None


def _stem(name: str) -> str:
    return name.removesuffix(".safetensors")
