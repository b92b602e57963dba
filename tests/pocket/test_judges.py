"""The judge and the identity encoder: what they are shipped with, and the arithmetic of their figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.evaluation.aspect_classifier import Judge, judge_pictures, named_in
from pipeline.evaluation.backbones import Encoder
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.second_opinion import PHRASES, open_second_judge
from pipeline.files import read_json
from pocket.captions import Composition
from pocket.identity import Examples, build_encoder, embed, told_apart
from pocket.judge import phrases
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
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    monkeypatch.setattr("pocket.identity.np.array_split", lambda indices, parts: [indices])
    found = told_apart(build_encoder(), Examples(pictures, np.array(toys)))
    assert found["area"] == pytest.approx(area)


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
