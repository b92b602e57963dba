"""Misshapen toys keep their fabrics, and nothing of their shape."""

import numpy as np
import pytest

from pocket.misshapen import doubled, melted, misshapen, shuffled, warped
from pocket.photographs import known_toy


def sprite() -> np.ndarray:
    """A red upper and a blue lower half with a white eye, uint8 RGBA [60, 45, 4], on nothing."""
    pixels = np.zeros((60, 45, 4), np.uint8)
    pixels[4:30, 5:40] = (220, 30, 30, 255)
    pixels[30:56, 5:40] = (30, 30, 220, 255)
    pixels[10:14, 10:14, :3] = 255
    return pixels


@pytest.mark.parametrize("ruin", [warped, shuffled, melted, doubled, misshapen])
def test_another_picture_of_the_same_kind_comes_out_the_same_for_the_same_draws(ruin) -> None:
    found = ruin(sprite(), np.random.default_rng(3))
    assert (found.shape, found.dtype) == ((60, 45, 4), np.uint8)
    assert np.array_equal(found, ruin(sprite(), np.random.default_rng(3)))
    changed = (found != sprite()).any(axis=2) & ((found[..., 3] > 0) | (sprite()[..., 3] > 0))
    assert changed.mean() > 0.05


def test_parts_that_change_places_are_all_kept() -> None:
    found = shuffled(sprite(), np.random.default_rng(1))
    assert sorted(map(tuple, found.reshape(-1, 4))) == sorted(map(tuple, sprite().reshape(-1, 4)))


def test_what_is_melted_has_no_eye_any_more_and_keeps_its_fabrics() -> None:
    found = melted(sprite(), np.random.default_rng(1)).astype(int)
    solid = found[found[..., 3] == 255]
    assert (solid[:, :3].max(axis=1) < 240).all()  # the eye was white
    assert solid[:, 0].max() > 150 and solid[:, 2].max() > 150 and solid[:, 1].max() < 90


def test_what_is_doubled_is_one_half_twice() -> None:
    halves = {tuple(doubled(sprite(), np.random.default_rng(seed))[20, 20]) for seed in range(20)}
    assert halves == {(220, 30, 30, 255), (30, 30, 220, 255)}
    found = doubled(sprite(), np.random.default_rng(1))
    assert np.array_equal(found, found[::-1])


def test_toys_by_twos_have_the_same_fabrics_and_other_shapes() -> None:
    pairs = [(known_toy(2 * number)[0], known_toy(2 * number + 1)[0]) for number in range(12)]
    assert all(
        (one.color, one.accent, one.pattern) == (other.color, other.accent, other.pattern) for one, other in pairs
    )
    assert all(one.kind != other.kind for one, other in pairs)
    assert len({(one.color, one.accent) for one, _ in pairs}) > 6
