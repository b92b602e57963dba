"""Whether the small files of a pipeline folder can be used together: sides, and the tokenizer's words."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import counted

SPECIAL = re.compile(r"<\|.*\|>$")


def size_problems(folder: Path) -> Iterator[str]:
    """What of the sides cannot be read from the configurations of U-Net and autoencoder."""
    for part in ("unet", "vae"):
        levels = _json(folder / part / "config.json").get("block_out_channels")
        if not isinstance(levels, list) or not levels:
            yield f"{part}/config.json lacks block_out_channels"
    side = _json(folder / "unet" / "config.json").get("sample_size")
    if not isinstance(side, int) or isinstance(side, bool) or side < 1:
        yield (
            f"unet/config.json has sample_size {json.dumps(side)}; write the side of the latents that the base was "
            "trained at there (64 for Stable Diffusion 1.x)"
        )


def tokenizer_problems(folder: Path) -> Iterator[str]:
    """A tokenizer that is not CLIP's, or that has words beyond the text encoder's table."""
    name = _json(folder / "tokenizer" / "tokenizer_config.json").get("tokenizer_class", "CLIPTokenizer")
    if name not in ("CLIPTokenizer", "CLIPTokenizerFast"):
        yield f"its tokenizer is a {name}; CLIPTokenizer is what can be used"
        return
    try:
        vocabulary, merges, added = _words(folder / "tokenizer")
        highest = max([*vocabulary.values(), *added.values()])
        made = {"".join(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges} | added.keys()
        lost = [word for word in vocabulary if len(word.removesuffix("</w>")) > 1 and word not in made]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield "the files of its tokenizer are damaged"
        return
    if lost:
        yield (
            f"its tokenizer has {counted(len(lost), 'word')} that no merge makes, such as '{lost[0]}': merges "
            "are missing"
        )
    text = _json(folder / "text_encoder" / "config.json")
    words = {**text, **(text.get("text_config") or {})}.get("vocab_size")
    if isinstance(words, int) and highest >= words:
        yield (
            f"its tokenizer has {highest + 1} words, its text encoder {words} (vocab_size): "
            "they are of different models"
        )


def _words(folder: Path) -> tuple[dict[str, int], list[Any], dict[str, int]]:
    """The vocabulary, the merges that make its words, and the words that were added without one."""
    if (folder / "tokenizer.json").is_file():
        whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model, added = whole["model"], {row["content"]: row["id"] for row in whole.get("added_tokens") or ()}
        return model["vocab"], model["merges"], added
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = _json(folder / "added_tokens.json")
    return vocabulary, merges, {**added, **{word: number for word, number in vocabulary.items() if SPECIAL.match(word)}}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
