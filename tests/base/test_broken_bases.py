"""A base that is not whole, or whose parts do not belong together, is refused in one line that names the part."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pipeline.base.configurations import tokenizer_problems
from pipeline.base.description import describe_base
from pipeline.base.resolve import BaseNotFound, resolve_base
from pipeline.params import Base
from tests.base.test_kind import base, change

UNET, VAE, TEXT = (f"{part}/config.json" for part in ("unet", "vae", "text_encoder"))
INDEX = "model_index.json"


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "a base"))


def refusal(folder: Path, **more: Any) -> str:
    with pytest.raises(BaseNotFound) as caught:
        resolve_base(base(folder, **more))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights(folder: Path, part: str) -> Path:
    return next((folder / part).glob("*.safetensors"))


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def split(path: Path) -> list[Path]:
    """Cut one file of weights into two parts with an index, as `save_pretrained` does."""
    tensors = load_file(path)
    names = sorted(tensors)
    stem, parts, table = path.name.removesuffix(".safetensors"), [], {}
    for number, some in enumerate((names[::2], names[1::2]), 1):
        parts.append(path.with_name(f"{stem}-{number:05d}-of-00002.safetensors"))
        save_file({name: tensors[name] for name in some}, parts[-1])
        table |= dict.fromkeys(some, parts[-1].name)
    path.with_name(f"{path.name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    path.unlink()
    return parts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (UNET, "lacks unet/config.json"),
        (TEXT, "lacks text_encoder/config.json"),
        (INDEX, "lacks model_index.json"),
        ("scheduler/scheduler_config.json", "lacks scheduler"),
        ("tokenizer/tokenizer.json", "lacks tokenizer/vocab.json, tokenizer/merges.txt"),
    ],
)
def test_a_file_that_is_missing_is_named(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    assert words in refusal(folder)


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        (INDEX, {"_class_name": "FancyPipeline"}, "names the pipeline FancyPipeline"),
        (INDEX, {"_class_name": ["pipeline", "Own"]}, "names the pipeline"),
        (INDEX, {"unet": ["diffusers", "UNetMotionModel"]}, "its unet is a UNetMotionModel"),
        (INDEX, {"vae": ["diffusers", "AutoencoderTiny"]}, "its vae is a AutoencoderTiny"),
        (INDEX, {"text_encoder": ["transformers", "T5EncoderModel"]}, "its text_encoder is a T5EncoderModel"),
        (INDEX, {"text_encoder": ["mine", "CLIPTextModel"]}, "comes from code of its own"),
        (INDEX, {"vae": [None, None]}, "names no vae"),
        (UNET, {"_class_name": "UNet3DConditionModel"}, "unet/config.json is that of a UNet3DConditionModel"),
        (VAE, {"_class_name": "VQModel"}, "vae/config.json is that of a VQModel"),
        (TEXT, {"model_type": "t5"}, "its text encoder is no CLIP: text_encoder/config.json says t5"),
        (UNET, {"quantization_config": {"quant_method": "bitsandbytes"}}, "the weights of unet are quantized"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow matching"),
        ("tokenizer/tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}, "its tokenizer is a T5Tokenizer"),
        (TEXT, {"vocab_size": 100}, "its text encoder 100 (vocab_size): they are of different models"),
        (INDEX, {"scheduler": ["diffusers", "NoSuchScheduler"]}, "NoSuchScheduler'], which diffusers does not have"),
        (INDEX, {"scheduler": [None, None]}, "which diffusers does not have"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "nosuch"}, "describes no noise schedule"),
        (UNET, {"sample_size": None}, "unet/config.json has sample_size null"),
        (UNET, {"sample_size": [16, 16]}, "unet/config.json has sample_size [16, 16]"),
        (VAE, {"block_out_channels": None}, "vae/config.json lacks block_out_channels"),
        (UNET, {"block_out_channels": [16, 64]}, "unet: weights and config.json are of different models"),
        (UNET, {"layers_per_block": 2}, "missing, such as down_blocks.0"),
        (VAE, {"norm_num_groups": 7}, "vae/config.json describes nothing that can be built"),
        (TEXT, {"num_hidden_layers": 2}, "missing, such as encoder.layers.1"),
        (TEXT, {"max_position_embeddings": 77}, "embeddings.position_embedding.weight: 32x32, config.json says 77x32"),
    ],
)
def test_configurations_that_do_not_belong_together_are_named(
    folder: Path, file: str, values: dict[str, Any], words: str
) -> None:
    change(folder / file, **values)
    assert words in refusal(folder)


def test_weights_are_held_against_their_configuration(folder: Path) -> None:
    edit(weights(folder, "unet"), lambda tensors: tensors.pop("conv_out.bias"))
    edit(weights(folder, "vae"), lambda tensors: tensors.update(extra=tensors["quant_conv.bias"].clone()))
    edit(
        weights(folder, "text_encoder"),
        lambda tensors: tensors.update({"x.embeddings.position_ids": next(iter(tensors.values())).clone()}),
    )
    told = refusal(folder)
    assert "unet: weights and config.json are of different models: 1 tensor missing, such as conv_out.bias" in told
    assert "vae: weights and config.json are of different models: 1 tensor that config.json does not know" in told
    assert "text_encoder" not in told  # a buffer of older versions


def test_a_tokenizer_in_two_files_needs_both_whole(folder: Path) -> None:
    whole = json.loads((folder / "tokenizer/tokenizer.json").read_text())
    (folder / "tokenizer/tokenizer.json").unlink()
    (folder / "tokenizer/vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    assert "lacks tokenizer/merges.txt" in refusal(folder)
    merges, lines = folder / "tokenizer/merges.txt", [" ".join(merge) for merge in whole["model"]["merges"]]
    merges.write_text("\n".join(["#version: 0.2", *lines]))
    assert describe_base(base(folder)).tokenizer().tokenize("plush toy") == ["plush</w>", "toy</w>"]
    merges.write_text("\n".join(["#version: 0.2", *lines[:-1]]))
    assert "1 word that no merge makes, such as 'toy</w>'" in refusal(folder)
    (folder / "tokenizer/vocab.json").write_text("{")
    assert "the files of its tokenizer are damaged" in refusal(folder)


def test_quantized_weights_are_named(folder: Path) -> None:
    edit(weights(folder, "unet"), lambda tensors: tensors.update({name: tensors[name].char() for name in tensors}))
    assert "unet: its weights are I8 (quantized)" in refusal(folder)


def test_the_configuration_of_a_whole_clip_is_read_one_level_down(folder: Path) -> None:
    text = json.loads((folder / TEXT).read_text())
    (folder / TEXT).write_text(json.dumps({"model_type": "clip", "text_config": text}))
    assert describe_base(base(folder)).length == 32
    assert resolve_base(base(folder)).size == 32


def test_old_names_and_whole_clips_are_accepted(folder: Path) -> None:
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if "mid_block.attentions.0" in name]:
            for now, then in new.items():
                if f".{now}." in name:
                    tensors[name.replace(f".{now}.", f".{then}.")] = tensors.pop(name)

    edit(weights(folder, "vae"), rename)
    edit(
        weights(folder, "text_encoder"),
        lambda tensors: tensors.update(logit_scale=next(iter(tensors.values())).clone()),
    )
    assert any("query" in name for name in load_file(weights(folder, "vae")))
    assert resolve_base(base(folder)).size == 32


def test_sharded_weights_are_whole_or_refused(folder: Path, tiny_base: Path) -> None:
    parts = split(weights(folder, "unet"))
    index = parts[0].with_name("diffusion_pytorch_model.safetensors.index.json")
    assert resolve_base(base(folder)).digest == resolve_base(base(tiny_base)).digest
    kept = index.read_text()
    index.write_text("{")
    assert "index.json cannot be read" in refusal(folder)
    index.write_text(kept.replace("00002-of", "00009-of"))
    assert "names diffusion_pytorch_model-00009-of-00002.safetensors, which is missing" in refusal(folder)
    index.unlink()
    assert "lacks unet/*.safetensors.index.json" in refusal(folder)
    index.write_text(kept)
    shutil.copy(weights(tiny_base, "unet"), folder / "unet")
    assert "unet has its weights twice" in refusal(folder)
    weights(folder, "unet").with_name("diffusion_pytorch_model.safetensors").unlink()
    parts[1].unlink()
    assert "lacks unet/diffusion_pytorch_model-00002-of-00002.safetensors" in refusal(folder)


def test_weights_of_a_variant_say_what_to_set(folder: Path) -> None:
    assert "holds weights without a variant: set base.variant to null" in refusal(folder, variant="fp16")
    for path in list(folder.rglob("*.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert "holds the variant fp16: set base.variant to fp16" in refusal(folder)
    assert resolve_base(base(folder, variant="fp16")).variant == "fp16"


def test_a_folder_beside_the_pipeline_says_which_one_to_name(folder: Path, tmp_path: Path) -> None:
    assert refusal(folder / "unet").endswith(f"set base.model to the folder above it, {folder}")
    assert refusal(tmp_path).endswith(f"set base.model to {folder}")
    snapshots = tmp_path / "models--a--b" / "snapshots"
    shutil.copytree(folder, snapshots / "0123")
    assert refusal(snapshots.parent).endswith(f"set base.model to {snapshots / '0123'}")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "v1-5.safetensors").write_bytes(b"x")
    assert "to use one of its files, set base.model to" in refusal(tmp_path / "files")


def test_what_a_hub_base_lacks_is_told_before_its_weights_are_fetched(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []

    def fetch(key: str, name: str, revision: str | None, patterns: list[str]) -> Path:
        fetched.append(patterns)
        return tiny_base

    names = [path.relative_to(tiny_base).as_posix() for path in tiny_base.rglob("*") if path.is_file()]
    listed = [name.replace(".safetensors", ".bin") for name in names] + ["unet/old/other.bin"]
    monkeypatch.setattr("pipeline.base.resolve.from_hub", fetch)
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda *_, **__: listed)
    with pytest.raises(BaseNotFound, match=r"lacks text_encoder/\*\.safetensors.*pickles"):
        resolve_base(Base.model_validate({"model": "owner/name"}))
    assert len(fetched) == 1 and not any("safetensors" in pattern for pattern in fetched[0])
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda *_, **__: names)
    assert resolve_base(Base.model_validate({"model": "owner/name"})).size == 32


def test_a_tokenizer_of_the_real_size_is_checked_in_a_moment(tmp_path: Path) -> None:
    words = [f"{one}{other}" for one in map(chr, range(0x4E00, 0x4EDC)) for other in map(chr, range(0x4E00, 0x4EDC))]
    vocabulary = {word: index for index, word in enumerate(words)}
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text("{}")
    model = {"vocab": vocabulary, "merges": [[word[0], word[1]] for word in words]}
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": model}))
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "config.json").write_text(json.dumps({"vocab_size": len(words)}))
    began = time.process_time()
    assert list(tokenizer_problems(tmp_path)) == []
    assert len(words) > 48_000 and time.process_time() - began < 10  # it took minutes when each word made a set anew
