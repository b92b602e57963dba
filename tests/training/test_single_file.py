"""The single file loads as Stable Diffusion's original layout and draws what the folder draws."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.base.components import load_pipeline
from pipeline.training.single_file import LayoutError, to_half, unet_key, vae_key, write_single_file
from tests.training.test_methods import draw


def test_the_single_file_draws_what_the_folder_draws(tiny_base: Path, tmp_path: Path) -> None:
    target = tmp_path / "one.safetensors"
    write_single_file(tiny_base, target, {"dreamtrace": "{}"})
    with safe_open(target, "pt") as file:
        assert file.metadata()["dreamtrace"] == "{}"
    config = Path(shutil.copytree(tiny_base, tmp_path / "config"))
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    pipe = StableDiffusionPipeline.from_single_file(
        str(target), config=str(config), local_files_only=True, torch_dtype=torch.float32, safety_checker=None
    )
    expected = draw(load_pipeline(tiny_base, torch.float32, "cpu"), "a plush toy")
    assert np.array_equal(draw(pipe, "a plush toy"), expected)


def test_old_names_of_the_autoencoder_s_attention_give_the_same_file(tiny_base: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(tiny_base, tmp_path / "old"))
    path = old / "vae" / "diffusion_pytorch_model.safetensors"
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, tensor in load_file(path).items():
        for new, before in names.items():
            name = name.replace(new, before)  # noqa: PLW2901
        tensors[name] = tensor
    assert sum(".query." in name for name in tensors) == 4
    save_file(tensors, path, {"format": "pt"})
    write_single_file(old, tmp_path / "old.safetensors", {})
    write_single_file(tiny_base, tmp_path / "new.safetensors", {})
    one, other = load_file(tmp_path / "old.safetensors"), load_file(tmp_path / "new.safetensors")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_half_precision_halves_the_file_and_draws_the_same(tiny_base: Path, tmp_path: Path) -> None:
    write_single_file(tiny_base, tmp_path / "one.safetensors", {})
    write_single_file(tiny_base, tmp_path / "half.safetensors", {}, half=True)
    whole, half = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "half"))
    for name, tensor in whole.items():
        if tensor.is_floating_point():
            assert half[name].dtype == torch.float16
            assert torch.equal(half[name], tensor.half()), name
    assert (tmp_path / "half.safetensors").stat().st_mode & 0o777 == 0o644
    with pytest.raises(LayoutError, match=r"a\.weight has numbers too large"):
        to_half("a.weight", torch.tensor([7e4]))


def changed(base: Path, target: Path, file: str, **values: object) -> Path:
    """A copy of a base with other values in one of its configurations."""
    shutil.copytree(base, target)
    config = json.loads((target / file).read_text()) | values
    (target / file).write_text(json.dumps(config))
    return target


@pytest.mark.parametrize(
    ("file", "values"),
    [("unet/config.json", {"use_linear_projection": True}), ("text_encoder/config.json", {"hidden_act": "gelu"})],
)
def test_a_model_built_like_stable_diffusion_2_is_refused(tiny_base: Path, tmp_path: Path, file: str, values) -> None:
    second = changed(tiny_base, tmp_path / "second", file, **values)
    with pytest.raises(LayoutError, match="built like Stable Diffusion 2"):
        write_single_file(second, tmp_path / "one.safetensors", {})
    assert not (tmp_path / "one.safetensors").exists()


def test_a_model_that_predicts_the_velocity_says_so_in_its_file(tiny_base: Path, tmp_path: Path) -> None:
    scheduler = "scheduler/scheduler_config.json"
    velocity = changed(tiny_base, tmp_path / "velocity", scheduler, prediction_type="v_prediction")
    for name, model in (("velocity", velocity), ("noise", tiny_base)):
        write_single_file(model, tmp_path / f"{name}.safetensors", {})
        assert ("v_pred" in load_file(tmp_path / f"{name}.safetensors")) == (name == "velocity")


def test_nothing_is_overwritten(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").write_text("mine")
    with pytest.raises(LayoutError, match="exists already"):
        write_single_file(tiny_base, tmp_path / "one.safetensors", {})
    assert (tmp_path / "one.safetensors").read_text() == "mine"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv_in.weight", "input_blocks.0.0.weight"),
        ("time_embedding.linear_2.bias", "time_embed.2.bias"),
        ("down_blocks.0.resnets.1.conv1.weight", "input_blocks.2.0.in_layers.2.weight"),
        ("down_blocks.1.attentions.0.proj_in.weight", "input_blocks.4.1.proj_in.weight"),
        ("down_blocks.2.downsamplers.0.conv.bias", "input_blocks.9.0.op.bias"),
        ("mid_block.resnets.1.norm2.weight", "middle_block.2.out_layers.0.weight"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q.weight",
         "output_blocks.11.1.transformer_blocks.0.attn1.to_q.weight"),
        ("conv_norm_out.weight", "out.0.weight"),
    ],
)  # fmt: skip
def test_names_of_stable_diffusion_v1(ours: str, theirs: str) -> None:
    assert unet_key(ours, 2, [False, True, True, True]) == theirs


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("encoder.down_blocks.3.resnets.1.conv2.bias", "encoder.down.3.block.1.conv2.bias"),
        ("decoder.up_blocks.0.resnets.2.norm1.weight", "decoder.up.3.block.2.norm1.weight"),
        ("decoder.up_blocks.2.upsamplers.0.conv.weight", "decoder.up.1.upsample.conv.weight"),
        ("encoder.mid_block.attentions.0.to_out.0.weight", "encoder.mid.attn_1.proj_out.weight"),
        ("decoder.mid_block.resnets.0.conv1.weight", "decoder.mid.block_1.conv1.weight"),
        ("post_quant_conv.weight", "post_quant_conv.weight"),
    ],
)
def test_names_of_the_autoencoder(ours: str, theirs: str) -> None:
    assert vae_key(ours, 4) == theirs
