from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pipeline.params import Augment
from pipeline.photos.manifest import Photo
from pipeline.stages.train import frame_of, places_sentence
from pipeline.training.augmentation import View
from pipeline.training.data import LatentMoments, LossMask, Place, Sample, as_often, placed, plain_views
from pipeline.training.placement import Placement

RED, BLUE = (200, 30, 30), (20, 40, 180)


def photo(folder: Path, box: tuple[int, int, int, int], size: tuple[int, int] = (64, 64)) -> Sample:
    """A red subject in a box on grey, with its mask."""
    picture, mask = Image.new("RGB", size, "grey"), Image.new("L", size)
    picture.paste(RED, box)
    mask.paste(255, box)
    picture.save(folder / "photo.png")
    mask.save(folder / "mask.png")
    return Sample(folder / "photo.png", "a photo of mysks plush toy near books", folder / "mask.png")


def places(folder: Path, count: int) -> list[Place]:
    found = [
        Place(folder / f"place-{number}.png", f"a photo of mysks plush toy in place {number}")
        for number in range(count)
    ]
    for place in found:
        Image.new("RGB", (96, 96), BLUE).save(place.file)
    return found


def red(picture: Image.Image) -> np.ndarray:
    """Where a picture is red, [height, width]."""
    pixels = np.asarray(picture.convert("RGB"), int)
    return (pixels[..., 0] > 150) & (pixels[..., 2] < 80)


def box_of(where: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_the_subject_stands_in_the_place_and_nothing_else_of_the_photo_does(tmp_path: Path) -> None:
    (one,) = placed([photo(tmp_path, (20, 30, 36, 46))], places(tmp_path, 1), Augment(places=4), 1)
    picture, mask = one.picture(), one.subject()
    assert picture.size == (64, 64)
    assert one.caption == "a photo of mysks plush toy in place 0"
    assert mask is not None
    inside = np.asarray(mask) > 250
    assert red(picture)[inside].all()
    outside = np.asarray(mask) == 0
    assert (np.abs(np.asarray(picture, int)[outside] - BLUE) <= 2).all()


def test_each_photo_with_a_mask_is_put_in_as_many_different_places(tmp_path: Path) -> None:
    bare = Sample(tmp_path / "photo.png", "without a mask")
    shown = photo(tmp_path, (20, 30, 36, 46))
    found = placed([bare, shown], places(tmp_path, 5), Augment(places=3), 1)
    assert [one.file for one in found] == [shown.file] * 3
    assert len({one.caption for one in found}) == 3
    assert found == placed([bare, shown], places(tmp_path, 5), Augment(places=3), 1)
    assert found != placed([bare, shown], places(tmp_path, 5), Augment(places=3), 2)
    assert len({one.placement.size for one in found if one.placement}) == 3
    assert placed([bare, shown], places(tmp_path, 5), Augment(places=0), 1) == []


def test_without_spread_the_subject_stands_in_the_middle_of_every_place_in_the_size_asked_for(tmp_path: Path) -> None:
    shown = photo(tmp_path, (4, 30, 44, 50))
    found = placed([shown], places(tmp_path, 3), Augment(places=3, place_size=0.75, place_spread=0), 1)
    boxes = {box_of(red(one.picture())) for one in found}
    assert boxes == {(8, 34, 56, 58)}  # 48 of 64 pixels across, in the photo's proportions, feet at 0.91
    small = placed([shown], places(tmp_path, 3), Augment(places=3, place_size=0.5, place_spread=0), 1)
    assert {box_of(red(one.picture()))[::2] for one in small} == {(16, 48)}
    moved = placed([shown], places(tmp_path, 3), Augment(places=3, place_size=0.9, place_spread=1), 1)
    widths = [right - left for left, _, right, _ in (box_of(red(one.picture())) for one in moved)]
    assert len(set(widths)) > 1 and max(widths) <= 64


def test_a_mask_that_shows_nothing_gives_no_picture(tmp_path: Path) -> None:
    empty = photo(tmp_path, (0, 0, 0, 0))
    assert placed([empty], places(tmp_path, 2), Augment(places=2), 1) == []


@pytest.mark.parametrize(
    ("box", "side"), [((0, 20, 20, 40), 0), ((20, 0, 40, 20), 1), ((44, 20, 64, 40), 2), ((20, 44, 40, 64), 3)]
)
def test_a_subject_that_the_edge_cuts_off_stays_at_that_edge(tmp_path: Path, box: tuple[int, ...], side: int) -> None:
    for one in placed([photo(tmp_path, box)], places(tmp_path, 3), Augment(places=3), 1):  # type: ignore[arg-type]
        assert box_of(red(one.picture()))[side] == (0, 0, 64, 64)[side]


@pytest.mark.parametrize(
    "box",
    [
        (10, 0, 50, 64),  # from top to bottom
        (0, 10, 64, 50),
        (0, 0, 64, 64),
        (0, 0, 58, 58),  # four fifths of the picture
    ],
)
def test_a_subject_that_leaves_no_place_to_be_seen_is_put_in_none(tmp_path: Path, box: tuple[int, ...]) -> None:
    assert placed([photo(tmp_path, box)], places(tmp_path, 2), Augment(places=2), 1) == []  # type: ignore[arg-type]


def test_a_picture_that_its_mask_shows_but_for_the_corners_is_put_in_none(tmp_path: Path) -> None:
    whole = photo(tmp_path, (0, 0, 64, 64))
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 63, 63), 12, 255)
    assert whole.mask is not None
    mask.save(whole.mask)
    assert placed([whole], places(tmp_path, 2), Augment(places=2), 1) == []


def padded(box: tuple[int, int, int, int]) -> Photo:
    """A photo of 100 x 50 pixels between bars above and below, or whatever of it `box` keeps."""
    facts = {"caption": "x", "split": "train", "scene": "x", "sha256": "0" * 64, "md5": "0" * 32, "size": (64, 64)}
    return Photo(file="images/x.png", source="x", source_size=(100, 50), crop=box, **facts)  # type: ignore[arg-type]


def test_the_frame_of_a_padded_photo_is_what_lies_between_its_bars() -> None:
    assert frame_of(padded((0, -25, 100, 75))) == (0, 0.25, 1, 0.75)
    assert frame_of(padded((25, 0, 75, 50))) == (0, 0, 1, 1)


def test_a_subject_that_a_bar_cuts_off_stays_where_it_is(tmp_path: Path) -> None:
    frame, spots = (0, 0.25, 1, 0.75), places(tmp_path, 1)
    for box, whole in [((20, 16, 40, 40), False), ((20, 20, 40, 48), False), ((20, 20, 40, 40), True)]:
        assert bool(placed([replace(photo(tmp_path, box), frame=frame)], spots, Augment(places=1), 1)) == whole
        assert placed([photo(tmp_path, box)], spots, Augment(places=1), 1)
    full = photo(tmp_path, (2, 18, 60, 46))  # four fifths of what lies between the bars
    assert placed([full], spots, Augment(places=1), 1) and not placed(
        [replace(full, frame=frame)], spots, Augment(places=1), 1
    )


def test_a_photo_in_no_place_is_seen_as_often_as_the_others(tmp_path: Path) -> None:
    bare, shown = Sample(tmp_path / "bare.png", "without a mask"), photo(tmp_path, (20, 30, 36, 46))
    elsewhere = placed([bare, shown], places(tmp_path, 5), Augment(places=3), 1)
    assert as_often([bare, shown], elsewhere) == [bare] * 3
    assert as_often([shown], elsewhere) == []
    assert as_often([bare], []) == []


def test_a_sample_that_comes_again_is_encoded_once(tmp_path: Path) -> None:
    class Encoder:
        config = SimpleNamespace(scaling_factor=1.0)
        dtype = torch.float32
        calls = 0

        def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
            self.calls += 1
            return SimpleNamespace(latent_dist=SimpleNamespace(parameters=torch.full((1, 8, 2, 2), pixels.mean())))

    shown = photo(tmp_path, (20, 30, 36, 46))
    samples = [shown, *placed([shown], places(tmp_path, 1), Augment(places=1), 1), shown, shown]
    views, encoder = plain_views(samples, flip=True), Encoder()
    views[3] = [View()]
    moments = LatentMoments(encoder, samples, views, torch.device("cpu"), "photos")
    assert encoder.calls == 2 + 2 + 1
    assert [len(values) for values in moments.values] == [2, 2, 2, 1]
    assert torch.equal(moments.values[0], moments.values[2])
    assert not torch.equal(moments.values[0], moments.values[1])


def test_masks_that_give_no_picture_are_counted(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    shown, full = photo(tmp_path, (20, 30, 36, 46)), photo(tmp_path / "full", (10, 0, 50, 64))
    bare = Sample(tmp_path / "bare.png", "without a mask")
    spots = places(tmp_path, 2)
    told = places_sentence([shown, full, bare], placed([shown, full, bare], spots, Augment(places=2), 1), 2)
    assert told.startswith("3 photos, and 2 more with their subjects in other places; photos that are in no place are")
    assert "; 1 of 2 masks with no subject" in told
    assert "masks" not in places_sentence([shown, bare], placed([shown, bare], spots, Augment(places=2), 1), 2)
    assert ";" not in places_sentence([shown], placed([shown], spots, Augment(places=2), 1), 2)
    none = places_sentence([shown, bare], [], 0)
    assert "holds no places" in none and "masks" not in none


@pytest.mark.parametrize("size", [(64, 64), (96, 48), (48, 96)])
def test_it_is_whole_in_pictures_of_any_shape(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    subject = (width // 4, height // 4, width // 2, height // 2)
    for one in placed([photo(tmp_path, subject, size)], places(tmp_path, 8), Augment(places=8), 1):
        assert one.picture().size == size
        left, top, right, bottom = box_of(red(one.picture()))
        across, down = right - left, bottom - top
        assert 1.0 <= across / (width // 2 - width // 4) <= 1.8  # its shape stays, and it grows by little
        assert abs(across / down - (width // 4) / (height // 4)) < 0.15
        assert bottom >= 0.84 * height - 1


def test_the_loss_counts_the_subject_where_it_stands(tmp_path: Path) -> None:
    """The mask's weights, not those of the photo that the subject was cut from."""
    source = photo(tmp_path, (2, 2, 18, 18))
    moved = Sample(source.file, "", source.mask, Placement(places(tmp_path, 1)[0].file, 0.5, 0.9, 0.1))
    moments = LatentMoments.__new__(LatentMoments)
    moments.views, moments.values = plain_views([source, moved]), [torch.zeros(1, 8, 16, 16)] * 2
    weights = LossMask([source, moved], moments, 0.1).values
    assert weights is not None
    assert weights[0][0, 0, 2, 2] == 1 and weights[1][0, 0, 2, 2] == pytest.approx(0.1)
    assert weights[1][0, 0, 12, 9] == 1
