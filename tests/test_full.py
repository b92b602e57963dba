"""Stable Diffusion v1.5 at full size, with random weights, on the CPU: `make test-full`.

Architecture, tokenizer size and the thesis profile are the real ones. Only counts are cut down (photos in a batch,
steps, prompts), since one image costs minutes here.
"""

import json
import resource
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from pipeline import layout
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.profiles import find_profile
from tests.tiny import make_scorer, picture

LIMIT_GIB = 24


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


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_the_thesis_profile_goes_through_all_stages_at_full_size(tmp_path: Path, monkeypatch) -> None:
    if shutil.disk_usage(tmp_path).free < 40e9:
        pytest.skip("needs 40 GB of disk")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_sd15(tmp_path / "base")
    make_scorer(tmp_path / "scorer")
    (tmp_path / "data").mkdir()
    rows = []
    for number in range(3):
        picture(number, 700, 520).save(tmp_path / "data" / f"{number}.jpg", quality=92)
        rows.append({"file_name": f"{number}.jpg", "text": f"a photo of mysks plush toy, {number}"})
    (tmp_path / "data" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suite.yaml").write_text("prompts:\n  scene:\n    - a photo of {token} near books\n")

    values = yaml.safe_load(find_profile("thesis").path.read_text())
    values["base"] |= {"model": str(tmp_path / "base"), "revision": None}
    values["prepare"] |= {"heldout": 1}
    values["prior"] |= {"images": 1}
    values["prior"]["draw"] |= {"steps": 1}
    values["train"] |= {"steps": 2, "batch": 1, "checkpoint_every": 2, "log_every": 1}
    values["sample"] |= {"suite": "suite.yaml", "seeds": [1]}
    values["sample"]["draw"] |= {"steps": 1}
    values["evaluate"] |= {"scorer": str(tmp_path / "scorer"), "revision": None, "identity": "scorer", "bootstrap": 20}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    params = load_params(layout.PARAMS)
    for stage in ("prepare", "prior", "train", "sample", "evaluate", "register"):
        import_module(f"pipeline.stages.{stage}").run(Path(), params)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{stage}: peak memory so far {peak:.1f} GiB")
    assert read_json(layout.REGISTRATION)["version"] == "1"
    assert peak < LIMIT_GIB
