"""Compositions say what they show, and the same numbers give the same picture."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.suite import load_suite
from pipeline.params import Subject
from pocket import plush
from pocket.captions import Composition, caption
from pocket.objects import ACCESSORIES, ANIMALS, THINGS
from pocket.scenes import SCENES
from pocket.styles import STYLES
from pocket.world import SCENE_PHRASES, STYLE_PHRASES, WEARERS, Sprite, World, build, draw_example, random_toy


@pytest.fixture(scope="module")
def world() -> World:
    pixels = np.full((40, 30, 4), 255, np.uint8)
    pixels[..., 1:3] = 20
    names = ["plush toy", "cat", "car", *ACCESSORIES]
    return World([Sprite(name, "red bear" if name == "plush toy" else "", pixels) for name in names])


def test_the_same_numbers_give_the_same_picture(world: World) -> None:
    first, facts = draw_example(world, 7, 3, 32, 2)
    again, same = draw_example(world, 7, 3, 32, 2)
    other, _ = draw_example(world, 7, 4, 32, 2)
    assert first.shape == (32, 32, 3)
    assert np.array_equal(first, again)
    assert facts == same
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("style", STYLES)
def test_every_scene_is_drawn_in_every_style(world: World, scene: str, style: str) -> None:
    what = Composition("plush toy", "red bear", scene, style, "", False)
    drawn = world.compose(what, world.toys[0], np.random.default_rng(1), 32)
    empty = world.compose(Composition("", "", scene, style, "", False), None, np.random.default_rng(1), 32)
    assert drawn.std() > 5
    assert np.abs(drawn.astype(int) - empty).mean() > 1


def test_captions_name_style_and_object() -> None:
    rng = np.random.default_rng(0)
    what = Composition("cat", "", "beach", "pencil drawing", "top hat", False)
    for _ in range(20):
        text = caption(what, rng, STYLE_PHRASES, SCENE_PHRASES)
        assert any(text.startswith(phrase) for phrase in STYLES["pencil drawing"].phrases)
        assert "a cat" in text
        assert "wearing a" in text
        assert "top hat" in text


@pytest.mark.parametrize("name", ["thesis", "pocket", "pocket-choosing", "pocket-tuning", "pocket-hard"])
def test_the_suites_speak_the_language_of_the_world(name: str) -> None:
    words = {word for scene in SCENES.values() for phrase in scene.phrases for word in phrase.replace(",", " ").split()}
    words |= {word for style in STYLES.values() for phrase in style.phrases for word in phrase.split()}
    words |= set("wearing tiny astronaut suit red scarf top hat crown plush toy walking sitting standing".split())
    words |= set("under water shallow depth of field a an".split())
    words |= {word for name in (*ANIMALS, *THINGS) for word in name.split()}
    suite = load_suite(name, Subject(name="mysks", token="mysks", class_noun="plush toy"))
    for prompt in suite.prompts:
        assert not set(prompt.twin.replace(",", " ").split()) - words, prompt.twin


def test_what_wears_something_in_a_spaceship_often_wears_a_suit(world: World) -> None:
    rng = np.random.default_rng(3)
    chosen = [what for what, _ in (world.choose(rng) for _ in range(4000)) if what.thing in WEARERS]
    for inside, least, most in ((True, 0.3, 0.6), (False, 0.0, 0.1)):
        suits = [what.accessory == "astronaut suit" for what in chosen if (what.scene == "spaceship") == inside]
        assert least < np.mean(suits) < most


def test_rendering_goes_on_where_it_was_killed(world: World, tmp_path: Path) -> None:
    sprites = [*world.toys, *world.things, *world.accessories.values()]
    build(sprites, tmp_path / "whole", 5, 32, 7)
    build(sprites, tmp_path / "killed", 5, 32, 7)
    killed = tmp_path / "killed"
    (killed / "pictures.npy").rename(killed / "pictures.npy.part")
    lines = (killed / "captions.jsonl").read_text().splitlines()
    (killed / "captions.jsonl.part").write_text("\n".join(lines[:3]) + '\n{"thing": "ca')
    (killed / "captions.jsonl").unlink()
    pictures = np.lib.format.open_memmap(killed / "pictures.npy.part", "r+")
    pictures[3:] = 0  # never drawn
    pictures.flush()
    build(sprites, killed, 5, 32, 7)
    assert np.array_equal(np.load(killed / "pictures.npy"), np.load(tmp_path / "whole" / "pictures.npy"))
    assert (killed / "captions.jsonl").read_text() == (tmp_path / "whole" / "captions.jsonl").read_text()


def test_the_share_of_toys_is_kept(world: World) -> None:
    some = World([*world.toys, *world.things, *world.accessories.values()], toy_share=0.8)
    rng = np.random.default_rng(0)
    toys = [some.choose(rng)[0].thing == "plush toy" for _ in range(400)]
    assert 0.74 < np.mean(toys) < 0.86


@pytest.mark.parametrize("kind", plush.KINDS)
def test_toys_of_every_kind_stand_on_the_ground_in_any_proportions(kind: str) -> None:
    toy, details = random_toy(plush.KINDS.index(kind), np.random.default_rng(1))
    body = plush.body_of(toy)
    assert details.endswith(kind)
    assert max(np.abs(part.center).max() + max(part.radii) for part in body.parts) < 2
    assert min(part.center[1] - part.radii[1] for part in body.parts) > -1.15
    pixels = plush.render_sprite(toy, 0.5, 0.2, np.float32([0.4, 0.6, 1.0]), 24)
    assert 0.03 < (pixels[..., 3] > 128).mean() < 0.7
