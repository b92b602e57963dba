"""What a training learned, kept beside the files of its base.

A model folder holds the base's own files, byte for byte, and what was learned in files of its own: whole components
(`unet/`), LoRA layers (`adapters/`), the rows of a new word (`embeddings/`). `learned.json` says which, and
`load_parts` and `load_pipeline` put them together. Any store that keeps equal files once so keeps a base once, however
many models of it there are. A folder without `learned.json` is a base, or a model of an older version whose components
hold everything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError, counted
from pipeline.files import read_json, write_json

if TYPE_CHECKING:
    import torch

LEARNED = "learned.json"
FORMAT = 1
PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_"}  # of the names of layers in kohya's format
TABLE = "token_embedding.weight"


class LearnedError(UserError):
    """What was learned cannot be put together with the base beside it."""


@dataclass(frozen=True)
class Learned:
    """The files of a model folder that hold what was learned.

    `components` were learned as a whole, `words` are new words of the tokenizer, one for each row of `embedding`,
    `layers` is a file of LoRA layers that count `alpha` / rank; paths are relative to the folder.
    """

    components: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    embedding: str | None = None
    layers: str | None = None
    alpha: float = 1.0


def write_learned(folder: Path, learned: Learned) -> None:
    """Write `learned.json`."""
    values = {"components": list(learned.components), "words": list(learned.words), "embedding": learned.embedding}
    write_json(folder / LEARNED, {"format": FORMAT, **values, "layers": learned.layers, "alpha": learned.alpha})


def read_learned(folder: Path) -> Learned | None:
    """What `learned.json` of a folder says; None where there is none.

    Raises:
        LearnedError: it cannot be read, or names files outside of the folder.
    """
    path = folder / LEARNED
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        if values["format"] != FORMAT:
            raise LearnedError(f"{path} has format {values['format']}; this version of dreamtrace reads {FORMAT}")
        files = [values[name] for name in ("embedding", "layers") if values[name] is not None]
        for name in [*files, *values["components"]]:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise LearnedError(f"{path} names '{name}', which is outside of the folder: it was changed")
        words = tuple(map(str, values["words"]))
        return Learned(
            tuple(values["components"]), words, values["embedding"], values["layers"], float(values["alpha"])
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LearnedError(f"{path} cannot be read: {error!r}") from None


def learned_files(folder: Path) -> list[Path]:
    """The safetensors files with what was learned; of a folder without `learned.json` those of all components."""
    learned = read_learned(folder)
    if learned is None:
        return sorted(folder.glob("*/*.safetensors"))
    found = [path for component in learned.components for path in sorted((folder / component).glob("*.safetensors"))]
    return [*found, *(folder / name for name in (learned.layers, learned.embedding) if name is not None)]


def add_words(tokenizer: Any, words: tuple[str, ...]) -> None:
    """Add words of their own to a tokenizer: 'mysks' is found as a word, and not inside of 'mysks2'."""
    from tokenizers import AddedToken

    tokenizer.add_tokens(
        [AddedToken(word, single_word=True, lstrip=False, rstrip=False, normalized=True) for word in words]
    )


def apply_learned(folder: Path, tokenizer: Any, text_encoder: Any, unet: Any) -> None:
    """Put what a model folder learned into the parts that were loaded from its components, in float32.

    Raises:
        LearnedError: a file is missing or damaged, or does not fit the components.
    """
    learned = read_learned(folder)
    if learned is None:
        return
    import torch

    if learned.words:
        add_words(tokenizer, learned.words)
        rows = _rows(folder, learned)
        table = text_encoder.get_input_embeddings()
        if len(tokenizer) != table.num_embeddings + len(rows):
            raise LearnedError(
                f"the tokenizer in {folder} has {len(tokenizer)} words with the learned ones, its text encoder "
                f"{table.num_embeddings} rows and {len(rows)} learned ones"
            )
        longer = torch.nn.Embedding(len(tokenizer), table.embedding_dim, dtype=table.weight.dtype)
        longer.weight.data = torch.cat([table.weight.data, rows.to(table.weight.dtype)])
        text_encoder.set_input_embeddings(longer.requires_grad_(table.weight.requires_grad))
        text_encoder.config.vocab_size = len(tokenizer)
    for component, module in (("text_encoder", text_encoder), ("unet", unet)):
        parameters = dict(module.named_parameters())
        for name, weight in _adapted(folder, learned, component, parameters).items():
            parameters[name].data = weight.to(parameters[name].dtype)


def with_learned(folder: Path, component: str, tensors: dict[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """The tensors of a component's files with what was learned put into them; those of an older folder as they are.

    Raises:
        LearnedError: a file is missing or damaged, or does not fit the component.
    """
    learned = read_learned(folder)
    if learned is None:
        return tensors
    found = tensors | _adapted(folder, learned, component, tensors)
    if component == "text_encoder" and learned.words:
        import torch

        (table,) = [name for name in tensors if name.endswith(TABLE)]
        rows = _rows(folder, learned)
        found[table] = torch.cat([tensors[table], rows.to(tensors[table].dtype)])
    return found


def layer_name(component: str, path: str) -> str:
    """The name of a LoRA layer in kohya's format, by the path of the module that it adapts."""
    if component == "text_encoder" and not path.startswith("text_model."):
        path = f"text_model.{path}"
    return f"{PREFIXES[component]}{path.replace('.', '_')}"


def _rows(folder: Path, learned: Learned) -> "torch.Tensor":
    """The learned rows of the embedding [words, hidden]."""
    tensors = _load(folder / str(learned.embedding))
    if len(tensors) != 1 or (rows := next(iter(tensors.values()))).shape[0] != len(learned.words) or rows.ndim != 2:
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        raise LearnedError(
            f"{folder / str(learned.embedding)} holds {shapes}, not {counted(len(learned.words), 'row')}"
        )
    return rows


def _adapted(
    folder: Path, learned: Learned, component: str, weights: Mapping[str, "torch.Tensor"]
) -> dict[str, "torch.Tensor"]:
    """The weights of a component that LoRA layers change, changed, in float32.

    W + alpha / rank * up down (Hu et al. 2021); with a magnitude m, each row of it scaled to the length m (DoRA, Liu et
    al. 2024).
    """
    if learned.layers is None:
        return {}
    layers = _layers(folder / learned.layers, component)
    found = {}
    for name, weight in weights.items():
        path, dot, kind = name.rpartition(".")
        layer = layers.pop(layer_name(component, path), None) if dot and kind == "weight" else None
        if layer is None:
            continue
        try:
            down, up = layer["down"].float(), layer["up"].float()
            change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * (learned.alpha / len(down))
        except (KeyError, RuntimeError) as error:
            raise LearnedError(f"a LoRA layer in {folder / learned.layers} does not fit {name}: {error}") from None
        changed = weight.detach().float() + change.to(weight.device)
        if "magnitude" in layer:
            length = changed.flatten(1).norm(dim=1)
            changed *= (layer["magnitude"].float().flatten() / length).reshape(-1, *[1] * (changed.ndim - 1))
        found[name] = changed
    if layers:
        raise LearnedError(f"{folder / learned.layers} adapts layers that {component} lacks, {min(layers)} for example")
    return found


def _layers(file: Path, component: str) -> dict[str, dict[str, "torch.Tensor"]]:
    """The tensors `down`, `up` and `magnitude` of each layer of a component, in kohya's format or diffusers'."""
    found: dict[str, dict[str, Any]] = {}
    for key, tensor in _load(file).items():
        if match := re.match(r"(lora_(?:unet|te)_\w+)\.lora_(down|up)\.weight$", key):
            name, kind = match[1], match[2]
        elif match := re.match(r"(unet|text_encoder)\.(.+)\.lora_(A|B|magnitude_vector)(\.weight)?$", key):
            kind = {"A": "down", "B": "up"}.get(match[3], "magnitude")
            name = layer_name(match[1], match[2])
        else:
            continue
        if name.startswith(PREFIXES[component]):
            found.setdefault(name, {})[kind] = tensor
    return found


def _load(file: Path) -> dict[str, "torch.Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise LearnedError(f"{file} cannot be read: {error}") from None
