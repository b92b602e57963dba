"""Our exports in another program: loaded by a checkout of kohya's sd-scripts, and compared number by number.

    python -m benchmarks.clients SD_SCRIPTS MODEL [--base FOLDER] [--work FOLDER]

SD_SCRIPTS is a checkout of kohya-ss/sd-scripts (what it imports and is missing here has to be installed), MODEL a
model folder of Stable Diffusion 1.x's full size. The model is exported to one file, as `dreamtrace export` does it, and
loaded there. Where MODEL has LoRA layers and `--base` names its base, the base is exported and the layers' file is put
onto it by that program. Prints the largest differences of the text encoder's states, of the U-Net's prediction and of a
decoded picture, relative to the largest number of ours; ends with status 1 where one is above 1e-4, or where a key of
the layers' file was not used.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from pipeline.files import read_json

LIMIT = 1e-4
SIDE = 32  # of the latents


def ours(model: Path) -> dict[str, torch.Tensor]:
    """What the model folder computes from fixed noise, and words that are no words."""
    from pipeline.base.components import load_pipeline

    pipe = load_pipeline(model, torch.float32, "cpu")
    return _outputs(
        lambda ids: pipe.text_encoder(ids).last_hidden_state,
        lambda noise, time, states: pipe.unet(noise, time, states).sample,
        lambda latents: pipe.vae.decode(latents).sample,
    )


def theirs(checkout: Path, file: Path, lora: Path | None) -> dict[str, torch.Tensor]:
    """The same by sd-scripts.

    Raises:
        ValueError: keys of the LoRA file were not used.
    """
    sys.path.insert(0, str(checkout))
    from library.model_util import load_models_from_stable_diffusion_checkpoint

    text_encoder, vae, unet = load_models_from_stable_diffusion_checkpoint(False, str(file))
    if lora is not None:
        from networks.lora import create_network_from_weights

        network, weights = create_network_from_weights(1.0, str(lora), vae, text_encoder, unet, for_inference=True)
        left = set(weights) - set(network.state_dict())
        if left:
            raise ValueError(f"{len(left)} keys of {lora} were not used, {min(left)} for example")
        network.merge_to(text_encoder, unet, weights, torch.float32, "cpu")
    return _outputs(
        lambda ids: text_encoder(ids).last_hidden_state,
        lambda noise, time, states: unet(noise, time, states).sample,
        lambda latents: vae.decode(latents).sample,
    )


@torch.inference_mode()
def _outputs(encode: Any, predict: Any, decode: Any) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 40000, (1, 77), generator=random)
    ids[0, 0], ids[0, 40:] = 49406, 49407
    noise = torch.randn(1, 4, SIDE, SIDE, generator=random)
    states = torch.randn(1, 77, 768, generator=random)
    return {
        "text encoder": encode(ids),
        "U-Net": predict(noise, torch.tensor([500]), states),
        "autoencoder": decode(noise[:, :, :16, :16]),
    }


def main() -> int:
    from pipeline.training.single_file import write_single_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, metavar="SD_SCRIPTS")
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--work", type=Path, help="where the exported files go for a while")
    asked = parser.parse_args()
    expected = ours(asked.model)
    tried: list[tuple[str, Path, Path | None]] = [("one file", asked.model, None)]
    layers = sorted((asked.model / "adapters").glob("kohya.safetensors"))
    if layers and asked.base is not None:
        tried.append(("LoRA layers on the base", asked.base, layers[0]))
    worst = 0.0
    for title, folder, lora in tried:
        with tempfile.TemporaryDirectory(dir=asked.work) as scratch:
            file = Path(scratch) / "exported.safetensors"
            write_single_file(folder, file, {}, words_of(asked.base or folder))
            found = theirs(asked.checkout, file, lora)
        for name, value in expected.items():
            off = float((found[name] - value).abs().max() / value.abs().max())
            worst = max(worst, off)
            print(f"{title}, {name}: {off:.1e}", flush=True)
    return int(worst > LIMIT)


def words_of(folder: Path) -> int:
    """How many words the base knows: rows of learned words have no place in the file."""
    return int(read_json(folder / "text_encoder" / "config.json")["vocab_size"])


if __name__ == "__main__":
    sys.exit(main())
