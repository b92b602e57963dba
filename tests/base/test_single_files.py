"""One file as a base: told with the command that converts it, or by what it is instead; the hub is never asked."""

import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.base.resolve import BaseNotFound, resolve_base
from pipeline.training.single_file import write_single_file
from tests.base.test_kind import base

UNET = "model.diffusion_model.input_blocks.0.0.weight"


def refusal(path: Path) -> str:
    with pytest.raises(BaseNotFound) as caught:
        resolve_base(base(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, *names: str, channels: int = 4) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file({name: torch.zeros(2, channels, 1, 1) for name in names}, path)
    return path


def test_a_whole_model_in_one_file_is_told_with_the_command_that_converts_it(tmp_path: Path) -> None:
    model = tmp_path / "it's new.safetensors"
    write_single_file(Path("pocket/model"), model, {})
    told = refusal(model)
    command = shlex.split(told[told.index("python -c") : told.rindex(", and set")])
    assert command[:2] == ["python", "-c"]
    code = compile(command[2], "command", "exec")
    assert str(model) in code.co_consts and str(tmp_path / "it's new") in code.co_consts
    assert told.endswith(f"set base.model to {tmp_path}/it's new")


@pytest.mark.parametrize(
    ("names", "channels", "words"),
    [
        (["lora_unet_down_blocks_0.lora_up.weight"], 4, "is a LoRA"),
        (["unet.down_blocks.0.to_q.lora_A.weight"], 4, "is a LoRA"),
        (["conditioner.embedders.1.model.ln_final.bias", UNET], 4, "is Stable Diffusion XL"),
        (["conditioner.embedders.0.model.ln_final.bias", UNET], 4, "is the refiner of Stable Diffusion XL"),
        (["model.diffusion_model.joint_blocks.0.x"], 4, "is Stable Diffusion 3"),
        (["double_blocks.0.img_attn.qkv.weight"], 4, "is FLUX"),
        (["control_model.input_hint_block.0.weight"], 4, "is a ControlNet"),
        (["emb_params"], 4, "is an embedding of a word"),
        (["decoder.conv_in.weight"], 4, "is an autoencoder alone"),
        (["down_blocks.0.resnets.0.conv1.weight"], 4, "is a U-Net alone"),
        (["text_model.embeddings.position_ids"], 4, "is a text encoder alone"),
        ([UNET], 9, "is an inpainting model"),
        ([UNET], 8, "is an instruction-editing model"),
        (["something.else"], 4, "is of no known kind (it holds 'something.else')"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, names: list[str], channels: int, words: str) -> None:
    assert words in refusal(write(tmp_path / "x.safetensors", *names, channels=channels))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v1-5.ckpt", b"PK", "pickle"),
        ("v1-5.SAFETENSORS", b"weights", "is no safetensors file"),
        ("v1-5.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("v1-5.safetensors", b"\x09\0\0\0\0\0\0\0{broken}.", "its header is damaged"),
        (
            "v1-5.safetensors",
            b'\x3c\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}      ',
            "is cut off",
        ),
        ("model.gguf", b"GGUF", "quantized"),
        ("notes.txt", b"?", "is a file"),
        ("model_index.json", b"{}", "is a file of a base; set base.model to its folder"),
    ],
)
def test_what_looks_like_a_name_on_the_hub_is_a_file_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(content)
    assert words in refusal(Path("models") / name)
