"""The judge and the identity encoder: what they are shipped with, and the arithmetic of their figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from pipeline.evaluation.aspect_classifier import Judge, judge_pictures, named_in
from pipeline.evaluation.backbones import Encoder
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.second_opinion import PHRASES, open_second_judge
from pipeline.files import read_json
from pocket.captions import Composition
from pocket.identity import Examples, build_encoder, embed, told_apart
from pocket.judge import phrases
from pocket.photographs import described, photographs
from pocket.recipe import HERE
from pocket.scenes import SCENES
from pocket.styles import STYLES
from pocket.world import World


def test_a_saved_judge_judges_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    judge = Judge({"thing": ["cat", "dog"], "scene": ["beach"], "style": ["photo", "pixel art"]}).half().float()
    judge.save(tmp_path / "judge.safetensors")
    pixels = torch.rand(3, 3, 64, 64) * 2 - 1
    before, after = judge_pictures(judge, pixels), judge_pictures(Judge.load(tmp_path / "judge.safetensors"), pixels)
    assert before == after
    assert sorted(before[0].things) == ["cat", "dog"]
    assert judge_pictures(judge, pixels, batch=1) == before


def test_the_shipped_judge_knows_the_world() -> None:
    judge = Judge.load(HERE / "judge" / "judge.safetensors")
    assert judge.names["scene"] == list(SCENES)
    assert judge.names["style"] == list(STYLES)
    assert {"plush toy", "wild boar", "cat"} <= set(judge.names["thing"])


def test_the_shipped_encoder_sees_what_was_trained(tmp_path: Path) -> None:
    from PIL import Image

    encoder = Encoder(HERE / "identity")
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "one.png")
    direct = embed(encoder.model, torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1)
    cosine = torch.nn.functional.cosine_similarity(direct, encoder.pictures([tmp_path / "one.png"]))
    assert float(cosine.detach()) > 0.995  # up to the interpolation


@pytest.mark.parametrize(("toys", "area"), [([0, 0, 1, 1], 1.0), ([0, 1, 0, 1], 0.25)])
def test_told_apart_is_the_area_under_the_curve(monkeypatch: pytest.MonkeyPatch, toys: list[int], area: float) -> None:
    angles = torch.tensor([0.0, 0.1, 1.0, 1.2])
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    monkeypatch.setattr("pocket.identity.embed", lambda encoder, pixels: vectors)
    examples = Examples(np.zeros((4, 8, 8, 3), np.uint8), np.array(toys))
    assert told_apart(build_encoder(), examples, examples)["area"] == pytest.approx(area)


def test_told_apart_over_two_sets_takes_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = [torch.tensor([0.0, 1.0]), torch.tensor([0.2, 0.6, 1.1])]
    vectors = (torch.stack([angle.cos(), angle.sin()], dim=1) for angle in angles)
    monkeypatch.setattr("pocket.identity.embed", lambda *_: next(vectors))
    one, other = (Examples(np.zeros((len(toys), 8, 8, 3), np.uint8), np.array(toys)) for toys in ([0, 1], [0, 0, 1]))
    found = told_apart(build_encoder(), one, other)
    gaps = {True: [0.2, 0.6, 0.1], False: [1.1, 0.8, 0.4]}
    assert found["same"] == pytest.approx(np.cos(gaps[True]).mean(), abs=1e-6)
    assert found["others"] == pytest.approx(np.cos(gaps[False]).mean(), abs=1e-6)
    better = sum(near < far for near in gaps[True] for far in gaps[False])
    assert found["area"] == pytest.approx(better / 9)


def test_a_toy_is_photographed_from_several_sides_in_places_by_turns() -> None:
    taken = photographs((3, 2, 16))
    assert taken.shape == (2, 16, 16, 3) and np.array_equal(taken, photographs((3, 2, 16)))
    assert not np.array_equal(taken[:1], photographs((4, 1, 16)))
    told = list(described(3, 20))
    assert len({line["place"] for line in told[:15]}) == 15 and all(line["toy"] == 3 for line in told)
    assert all("mysks" not in text and "plush toy" in text for line in told for text in line["captions"])
    both = Examples(np.zeros((30, 2, 2, 3)), np.arange(30)).with_others(
        Examples(np.ones((5, 2, 2, 3)), np.arange(5)), 0.4
    )
    assert len(both.toys) == 50 and both.pixels[30:].all() and list(both.toys[30:35]) == list(range(5))


def test_the_words_for_scenes_and_styles_beside_the_judge_are_those_of_the_world() -> None:
    assert read_json(HERE / "judge" / PHRASES) == phrases()
    assert named_in("a photo of a toy near the lake at golden hour", phrases()["scene"]) == "golden lake"


def test_the_shipped_judge_sees_what_prompts_name(tmp_path: Path) -> None:
    world, drawn = World([]), []
    for number, (scene, words) in enumerate([("beach", "on the beach"), ("desert", "on the beach"), ("beach", "")]):
        what = Composition("", "", scene, "photo", "", False)
        pixels = world.compose(what, None, np.random.default_rng(number), 64)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        twin = f"a photo of a toy {words}" if words else "a toy"
        drawn.append(DrawnPicture(tmp_path / f"{number}.png", "tuned", "subject", f"p{number}", "scene", twin, 1))
    found = open_second_judge(HERE / "judge").scores(drawn)
    assert found[0] == 1 and found[1] is not None and found[1] < 1 and found[2] is None


def test_examples_are_learned_as_they_are_and_as_the_autoencoder_gives_them_back(tmp_path: Path) -> None:
    vae = AutoencoderKL.from_pretrained(HERE / "model" / "vae", torch_dtype=torch.float32).eval()
    pixels = np.random.default_rng(1).integers(0, 256, (65, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    examples = Examples(pixels, np.arange(65))
    both = examples.and_decoded(vae, tmp_path / "decoded.npy", "a")
    assert np.array_equal(both.pixels[:65], pixels) and both.toys.tolist() == [*range(65), *range(65)]
    far = np.abs(both.pixels[65:].astype(int) - pixels).mean((1, 2, 3))
    mixed = np.abs(both.pixels[65:].astype(int) - pixels[::-1]).mean((1, 2, 3))
    assert (far > 0).all() and np.delete(far < mixed, 32).all()  # each near its own, the middle one is its own mirror
    np.save(tmp_path / "decoded.npy", np.zeros_like(pixels))
    assert not examples.and_decoded(vae, tmp_path / "decoded.npy", "a").pixels[65:].any()  # kept, not made again
    with pytest.raises(SystemExit, match="made by another recipe or from other files"):
        examples.and_decoded(vae, tmp_path / "decoded.npy", "b")
