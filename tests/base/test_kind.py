"""Another kind of model is refused in one sentence, by its configurations, before any weights are read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.base.learned import LEARNED, Learned, write_learned
from pipeline.base.resolve import BaseNotFound, resolve_base
from pipeline.params import Base


def base(folder: Path, **more: Any) -> Base:
    return Base.model_validate({"model": str(folder), **more})


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "a base"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


UNET, INDEX = "unet/config.json", "model_index.json"
OTHERS: list[tuple[str, dict[str, Any], str]] = [
    (INDEX, {"_class_name": "StableDiffusionXLPipeline", "text_encoder_2": ["a", "b"]}, "Stable Diffusion XL"),
    (INDEX, {"_class_name": "StableDiffusion3Pipeline"}, "Stable Diffusion 3"),
    (INDEX, {"_class_name": "FluxPipeline", "transformer": ["a", "b"]}, "FLUX"),
    (INDEX, {"_class_name": "PixArtAlphaPipeline"}, "PixArt"),
    (INDEX, {"_class_name": "StableDiffusionInpaintPipeline"}, "an inpainting model"),
    (INDEX, {"_class_name": "StableDiffusionDepth2ImgPipeline"}, "a depth-to-image model"),
    (INDEX, {"_class_name": "StableDiffusionUpscalePipeline"}, "an upscaler"),
    (INDEX, {"_class_name": "StableDiffusionInstructPix2PixPipeline"}, "InstructPix2Pix"),
    (INDEX, {"_class_name": "LatentConsistencyModelPipeline"}, "a latent consistency model"),
    (INDEX, {"_class_name": "SomethingNew", "transformer": ["a", "b"]}, "SomethingNew with transformer"),
    (UNET, {"in_channels": 9}, "an inpainting model"),
    (UNET, {"in_channels": 8}, "InstructPix2Pix"),
    (UNET, {"in_channels": 5}, "a depth-to-image model"),
    (UNET, {"addition_embed_type": "text_time"}, "wants more than a prompt"),
    (UNET, {"class_embed_type": "timestep"}, "wants more than a prompt"),
    (UNET, {"time_cond_proj_dim": 256}, "distilled"),
    (UNET, {"cross_attention_dim": 1024}, "text encoder has width 32, its U-Net wants 1024"),
    ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts 'sample'"),
    ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "zero terminal SNR with epsilon"),
    ("vae/config.json", {"latent_channels": 16}, "autoencoder makes 16 channels, its U-Net takes 4"),
]


@pytest.mark.parametrize(("file", "values", "words"), OTHERS)
def test_another_kind_of_model_is_named(folder: Path, file: str, values: dict[str, Any], words: str) -> None:
    change(folder / file, **values)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()  # nothing but configurations is looked at
    with pytest.raises(BaseNotFound) as caught:
        resolve_base(base(folder))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_dreamtrace_is_no_base_because_what_it_learned_would_be_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_learned(folder, Learned(words=("mysks",), embedding="embeddings/mysks.safetensors"))
    (folder / "embeddings").mkdir()
    (folder / "embeddings" / "mysks.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    with pytest.raises(BaseNotFound, match="name the base that it was trained on"):
        resolve_base(base(folder))
    assert resolve_base(base(folder), recorded=True).size == 32  # of a record from before they were refused
    fetched: list[str] = []

    def fetch(key: str, name: str, revision: str | None, patterns: list[str]) -> Path:
        fetched.extend(patterns)
        return folder

    monkeypatch.setattr("pipeline.base.resolve.from_hub", fetch)
    with pytest.raises(BaseNotFound, match="name the base that it was trained on"):
        resolve_base(Base.model_validate({"model": "owner/name"}))
    assert LEARNED in fetched and not any("safetensors" in pattern for pattern in fetched)


def test_velocity_prediction_with_zero_terminal_snr_is_accepted(folder: Path) -> None:
    change(folder / "scheduler/scheduler_config.json", prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert resolve_base(base(folder)).size == 32


@pytest.mark.parametrize("content", ["{not json", "[1, 2]", ""])
def test_a_broken_configuration_is_named(folder: Path, content: str) -> None:
    (folder / UNET).write_text(content)
    with pytest.raises(BaseNotFound, match=r"unet/config\.json is not"):
        resolve_base(base(folder))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "is a Git LFS pointer"),
        (b"", "is not a safetensors file, or is cut off"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}", "has a damaged header"),
        (b"PK\x03\x04 a pickle in a zip archive" * 9, "is not a safetensors file, or is cut off"),
    ],
)
def test_weights_that_are_none_are_named(folder: Path, content: bytes, words: str) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(BaseNotFound, match=words):
        resolve_base(base(folder))


def test_weights_that_are_cut_off_are_named(folder: Path) -> None:
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BaseNotFound, match="is cut off: it has"):
        resolve_base(base(folder))


def test_other_weights_say_what_to_do(folder: Path) -> None:
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(BaseNotFound, match=r"unet has the variant fp16, other parts have not"):
        resolve_base(base(folder))
    path.with_name("diffusion_pytorch_model.fp16.safetensors").rename(path.with_suffix(".bin"))
    with pytest.raises(BaseNotFound, match=r"use_safetensors=False\)\.save_pretrained"):
        resolve_base(base(folder))


def test_a_proxy_that_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise RuntimeError("407 Proxy Authentication Required\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("pipeline.base.resolve._cached", lambda *_: None)
    with pytest.raises(BaseNotFound, match="407 Proxy Authentication Required") as caught:
        resolve_base(Base.model_validate({"model": "owner/name"}))
    assert "\n" not in str(caught.value) and "HTTPS_PROXY" in str(caught.value)
