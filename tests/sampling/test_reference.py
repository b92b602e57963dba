"""A reference picture: what an IP-Adapter adds is what diffusers draws with it, and nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.base.components import load_pipeline
from pipeline.base.reference_adapter import resolve_reference
from pipeline.base.resolve import BaseNotFound
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import RecipeError, recipe_of
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.reference import Reference, load_reference_adapter
from pipeline.sampling.sampler import Request, Sampler
from tests.tiny import picture

WANTED = [Request("a toy", 1), Request("plush", 2)]
WORDS = Words("mysks", "toy")
SIZE, TOKENS = 24, 4  # dimensions of the encoder's embedding; tokens that the adapter makes of it
FILES = {"weights": "ip.safetensors", "encoder": "encoder"}


def encoder(folder: Path, size: int = SIZE) -> None:
    """An image encoder with random weights."""
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=size,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


def ip_adapter(folder: Path, unet, narrower: int = 0) -> Path:
    """A folder with an IP-Adapter with random weights for a U-Net, and its image encoder."""
    torch.manual_seed(5)
    width = unet.config.cross_attention_dim - narrower
    tensors = {
        "image_proj.proj.weight": torch.randn(TOKENS * width, SIZE),
        "image_proj.proj.bias": torch.randn(TOKENS * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    layers = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(layers):
        channels = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * number + 1}.{part}.weight"] = torch.randn(channels, width)
    folder.mkdir(parents=True)
    save_file(tensors, folder / FILES["weights"])
    encoder(folder / FILES["encoder"])
    return folder


@pytest.fixture
def adapter(tiny_base: Path, tmp_path: Path) -> Path:
    return ip_adapter(tmp_path / "adapter", load_pipeline(tiny_base, torch.float32, "cpu").unet)


def sampler(tiny_base: Path, adapter: Path, shown: Image.Image, base=None, **changes) -> RecipeSampler:
    scale = changes.pop("scale", 0.6)
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    loaded = load_reference_adapter(adapter / FILES["weights"], adapter / FILES["encoder"], torch.float32, "cpu")
    recipe = recipe_of({**changes, "reference": {"adapter": str(adapter), "scale": scale, **FILES}}, "it")
    reference = Reference(shown, loaded, scale, {"sha256": "a" * 64})
    return RecipeSampler(pipe, "ddim", recipe, WORDS, base, reference=reference)


def drawn(drawing: Sampler, wanted=WANTED) -> list[np.ndarray]:
    return [np.asarray(found, int) for found in drawing.draw(wanted, 4, 3.0, 32, 8)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


def test_pictures_are_those_that_diffusers_draws_with_the_same_adapter(tiny_base: Path, adapter: Path) -> None:
    shown = picture(8, 16, 16)  # the encoder's own size: nothing is resized
    found = drawn(sampler(tiny_base, adapter, shown))
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    assert not same(found, drawn(Sampler(pipe, "ddim")))
    pipe.load_ip_adapter(str(adapter), "", FILES["weights"], image_encoder_folder=FILES["encoder"])
    pipe.set_ip_adapter_scale(0.6)
    for request, ours in zip(WANTED, found, strict=True):
        answer = pipe(
            request.prompt, generator=torch.Generator().manual_seed(request.seed), num_inference_steps=4,
            guidance_scale=3.0, height=32, width=32, ip_adapter_image=shown, output_type="np",
        ).images[0]  # fmt: skip
        assert np.abs(ours - answer * 255).max() < 1


def test_the_picture_and_the_scale_count_and_the_model_stays_as_it_is(tiny_base: Path, adapter: Path) -> None:
    plain = drawn(Sampler.load(tiny_base, "ddim", "fp32"))
    one, other = picture(8, 40, 40), picture(9, 40, 40)
    first = sampler(tiny_base, adapter, one)
    strong = drawn(first)
    assert not same(strong, drawn(sampler(tiny_base, adapter, other)))
    assert same(drawn(sampler(tiny_base, adapter, one, scale=0)), plain)
    assert same(strong[1:], drawn(sampler(tiny_base, adapter, one), WANTED[1:]))
    weak = drawn(sampler(tiny_base, adapter, one, scale=0.1))
    far = [np.abs(found[0] - plain[0]).mean() for found in (weak, strong)]
    assert far[0] < far[1]
    assert same(drawn(Sampler(first.pipe, "ddim")), plain)  # the pipeline that was given draws as before
    assert first.record["reference"] == {"sha256": "a" * 64}


@pytest.mark.parametrize(
    "changes",
    [{"strength": 0.5}, {"unconditional": "base"}, {"avoid": "plush"}, {"regions": [{"place": "left", "prompt": "x"}]}],
)
def test_a_reference_works_with_what_else_a_recipe_asks_for(tiny_base: Path, adapter: Path, changes: dict) -> None:
    base = load_pipeline(tiny_base, torch.float32, "cpu").unet
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(1.05)
    shown = picture(8, 40, 40)
    plain = RecipeSampler(load_pipeline(tiny_base, torch.float32, "cpu"), "ddim", recipe_of(changes, "it"), WORDS, base)
    assert same(drawn(sampler(tiny_base, adapter, shown, base, scale=0, **changes)), drawn(plain))
    assert not same(drawn(sampler(tiny_base, adapter, shown, base, **changes)), drawn(plain))


def test_an_adapter_that_does_not_fit_or_is_none_is_named(tiny_base: Path, adapter: Path, tmp_path: Path) -> None:
    shown, pipe = picture(8, 40, 40), load_pipeline(tiny_base, torch.float32, "cpu")
    with pytest.raises(ValueError, match="made for another base"):
        sampler(tiny_base, ip_adapter(tmp_path / "other", pipe.unet, narrower=4), shown)
    encoder(adapter / "wider", SIZE + 8)
    loaded = load_reference_adapter(adapter / FILES["weights"], adapter / "wider", torch.float32, "cpu")
    recipe = recipe_of({"reference": {}}, "it")
    with pytest.raises(ValueError, match="made for another image encoder"):
        RecipeSampler(pipe, "ddim", recipe, WORDS, reference=Reference(shown, loaded, 0.6))
    with pytest.raises(ValueError, match="needs a reference picture"):
        RecipeSampler(pipe, "ddim", recipe, WORDS)
    assert recipe_of({"reference": {"encoder": "./models/image_encoder/"}}, "it") == recipe
    (adapter / "broken.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="cannot be read"):
        load_reference_adapter(adapter / "broken.safetensors", adapter / FILES["encoder"], torch.float32, "cpu")
    save_file({"a": torch.zeros(1)}, adapter / "none.safetensors")
    with pytest.raises(ValueError, match="is no IP-Adapter"):
        load_reference_adapter(adapter / "none.safetensors", adapter / FILES["encoder"], torch.float32, "cpu")


def test_an_adapter_is_found_by_folder_and_known_by_what_is_in_it(adapter: Path, tmp_path: Path) -> None:
    found = resolve_reference(str(adapter), None, **FILES)
    assert found.weights == adapter / FILES["weights"]
    encoder(adapter / "other")
    assert resolve_reference(str(adapter), None, FILES["weights"], "other").digest != found.digest
    adapter.rename(tmp_path / "moved")
    assert resolve_reference(str(tmp_path / "moved"), None, **FILES).digest == found.digest
    with pytest.raises(BaseNotFound, match=r"lacks models/ip\.bin, models/encoder/config\.json"):
        resolve_reference(str(tmp_path / "moved"), None, "models/ip.bin", "models/encoder")
    with pytest.raises(BaseNotFound, match="no such folder"):
        resolve_reference(str(tmp_path / "gone"), None, **FILES)
    for wrong, words in (
        ({"weights": "models/ip-adapter_sd15.bin"}, r"reference\.weights: must be a \.safetensors file"),
        ({"weights": "../ip.safetensors"}, r"reference\.weights: must be a path in"),
        ({"encoder": ""}, r"reference\.encoder: must be a path in"),
        ({"encoder": "/etc"}, r"reference\.encoder: must be a path in"),
    ):
        with pytest.raises(RecipeError, match=words):
            recipe_of({"reference": wrong}, "it")
