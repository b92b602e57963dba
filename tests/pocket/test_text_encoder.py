"""The text encoder of pocket says every fact of a caption loudly, and the benchmark hears what a U-Net listens to."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.heard import Denoiser, exchanged, loudness
from pocket import plush
from pocket.captions import Composition
from pocket.recipe import HERE, read_recipe
from pocket.text import encode
from pocket.text_encoder import Reader, classes, described, named_facts, train_text_encoder, undrawn

PIG = Composition("plush toy", "striped brown pig", "beach", "photo", "top hat", False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a photo of a striped brown pig plush toy wearing a top hat on the beach",
            {"kind": "pig", "color": "brown", "pattern": "striped", "scene": "beach", "accessory": "top hat"},
        ),
        ("a photo of a pig plush toy", {"kind": "pig"}),
        ("a photo of a plush toy on brown sand", {}),
        ("a photo of a plush toy on a sandy beach", {"scene": "beach"}),
    ],
)
def test_facts_are_those_that_a_caption_tells(text: str, told: dict[str, str]) -> None:
    assert named_facts(PIG, text) == {"thing": "plush toy", "style": "photo", **told}


def test_a_toy_whose_caption_names_its_color_and_no_pattern_is_plain() -> None:
    found = named_facts(Composition("plush toy", "brown pig", "beach", "photo", "", False), "a brown pig plush toy")
    assert (found["color"], found["pattern"], found["kind"]) == ("brown", "plain", "pig")


def test_every_fact_of_every_caption_has_its_class() -> None:
    world, known, seen = undrawn(0.6), classes(), set()
    rng = np.random.default_rng(3)
    for _ in range(2000):
        facts, _ = described(world, rng)
        assert all(name in known[key] for key, name in facts.items())
        seen |= set(facts.items())
    assert {name for key, name in seen if key == "kind"} == set(plush.KINDS)


def test_heads_are_asked_about_the_captions_that_tell_their_fact() -> None:
    encoder = CLIPTextModel.from_pretrained(HERE / "model" / "text_encoder", dtype=torch.float32)
    reader = Reader(encoder)
    pig = reader.classes["kind"].index("pig")
    states = torch.stack([reader.heads["kind"][pig].detach(), torch.ones(encoder.config.hidden_size)])
    found = reader.losses(states, [{"kind": "pig"}, {"style": "photo"}])
    assert set(found) == {"kind", "style"}
    loss, right = found["kind"]
    assert right.item() == 1 and loss.item() < 0.01


def test_training_makes_another_kind_of_toy_another_text(tmp_path: Path) -> None:
    recipe = read_recipe("cpu")
    short = recipe.model_copy(
        update={"text_encoder": recipe.text_encoder.model_copy(update={"steps": 120, "batch": 8, "rate": 2e-3})}
    )
    shutil.copytree(HERE / "clip", tmp_path / "clip")
    train_text_encoder(short, tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "clip")
    tokens = encode(tokenizer, [f"a photo of a {kind} plush toy on the beach" for kind in ("pig", "cat", "fox")])
    spread = []
    for folder in ("clip", "text"):
        encoder = CLIPTextModel.from_pretrained(tmp_path / folder, dtype=torch.float32).eval()
        with torch.no_grad():
            spread.append(float(encoder(tokens).last_hidden_state[:, -1].var(dim=0).sum()))
    print(spread)
    assert spread[1] > 3 * spread[0]


def test_the_shipped_text_encoder_says_kinds_and_colors_of_toys_aloud_and_the_clip_does_not() -> None:
    model = HERE / "model"
    said = loudness(Denoiser(model / "unet", model / "text_encoder", model / "tokenizer"))
    assert 0.1 < said["kind"] < said["object"] < 1 and 0.1 < said["color"] < said["object"]
    tower = loudness(Denoiser(model / "unet", HERE / "clip", model / "tokenizer"))
    assert 0 < tower["kind"] < said["kind"] / 10


def test_one_word_of_a_caption_is_exchanged() -> None:
    rng = np.random.default_rng(1)
    text = "a photo of a striped brown pig plush toy on the beach"
    facts = {"thing": "plush toy", "details": "striped brown pig", "scene": "beach", "captions": ["a pig", text]}
    found = {name: (right, wrong) for name, right, wrong in exchanged(facts, rng)}
    assert set(found) == {"scene", "kind", "color", "pattern"}
    assert all(right == text and wrong != text for right, wrong in found.values())
    assert found["pattern"][1] == text.replace("striped", "spotted")
    assert found["kind"][1].split()[6] in set(plush.KINDS) - {"pig"}
    thing = {"thing": "cat", "details": "", "scene": "beach", "captions": ["a photo of a cat"]}
    assert [name for name, _, _ in exchanged(thing, rng)] == ["object"]
