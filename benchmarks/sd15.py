"""Stable Diffusion v1.5's architecture as a pipeline folder, and its usual judges', with random weights: they run as
fast as any.
"""

import json
from pathlib import Path

import torch


def make_tokenizer(folder: Path) -> None:
    """A CLIP tokenizer with as many tokens as the real one: the byte symbols, and pairs of letters."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(one, other) for one in alphabet for other in alphabet][: 49408 - 2 * len(alphabet) - 2]
    symbols = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *("".join(pair) for pair in pairs)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    assert len(vocabulary) == 49408
    CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=77).save_pretrained(folder)


def make_sd15(folder: Path) -> None:
    """A pipeline folder with the configuration of Stable Diffusion v1.5."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    make_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, pad_token_id=1, projection_dim=768,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, attention_head_dim=8,
        cross_attention_dim=768,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964
    unet.save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    vae.save_pretrained(folder / "vae")
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(folder / "scheduler")
    names = {
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None], **names}
    (folder / "model_index.json").write_text(json.dumps(index))


def make_clip(folder: Path) -> None:
    """A folder with the configuration of CLIP ViT-B/32."""
    from transformers import CLIPConfig, CLIPModel

    make_tokenizer(folder)
    torch.manual_seed(1)
    text = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config=text, projection_dim=512))
    assert sum(parameter.numel() for parameter in model.parameters()) == 151_277_313
    model.save_pretrained(folder)
    _save_processor(folder, "CLIPImageProcessor", 224)


def make_dino(folder: Path) -> None:
    """A folder with the configuration of DINOv2 base."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(2)
    model = Dinov2Model(Dinov2Config(image_size=518))
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_580_480
    model.save_pretrained(folder)
    _save_processor(folder, "BitImageProcessor", 256)


def _save_processor(folder: Path, kind: str, side: int) -> None:
    settings = {
        "image_processor_type": kind,
        "do_center_crop": True,
        "size": {"shortest_edge": side},
        "crop_size": {"height": 224, "width": 224},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
