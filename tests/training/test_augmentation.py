from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.base.components import load_parts
from pipeline.params import Augment
from pipeline.training.augmentation import WHOLE, View, choose_views, same_views_sentence
from pipeline.training.data import LatentMoments, LossMask, Sample, subject_box
from pipeline.training.distributed import make_accelerator
from pipeline.training.encoding import encode_inputs
from pipeline.training.steps import Stepper
from pipeline.training.trainable import select_trainable
from pipeline.training.training_loop import train
from tests.tiny import SIZE, picture
from tests.training.jobs import equal, weights

STRONG = Augment(views=20, crop=0.4, colour=0.3)


def test_the_first_view_is_the_photo_itself() -> None:
    photo = picture(1)
    assert View().picture(photo).tobytes() == photo.tobytes()
    assert choose_views(Augment(views=1, crop=0, colour=0), False, WHOLE, 1, 0) == [View()]


def test_no_crop_cuts_the_subject() -> None:
    subject = (0.1, 0.3, 0.8, 0.6)
    for index in range(5):
        for view in choose_views(STRONG, False, subject, 1, index)[1:]:
            left, top, right, bottom = view.box
            assert 0 <= left <= 0.1 + 1e-9 and 0.8 - 1e-9 <= right <= 1 + 1e-9
            assert 0 <= top <= 0.3 + 1e-9 and 0.6 - 1e-9 <= bottom <= 1 + 1e-9
            assert right - left == pytest.approx(bottom - top)  # the shape stays
            assert right - left >= 0.7 - 1e-9


def test_views_are_chosen_once_and_differ() -> None:
    first, again = (choose_views(STRONG, True, (0.4, 0.4, 0.6, 0.6), 1, 0) for _ in range(2))
    assert first == again
    assert len(set(first)) == 40
    assert choose_views(STRONG, True, (0.4, 0.4, 0.6, 0.6), 2, 0) != first
    assert [view.mirrored for view in first] == [False] * 20 + [True] * 20


def test_a_view_shows_its_box_and_its_mask_the_same_box() -> None:
    halves = Image.new("RGB", (64, 64), "black")
    halves.paste("white", (32, 0, 64, 64))
    view = View(box=(0.5, 0.0, 1.0, 1.0))
    assert np.asarray(view.picture(halves))[:, 4:].min() > 240
    assert np.asarray(view.mask(halves.convert("L")))[:, 4:].min() > 240
    assert np.asarray(View(mirrored=True).picture(halves))[0, :, 0].tolist() == [255] * 32 + [0] * 32


def test_colours_change_but_hues_do_not() -> None:
    red = Image.new("RGB", (4, 4), (200, 30, 30))
    darker = View(colour=(0.7, 1.2, 0.9)).picture(red).getpixel((0, 0))
    assert darker != (200, 30, 30)
    assert darker[0] > darker[1] == darker[2]


def test_in_a_mirror_left_is_right() -> None:
    caption = "a photo of mysks, to the left of a car, right of a left-handed mug, bright and leftover"
    told = "a photo of mysks, to the right of a car, left of a left-handed mug, bright and leftover"
    assert View(mirrored=True).caption(caption) == told
    assert View(box=(0, 0, 0.9, 0.9)).caption(caption) == caption


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("Left paw up, mysks", "Right paw up, mysks"),
        ("mysks, RIGHT of a car; on the Left a mug", "mysks, LEFT of a car; on the Right a mug"),
        ("Left-handed mysks, Leftover, r\u0131ght, éleft", "Left-handed mysks, Leftover, r\u0131ght, éleft"),
        ("on the right-hand side, Left-facing, LEFT-MOST", "on the left-hand side, Right-facing, RIGHT-MOST"),
        ("left-side window, rightmost, looking left-wards", "right-side window, leftmost, looking right-wards"),
        ("mysks on the right in a box, left of a car", "mysks on the left in a box, right of a car"),
        ("top right at night, facing left, left of a mug", "top left at night, facing right, right of a mug"),
    ],
)
def test_in_a_mirror_left_is_right_in_capitals_too(caption: str, told: str) -> None:
    assert View(mirrored=True).caption(caption) == told
    assert View(mirrored=True).caption(told) == caption


@pytest.mark.parametrize(
    "caption",
    [
        "mysks right in front of a car",
        "Right now, mysks sits right behind a mug, right next to a book, right beside one",
        "mysks right at the door, right on the table, right away",
        "all right, a left over cake, left-overs, leftovers, a right-angled shelf, upright",
    ],
)
def test_in_a_mirror_words_that_name_no_side_stay(caption: str) -> None:
    assert View(mirrored=True).caption(caption) == caption


def test_the_subject_s_box_is_that_of_its_mask(tmp_path: Path) -> None:
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (8, 4, 16, 24))
    mask.save(tmp_path / "mask.png")
    assert subject_box(Sample(tmp_path / "x.png", "", tmp_path / "mask.png")) == (0.25, 0.125, 0.5, 0.75)
    assert subject_box(Sample(tmp_path / "x.png", "")) == (0.25, 0.25, 0.75, 0.75)


def test_moments_are_those_of_each_view(tiny_base: Path, tmp_path: Path) -> None:
    wide = picture(1, SIZE * 2, SIZE)
    wide.save(tmp_path / "wide.png")
    picture(2, SIZE, SIZE).save(tmp_path / "square.png")
    samples = [Sample(tmp_path / "wide.png", ""), Sample(tmp_path / "square.png", "")]
    views = [choose_views(Augment(views=3, crop=0.2, colour=0.2), True, WHOLE, 1, index) for index in range(2)]
    vae = load_parts(tiny_base).vae
    moments = LatentMoments(vae, samples, views, torch.device("cpu"), "photos")
    assert [value.shape for value in moments.values] == [(6, 8, SIZE // 2, SIZE), (6, 8, SIZE // 2, SIZE // 2)]
    pixels = np.asarray(views[0][4].picture(wide), np.float32) / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).latent_dist.parameters[0]
    assert torch.allclose(moments.values[0][4], expected, atol=1e-6)
    assert LossMask(samples, moments, 0.5).values is None


def test_views_that_are_the_same_are_encoded_once_and_keep_their_number(tiny_base: Path, tmp_path: Path) -> None:
    picture(1, SIZE, SIZE).save(tmp_path / "1.png")
    (views,) = [choose_views(CROPS, True, WHOLE, 1, 0)]
    assert len(views) == 8 and len(set(views)) == 2
    vae, encoded = load_parts(tiny_base).vae, []
    encode = vae.encode
    vae.encode = lambda pixels: encoded.append(pixels) or encode(pixels)
    moments = LatentMoments(vae, [Sample(tmp_path / "1.png", "")], [views], torch.device("cpu"), "photos")
    assert len(encoded) == 2
    (values,) = moments.values
    assert len(values) == 8 and torch.equal(values[0], values[3]) and torch.equal(values[4], values[7])
    assert not torch.equal(values[0], values[4])


CROPS = Augment(views=4, crop=0.2, colour=0)


def test_photos_whose_masks_forbid_every_crop_are_counted() -> None:
    whole, middle = (choose_views(CROPS, True, box, 1, 0) for box in (WHOLE, (0.4, 0.4, 0.6, 0.6)))
    assert "views is 4, but for 2 of 3 pictures all views are the same" in str(
        same_views_sentence(CROPS, [whole, middle, whole])
    )
    assert same_views_sentence(CROPS, [middle]) is None
    assert same_views_sentence(Augment(views=1), [[View()]]) is None


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation": 2, "batch": 2}])
def test_photos_of_several_shapes_give_the_mean_over_their_samples(job, tmp_path: Path, changes: dict) -> None:
    """A batch of two shapes is worth what each sample is worth alone."""
    mixed = job("mixed", **{"batch": 4, "steps": 1, **changes})
    picture(7, SIZE * 2, SIZE).save(tmp_path / "1.png")  # one of the three photos is wide now
    row = train(mixed).rows[0]
    alone = []

    def one_by_one(self: Stepper, step: int) -> list:
        found = [stream.samples_at(1, step, range(4), 4, 1000) for stream in self.streams]
        alone.extend([[one] for part in found for one in part])
        return [self_batch(part).to(self.device) for part in alone]

    from pipeline.training.stream import Batch

    self_batch = Batch.collate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "batches", one_by_one)
        single = job("single", batch=4, steps=1)
        expected = train(single).rows[0]
    assert len({part[0].latent.shape for part in alone}) == 2
    for name in ("loss", "instance_loss", "prior_loss", "gradient_norm"):
        assert row[name] == pytest.approx(expected[name], rel=1e-4)


def test_batches_made_ahead_are_the_same(job, monkeypatch) -> None:
    plain, ahead = (
        job("plain", steps=3, batch=1, gradient_accumulation=2),
        job("ahead", steps=3, batch=1, gradient_accumulation=2),
    )
    train(plain)
    batches, waiting = Stepper.batches, []

    def reading_ahead(self: Stepper, step: int):
        self.prefetch = True
        yield from batches(self, step)
        waiting.append(sorted(self.prefetched))

    monkeypatch.setattr(Stepper, "batches", reading_ahead)
    train(ahead)
    assert [keys[0][0] for keys in waiting] == [1, 2, 3]
    assert equal(weights(plain), weights(ahead))


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("a photo of my-right right whale, left of a boat", "a photo of my-right right whale, right of a boat"),
        ("Two Right Whales turn right", "Two Right Whales turn left"),
        ("on the right, whale bones", "on the left, whale bones"),
        ("a right whaler at left", "a left whaler at right"),
    ],
)
def test_a_mirror_leaves_the_names_of_subject_and_class_alone(caption: str, told: str) -> None:
    assert View(mirrored=True).caption(caption, ("my-right", "right whale")) == told


def test_a_training_tells_its_captions_with_the_names_that_a_mirror_leaves_alone(job) -> None:
    whale = replace(job(flip=True), token="my-right", class_noun="right whale")
    photo, image = "my-right right whale on the left", "a right whale on the left"
    whale = replace(
        whale,
        photos=[replace(sample, caption=photo) for sample in whale.photos],
        class_images=[replace(sample, caption=image) for sample in whale.class_images],
    )
    parts, accelerator = load_parts(whale.base), make_accelerator(whale.params)
    inputs, _ = encode_inputs(whale, parts, select_trainable(parts, whale.token, whale.params), accelerator)
    told = [set(stream.captions()) for stream in inputs.streams]
    assert told == [{caption, caption.replace("left", "right")} for caption in (photo, image)]
