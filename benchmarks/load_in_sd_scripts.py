"""Load exported files in a checkout of kohya's sd-scripts, by its own code on the CPU, and write what it computes.

    PYTHON load_in_sd_scripts.py CHECKOUT INPUTS OUTPUTS FILE [--lora FILE] [--embedding FILE]

`benchmarks.clients` runs this with the interpreter of that checkout; INPUTS and OUTPUTS are safetensors files. Keys of
the LoRA file that found no layer go to the standard error output, line by line after "unused: ".
"""

import argparse
import sys
from pathlib import Path
from typing import Any

FIRST_NEW = 49408  # ids from here on are rows of the embedding file


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("checkout", "inputs", "outputs", "file"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--embedding", type=Path)
    asked = parser.parse_args()
    sys.path[0] = str(asked.checkout)

    import torch
    from library.model_util import load_models_from_stable_diffusion_checkpoint
    from safetensors.torch import load_file, save_file

    text_encoder, vae, unet = load_models_from_stable_diffusion_checkpoint(False, str(asked.file))
    for module in (text_encoder, vae, unet):
        module.float().eval()
    if asked.lora is not None:
        _merge(asked.lora, text_encoder, vae, unet)
    if asked.embedding is not None:
        _add_words(asked.embedding, text_encoder)
    given = load_file(asked.inputs)
    with torch.inference_mode():
        save_file(
            {
                "text encoder": text_encoder(given["ids"]).last_hidden_state.contiguous(),
                "U-Net": unet(given["noise"], given["time"], given["states"]).sample.contiguous(),
                "autoencoder": vae.decode(given["latents"]).sample.contiguous(),
            },
            asked.outputs,
        )


def _merge(file: Path, text_encoder: Any, vae: Any, unet: Any) -> None:
    import torch
    from networks.lora import create_network_from_weights

    network, weights = create_network_from_weights(1.0, str(file), vae, text_encoder, unet, for_inference=True)
    layers = {module.lora_name for module in (*network.text_encoder_loras, *network.unet_loras)}
    for key in sorted(weights):
        if key.split(".")[0] not in layers:
            print(f"unused: {key}", file=sys.stderr)
    network.merge_to(text_encoder, unet, weights, torch.float32, "cpu")


def _add_words(file: Path, text_encoder: Any) -> None:
    import torch
    from train_textual_inversion import TextualInversionTrainer

    (rows,) = TextualInversionTrainer.load_weights(None, str(file))  # one for each text encoder
    text_encoder.resize_token_embeddings(FIRST_NEW + len(rows))
    with torch.no_grad():
        text_encoder.get_input_embeddings().weight[FIRST_NEW:] = rows


if __name__ == "__main__":
    main()
