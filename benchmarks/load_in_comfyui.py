"""Load exported files in a checkout of ComfyUI, by its own code on the CPU, and write what it computes.

    PYTHON load_in_comfyui.py CHECKOUT INPUTS OUTPUTS FILE [--lora FILE] [--embedding FILE]

`benchmarks.clients` runs this with the interpreter of that checkout; INPUTS and OUTPUTS are safetensors files. What the
program says about keys that it did not load goes to the standard error output, line by line after "unused: ".
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

FIRST_NEW = 49408  # ids from here on are rows of the embedding file


class Complaints(logging.Handler):
    """What ComfyUI logs about keys that it leaves out."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(words in text.lower() for words in ("not loaded", "missing", "unexpected", "left over", "unet extra")):
            print(f"unused: {text}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("checkout", "inputs", "outputs", "file"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--embedding", type=Path)
    asked = parser.parse_args()
    sys.path[0] = str(asked.checkout)
    sys.argv = [sys.argv[0], "--cpu", "--force-fp32", "--fp32-unet", "--fp32-vae", "--fp32-text-enc"]

    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import comfy.sd
    import comfy.utils
    import torch
    from safetensors.torch import load_file, save_file

    logging.getLogger().addHandler(Complaints())
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(asked.file))
    if asked.lora is not None:
        layers = comfy.utils.load_torch_file(str(asked.lora), safe_load=True)
        model, clip = comfy.sd.load_lora_for_models(model, clip, layers, 1.0, 1.0)
    given = load_file(asked.inputs)
    comfy.model_management.load_models_gpu([model], force_full_load=True)
    with torch.inference_mode():
        save_file(
            {
                "text encoder": clip.encode_from_tokens({"l": _tokens(given["ids"], asked.embedding)}).contiguous(),
                "U-Net": model.model.diffusion_model(given["noise"], given["time"], context=given["states"]),
                "autoencoder": vae.first_stage_model.decode(given["latents"]).contiguous(),
            },
            asked.outputs,
        )


def _tokens(ids: Any, embedding: "Path | None") -> list[list[tuple[Any, float]]]:
    """ComfyUI's tokens of weight 1: numbers, and vectors as its tokenizer puts them for `embedding:NAME`."""
    from comfy.sd1_clip import load_embed

    rows = None
    if embedding is not None:
        rows = load_embed(embedding.name, str(embedding.parent), 768, "clip_l")
    return [[(rows[one - FIRST_NEW] if one >= FIRST_NEW else one, 1.0) for one in row] for row in ids.tolist()]


if __name__ == "__main__":
    main()
