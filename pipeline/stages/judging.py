"""Shared by the stages `select` and `evaluate`: the judges, and the photos that pictures are compared with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.judges import resolve_copies, resolve_identity, resolve_perceptual, resolve_scorer
from pipeline.evaluation.suite import Suite
from pipeline.layout import PREPARED
from pipeline.params import Base, Evaluate, Subject
from pipeline.photos.manifest import Photo

if TYPE_CHECKING:
    from pipeline.evaluation.scores import Backbones, Reference, Vocabulary


def find_backbones(evaluate: Evaluate, base: Base) -> dict[str, Path | None]:
    """The folders of everything that judges, found before anything is drawn.

    Raises:
        BaseNotFound: one of them is not available.
    """
    return {
        "clip": resolve_scorer(evaluate, base),
        "identity": resolve_identity(evaluate, base),
        "copies": resolve_copies(evaluate, base),
        "distance": resolve_perceptual(evaluate, base),
    }


def load_backbones(folders: dict[str, Path | None], evaluate: Evaluate) -> "Backbones":
    """Load what `find_backbones` found, each folder once."""
    from pipeline.evaluation.backbones import Clip, CosineDistance, Encoder, PictureEncoder, Thumbnails, open_encoder
    from pipeline.evaluation.perceptual import Lpips, is_lpips
    from pipeline.evaluation.scores import Backbones

    assert folders["clip"] is not None
    clip = Clip(folders["clip"])
    loaded: dict[Path, Encoder] = {folders["clip"]: clip}

    def encoder(folder: Path) -> Encoder:
        if folder not in loaded:
            loaded[folder] = open_encoder(folder)
        return loaded[folder]

    identity, copies, distance = folders["identity"], folders["copies"], folders["distance"]
    found: PictureEncoder | None = encoder(copies) if copies else None
    if evaluate.copies == "pixels":
        found = Thumbnails()
    return Backbones(
        clip=clip,
        identity=encoder(identity) if identity else clip,
        copies=found,
        distance=None if not distance else Lpips(distance) if is_lpips(distance) else CosineDistance(encoder(distance)),
    )


def references(workspace: Path, photos: Sequence[Photo]) -> "list[Reference]":
    """The prepared photos as what pictures are compared with."""
    from pipeline.evaluation.scores import Reference

    folder = workspace / PREPARED
    return [
        Reference(
            folder / photo.file, photo.split, photo.scene, folder / photo.mask if photo.mask else None, photo.phash
        )
        for photo in photos
    ]


def vocabulary(subject: Subject, suite: Suite) -> "Vocabulary":
    """What the CLIP is asked of every picture."""
    from pipeline.evaluation.scores import Vocabulary

    return Vocabulary(subject.class_noun, subject.animal, suite.styles)
