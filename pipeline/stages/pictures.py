"""What the stages `select`, `sample` and `evaluate` share: a suite drawn by two models, and what judges the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.resolve import resolve_copies, resolve_identity, resolve_perceptual, resolve_scorer
from pipeline.evaluation.suite import Prompt, Suite
from pipeline.layout import DRAWN, PREPARED
from pipeline.params import Base, Draw, Evaluate, Subject
from pipeline.photos.manifest import Photo

if TYPE_CHECKING:
    from pipeline.evaluation.scores import Backbones, Drawn, Reference, Words


@dataclass(frozen=True)
class Source:
    """A model to draw with: its name in the report, its folder, and a digest that names its pictures."""

    name: str
    folder: Path
    digest: str
    variant: str | None = None

    def drawn(self, workspace: Path) -> Path:
        """Where its pictures lie until a stage has them all."""
        return workspace / DRAWN / self.digest[:32]


def draw_suite(
    workspace: Path, suite: Suite, seeds: Sequence[int], draw: Draw, size: int, sources: Sequence[Source]
) -> "list[Drawn]":
    """Every prompt with every seed by every source; the tuned model draws the text, another one the twin."""
    from pipeline.evaluation.scores import Drawn
    from pipeline.sampling.gallery import draw_missing
    from pipeline.sampling.sampler import Request, Sampler

    found = []
    for source in sources:
        wanted = [(prompt, seed) for prompt in suite.prompts for seed in seeds]
        files = draw_missing(
            lambda source=source: Sampler.load(source.folder, draw.scheduler, draw.precision, source.variant),
            [Request(asked(prompt, source.name), seed) for prompt, seed in wanted],
            draw,
            size,
            source.drawn(workspace),
            f"{source.name} model",
        )
        found += [
            Drawn(
                path=file,
                model="base" if source.name == "base" else "tuned",
                kind=prompt.kind,
                prompt_id=prompt.id,
                group=prompt.group,
                twin=prompt.twin,
                seed=seed,
                text=prompt.text,
                style=prompt.style,
                form=prompt.form,
            )
            for (prompt, seed), file in zip(wanted, files, strict=True)
        ]
    return found


def asked(prompt: Prompt, model: str) -> str:
    """What a model is asked for: the base knows no token, so it draws the twin."""
    return prompt.twin if model == "base" else prompt.text


def find_backbones(evaluate: Evaluate, base: Base) -> dict[str, Path | None]:
    """The folders of everything that judges, found before anything is drawn.

    Raises:
        BaseNotFound: one of them is not to be had.
    """
    return {
        "clip": resolve_scorer(evaluate, base),
        "identity": resolve_identity(evaluate, base),
        "copies": resolve_copies(evaluate, base),
        "distance": resolve_perceptual(evaluate, base),
    }


def load_backbones(folders: dict[str, Path | None], evaluate: Evaluate) -> "Backbones":
    """Load what `find_backbones` found, each folder once."""
    from pipeline.evaluation.backbones import Clip, CosineDistance, Encoder, Looks, Thumbnails, open_encoder
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
    found: Looks | None = encoder(copies) if copies else None
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
        Reference(folder / photo.file, photo.split, photo.scene, folder / photo.mask if photo.mask else None)
        for photo in photos
    ]


def words(subject: Subject, suite: Suite) -> "Words":
    """What the CLIP is asked of every picture."""
    from pipeline.evaluation.scores import Words

    return Words(subject.class_noun, subject.animal, suite.styles)


def training_captions(photos: Sequence[Photo]) -> list[str]:
    """Captions of the photos that are trained on."""
    return [photo.caption for photo in photos if photo.split == "train"]
