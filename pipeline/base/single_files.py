"""What a single file of weights is, by the names and shapes in its header, and what turns it into a base."""

import json
import re
from pathlib import Path
from shlex import quote

from pipeline.base.kind import CHANNELS, LFS, WANTED

# The first pattern that any name matches tells the kind.
KINDS: list[tuple[str, str]] = [
    (r"^lora_|\.lora[._](up|down|A|B)\b|\.lora_[AB]\.|^(hada|lokr)_", "a LoRA, which is an addition to a base"),
    (r"^conditioner\.embedders\.1\.|^text_encoder_2\.", "Stable Diffusion XL"),
    (r"^conditioner\.", "the refiner of Stable Diffusion XL"),
    (r"joint_blocks\.", "Stable Diffusion 3"),
    (r"double_blocks\.", "FLUX"),
    (r"^(control_model\.|controlnet_|input_hint_block)", "a ControlNet, which is an addition to a base"),
    (r"^(emb_params|clip_[lg]|string_to_param)$", "an embedding of a word, which is an addition to a base"),
    (r"^model\.diffusion_model\.", ""),
    (r"^first_stage_model\.|^(encoder|decoder)\.(conv_in|down|mid)", "an autoencoder alone"),
    (r"^(down_blocks|mid_block|up_blocks|input_blocks)\.", "a U-Net alone"),
    (r"^(cond_stage_model\.|text_model\.|transformer\.)", "a text encoder alone"),
]
FIRST_LAYER, LAST_LAYER = "model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.out.2.weight"
ENDINGS = {
    **dict.fromkeys(
        (".ckpt", ".pt", ".pth", ".bin"),
        "is a pickle file, which can run code when it is read; look for the model as .safetensors",
    ),
    ".gguf": "is a GGUF file, whose weights are quantized; look for the model as .safetensors",
}


def file_problem(path: Path) -> str:
    """Why a file cannot be a base, and what turns it into one, or what it is instead."""
    if path.name in ("model_index.json", "config.json"):
        return f"is a file of a base; set base.model to its folder, {path.parent}"
    if path.suffix.lower() != ".safetensors":
        return ENDINGS.get(path.suffix.lower(), "is a file, and a base is a folder in diffusers format")
    shapes = _shapes(path)
    if isinstance(shapes, str):
        return shapes
    kind = next((words for pattern, words in KINDS if any(re.search(pattern, name) for name in shapes)), None)
    (_, takes), makes = (shapes.get(FIRST_LAYER) or [0, 4])[:2], (shapes.get(LAST_LAYER) or [4])[0]
    if takes != makes and takes in CHANNELS:
        kind = CHANNELS[takes]
    if kind is None:
        kind = f"of no known kind (it holds '{next(iter(shapes), 'nothing')}')"
    if kind:
        return f"is {kind}; {WANTED}"
    folder = path.with_suffix("")
    code = (
        "from diffusers import StableDiffusionPipeline as P; "
        f"P.from_single_file({str(path)!r}).save_pretrained({str(folder)!r})"
    )
    return (
        "is a single file, and a base is a folder in diffusers format: turn it into one with "
        f"python -c {quote(code)}, and set base.model to {folder}"
    )


def _shapes(path: Path) -> dict[str, list[int]] | str:
    """Names and shapes from the header; a sentence where it cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start + file.read(len(LFS) - 8) == LFS:
            return "is a Git LFS pointer, not the file itself: run `git lfs pull` there"
        length = int.from_bytes(start, "little")
        if size < 8 or length > size - 8:
            return "is no safetensors file, or is cut off"
        file.seek(8)
        content = file.read(length)
    try:
        header = json.loads(content)
        header.pop("__metadata__", None)
        end = max((row["data_offsets"][1] for row in header.values()), default=0)
        shapes = {str(name): list(row["shape"]) for name, row in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "is no safetensors file: its header is damaged"
    return (
        shapes
        if size >= 8 + length + end
        else f"is cut off: it has {size} bytes, its header promises {8 + length + end}"
    )
