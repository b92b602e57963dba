"""What is measured on each picture, before anything is summed up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.evaluation.backbones import Clip, Distance, Encoder, PictureEncoder
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.reasons import (
    NO_COPY_DETECTOR,
    NO_DISTANCE,
    NO_HELDOUT,
    NO_STYLES,
    ONE_SEED,
    ONE_STYLE,
    ONE_TRAINING_PHOTO,
)
from pipeline.evaluation.twins import with_article
from pipeline.photos.similarity import NEAR, hash_distance


@dataclass(frozen=True)
class Reference:
    """A prepared photo of the subject; photos of one scene are never compared with each other as a yardstick.

    `phash` is its perceptual hash (16 hexadecimal digits), by which a burst is seen whose photos name no scene.
    """

    path: Path
    split: str
    scene: str
    mask: Path | None = None
    phash: str | None = None


@dataclass(frozen=True)
class Backbones:
    """What sees the pictures; `copies` finds copies (SSCD), `distance` tells seeds apart (LPIPS); both may lack."""

    clip: Clip
    identity: Encoder
    copies: PictureEncoder | None = None
    distance: Distance | None = None


@dataclass(frozen=True)
class Vocabulary:
    """What the CLIP is asked of a picture beside its own prompt: styles by their words, class noun and animal."""

    class_noun: str
    animal: str | None = None
    styles: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """One row of figures a picture, in the order of `drawn`; `photos` are the yardsticks among the photos themselves.

    `missing` says of each figure that could not be measured why.
    """

    drawn: Sequence[DrawnPicture]
    rows: list[dict[str, Any]]
    vectors: torch.Tensor
    distances: dict[tuple[str, str], float]
    photos: dict[str, Any]
    missing: dict[str, str]


def score(
    drawn: Sequence[DrawnPicture], references: Sequence[Reference], backbones: Backbones, vocabulary: Vocabulary
) -> Scores:
    """Measure every picture; see `judge.DEFINITIONS` for what the figures mean."""
    files = [item.path for item in drawn]
    pictures, looks = backbones.clip.pictures(files), backbones.identity.pictures(files)
    photos = backbones.identity.pictures([photo.path for photo in references])
    missing: dict[str, str] = {}
    rows: list[dict[str, Any]] = [{} for _ in drawn]
    sets = _photo_sets(references, photos, backbones.identity, missing)
    texts = dict(_texts(backbones.clip, [item.twin for item in drawn]))
    for row, item, vector, look in zip(rows, drawn, pictures, looks, strict=True):
        row |= {name: float((found @ look).mean()) for name, found in sets.items()}
        row["prompt_fidelity"] = float(vector @ texts[item.twin])
    _styles(rows, pictures, backbones.clip, vocabulary, missing)
    _animal(rows, pictures, backbones.clip, vocabulary, missing)
    train = [photo for photo in references if photo.split == "train"]
    level = _copies(rows, files, train, backbones, missing)
    return Scores(
        drawn=drawn,
        rows=rows,
        vectors=looks,
        distances=_distances(drawn, backbones, missing),
        photos=_yardsticks(references, photos) | level,
        missing=missing,
    )


def _photo_sets(
    references: Sequence[Reference], photos: torch.Tensor, encoder: Encoder, missing: dict[str, str]
) -> dict[str, torch.Tensor]:
    """Embeddings of the photos that pictures are compared with, by the name of the figure."""
    split = {name: [at for at, photo in enumerate(references) if photo.split == name] for name in ("train", "heldout")}
    found = {"identity": photos, "identity_train": photos[split["train"]]}
    if not split["heldout"]:
        missing["identity_heldout"] = NO_HELDOUT
        missing["identity_masked"] = missing["identity_heldout"]
        return found
    found["identity_heldout"] = photos[split["heldout"]]
    masked = [(references[at].path, references[at].mask) for at in split["heldout"]]
    if any(mask is None for _, mask in masked):
        missing["identity_masked"] = "not every held-out photo has a mask of the subject"
    else:
        found["identity_masked"] = encoder.masked([(path, mask) for path, mask in masked if mask])
    return found


def _yardsticks(references: Sequence[Reference], photos: torch.Tensor) -> dict[str, Any]:
    """The same likeness among the photos themselves: each against those of other scenes."""
    similar = (photos @ photos.T).numpy()
    scenes = [photo.scene for photo in references]
    train = np.array([photo.split == "train" for photo in references])
    each = []
    held = []
    every = []
    for at, scene in enumerate(scenes):
        others = np.array([other != scene for other in scenes])
        if others.any():
            every.append(float(similar[at][others].mean()))
        if train[at] and (others & train).any():
            each.append(float(similar[at][others & train].mean()))
        elif not train[at] and (others & train).any():
            held.append(float(similar[at][others & train].mean()))
    found: dict[str, Any] = {"each": every}
    if every:
        found["identity"] = float(np.mean(every))
    if each:
        found["identity_train"] = float(np.mean(each))
    if held:
        found["identity_heldout"] = float(np.mean(held))
    return found


def _texts(clip: Clip, texts: Sequence[str]) -> list[tuple[str, torch.Tensor]]:
    names = list(dict.fromkeys(texts))
    return list(zip(names, clip.texts(names), strict=True))


def _styles(
    rows: list[dict[str, Any]], pictures: torch.Tensor, clip: Clip, vocabulary: Vocabulary, missing: dict[str, str]
) -> None:
    """The style whose words ("a pencil drawing of a plush toy") are nearest to each picture."""
    if len(vocabulary.styles) < 2:
        missing["style"] = ONE_STYLE if vocabulary.styles else NO_STYLES
        return
    names = list(vocabulary.styles)
    asked = [f"{word} of {with_article(vocabulary.class_noun)}" for style in names for word in vocabulary.styles[style]]
    owner = [style for style in names for _ in vocabulary.styles[style]]
    nearest = (pictures @ clip.texts(asked).T).argmax(dim=1)
    for row, at in zip(rows, nearest.tolist(), strict=True):
        row["style"] = owner[at]


def _animal(
    rows: list[dict[str, Any]], pictures: torch.Tensor, clip: Clip, vocabulary: Vocabulary, missing: dict[str, str]
) -> None:
    """Is the picture nearer to "a photo of a <animal>" than to "a photo of a <class noun>"?"""
    if vocabulary.animal is None:
        missing["animal"] = "subject.animal names no animal that the subject depicts"
        return
    toy, animal = clip.texts(
        [f"a photo of {with_article(name)}" for name in (vocabulary.class_noun, vocabulary.animal)]
    )
    for row, vector in zip(rows, pictures, strict=True):
        row["animal"] = float(vector @ animal > vector @ toy)


def _copies(
    rows: list[dict[str, Any]],
    files: Sequence[Path],
    train: Sequence[Reference],
    backbones: Backbones,
    missing: dict[str, str],
) -> dict[str, Any]:
    """Each picture's nearest training photo; the yardstick is the nearest pair of training photos of different scenes.

    Photos of one scene may be a burst, almost the same picture: as a yardstick they would let every copy pass. So may
    photos of different scenes, where nobody named the scenes; those that look alike by their perceptual hash count as
    one scene here.
    """
    if backbones.copies is None:
        missing["copy"] = NO_COPY_DETECTOR
        return {}
    if len(train) < 2:
        missing["copy"] = ONE_TRAINING_PHOTO
        return {}
    photos = backbones.copies.pictures([photo.path for photo in train])
    values, nearest = (backbones.copies.pictures(files) @ photos.T).max(dim=1)
    for row, value, at in zip(rows, values.tolist(), nearest.tolist(), strict=True):
        row["copy"], row["nearest"] = value, train[at].path.name
    among = photos @ photos.T
    among.fill_diagonal_(-1)
    apart = torch.tensor([[_apart(one, other) for other in train] for one in train])
    found: dict[str, Any] = {"copy": among.max(dim=1).values.tolist()}
    return found | ({"copy_level": float(among[apart].max())} if apart.any() else {})


def _apart(one: Reference, other: Reference) -> bool:
    """Whether two photos are of different scenes and do not look like two of one burst."""
    if one.scene == other.scene:
        return False
    if one.phash is None or other.phash is None:
        return True
    return hash_distance(int(one.phash, 16), int(other.phash, 16)) > NEAR


def _distances(
    drawn: Sequence[DrawnPicture], backbones: Backbones, missing: dict[str, str]
) -> dict[tuple[str, str], float]:
    """Mean distance between the seeds of each prompt, by (model, prompt)."""
    if backbones.distance is None:
        missing["diversity"] = NO_DISTANCE
        return {}
    groups: dict[tuple[str, str], list[Path]] = {}
    for item in drawn:
        groups.setdefault((item.model, item.prompt_id), []).append(item.path)
    if min(map(len, groups.values())) < 2:
        missing["diversity"] = ONE_SEED
        return {}
    return {key: backbones.distance.among(paths) for key, paths in groups.items()}
