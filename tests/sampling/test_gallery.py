from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.params import Draw
from pipeline.sampling.gallery import draw_missing
from pipeline.sampling.sampler import Request, Sampler

DRAW = Draw(steps=2, guidance=3.0, scheduler="ddim", batch=8, precision="fp32")
WANTED = [Request("a toy", seed) for seed in range(11)]


def test_a_killed_drawing_goes_on_and_ends_in_the_same_pictures(tiny_base: Path, tmp_path: Path) -> None:
    whole = draw_missing(lambda: Sampler.load(tiny_base, "ddim", "fp32"), WANTED, DRAW, 32, tmp_path / "whole", "")
    sampler = Sampler.load(tiny_base, "ddim", "fp32")
    drawn = sampler.draw

    class Killed(BaseException):
        pass

    def until_the_sixth(*arguments):
        for number, picture in enumerate(drawn(*arguments)):
            if number == 5:
                raise Killed
            yield picture

    sampler.draw = until_the_sixth
    with pytest.raises(Killed):
        draw_missing(lambda: sampler, WANTED, DRAW, 32, tmp_path / "killed", "")
    assert len(list((tmp_path / "killed").glob("*.png"))) == 5

    asked = []

    def counting(requests, *arguments):
        asked.extend(requests)
        return drawn(requests, *arguments)

    sampler.draw = counting
    again = draw_missing(lambda: sampler, WANTED, DRAW, 32, tmp_path / "killed", "")
    assert [request.seed for request in asked] == [5, 6, 7, 8, 9, 10]
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


def test_nothing_is_loaded_when_nothing_is_missing_and_other_settings_are_other_pictures(
    tiny_base: Path, tmp_path: Path
) -> None:
    first = draw_missing(lambda: Sampler.load(tiny_base, "ddim", "fp32"), WANTED[:1], DRAW, 32, tmp_path, "")

    def never() -> Sampler:
        raise AssertionError("loaded for nothing")

    assert draw_missing(never, WANTED[:1], DRAW, 32, tmp_path, "") == first
    assert draw_missing(never, WANTED[:1], DRAW.model_copy(update={"batch": 2}), 32, tmp_path, "") == first
    with pytest.raises(AssertionError, match="for nothing"):
        draw_missing(never, WANTED[:1], DRAW.model_copy(update={"steps": 3}), 32, tmp_path, "")
