"""The description of a base: sizes and tokenizer, from its small files alone, without its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.resolve import (
    EMBEDDED,
    HUB_TEXTS,
    BaseNotFound,
    check_complete,
    from_hub,
    is_path,
    native_size,
    size_multiple,
)
from pipeline.files import read_json
from pipeline.params import Base


@dataclass(frozen=True)
class BaseDescription:
    """A base's configuration.

    `size` is the side in pixels that it was trained at, `multiple` what sides must be multiples of, `length` how many
    tokens its text encoder reads, start and end among them.
    """

    folder: Path
    size: int
    multiple: int
    length: int

    def tokenizer(self) -> Any:
        """The base's `CLIPTokenizer`, which needs no torch.

        Raises:
            BaseNotFound: it cannot be read.
        """
        from transformers import CLIPTokenizer

        try:
            return CLIPTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise BaseNotFound(f"the tokenizer in {self.folder / 'tokenizer'} cannot be read: {error}") from None


def describe_base(base: Base) -> BaseDescription:
    """Read the configuration of a base; of one on the hub only the small files are downloaded.

    Raises:
        BaseNotFound: not embedded, no such folder, not on the hub or not reachable, or a file is missing or unusable.
    """
    if base.model in EMBEDDED:
        folder = EMBEDDED[base.model]
    elif is_path(base.model):
        folder = Path(base.model).expanduser()
        check_complete(folder, base.model, base.variant)
    else:
        folder = from_hub("base.model", base.model, base.revision, HUB_TEXTS)
    try:
        return BaseDescription(folder, native_size(folder), size_multiple(folder), _length(folder))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BaseNotFound(f"base.model '{base.model}' cannot be used: {folder} lacks {error}") from None


def _length(folder: Path) -> int:
    """From the text encoder: a tokenizer may lack its `model_max_length`, which the library then takes for 1e30."""
    config = read_json(folder / "text_encoder" / "config.json")
    return int({**config, **(config.get("text_config") or {})}.get("max_position_embeddings", 77))
