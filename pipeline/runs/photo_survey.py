"""What a person should know of the photos before a run: each photo's facts, what is wrong, and what is thin."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from pipeline.errors import counted
from pipeline.params import Params
from pipeline.photos.examine import Examined, examine_photos
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import open_photo
from pipeline.photos.similarity import near_groups
from pipeline.photos.split import LEAST_TRAINED
from pipeline.photos.target import Target

FEW = 8  # photos below which a training learns the few it has by heart
FEW_SCENES = 3
LOOK = 512  # pixels of the longer side at which sharpness is measured
SOFT = 0.25  # of the median sharpness, below which a photo counts as blurred
SMALL, LARGE = 0.05, 0.9  # shares of the picture that the subject should fill
ONE_DISTANCE = 1.5  # ratio of the largest to the smallest share: distances that differ by less than a quarter
ENOUGH_MASKS = 5  # to tell how the photos differ in what they show
TOUCHES = 0.02  # of a picture's edge that the subject covers where the edge cuts it off
THUMBNAIL = 256  # pixels of its longer side


@dataclass(frozen=True)
class PhotoFacts:
    """One photo.

    `sharpness` is the variance of the Laplacian of its grey picture in [0, 255], 512 pixels long, `subject_share` the
    share of the prepared picture that the mask shows (None: no mask). `caption` is what is used, `given` what was
    written where that is another one.
    """

    name: str
    width: int
    height: int
    sharpness: float
    subject_share: float | None
    split: str
    scene: str
    caption: str
    given: str | None
    thumbnail: bytes = field(repr=False, default=b"")


@dataclass
class Survey:
    """All photos that can be read, sentences that stop a run, sentences that do not, and remarks on how files are
    read. `prepared` are the prepared pictures and their masks, by name.
    """

    photos: list[PhotoFacts] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prepared: dict[str, tuple[Image.Image, Image.Image | None]] = field(default_factory=dict, repr=False)

    @property
    def trained(self) -> int:
        """How many photos are trained on."""
        return sum(photo.split == "train" for photo in self.photos)

    @property
    def scenes(self) -> int:
        """How many scenes the photos show, as far as anybody can tell."""
        return len({photo.scene for photo in self.photos})


def survey_photos(folder: Path, params: Params, target: Target, thumbnails: bool = False) -> Survey:
    """Look at every photo of a folder; nothing is written.

    Args:
        thumbnails: JPEG thumbnails come with the facts.
    """
    examined = examine_photos(
        folder, params.prepare, params.subject, target.size, target.multiple, target.encoder
    )  # fmt: skip
    found = Survey(problems=list(examined.problems), notes=list(examined.notes))
    for name in examined.readings:
        try:
            picture = open_photo(folder / name, params.prepare.max_pixels, params.prepare.min_side)
        except PhotoProblem as problem:  # it changed meanwhile
            found.problems.append(f"{name}: {problem}")
            continue
        found.photos.append(_facts(name, picture, examined, thumbnails))
        mask = examined.masks.get(name)
        found.prepared[name] = (examined.readings[name].picture, mask.picture if mask else None)
    found.warnings = [
        *_few(found),
        *_blurred(found),
        *_twins(examined),
        *_shares(found),
        *_distances(found),
        *_small(found, target.size),
    ]
    return found


def sharpness(picture: Image.Image) -> float:
    """Variance of the Laplacian of the grey picture, reduced to 512 pixels on its longer side; blur lowers it."""
    grey = picture.convert("L")
    grey.thumbnail((LOOK, LOOK), Image.Resampling.LANCZOS)
    values = np.asarray(grey, np.float64)
    laplacian = (
        values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * values[1:-1, 1:-1]
    )  # fmt: skip
    return float(laplacian.var())


def _facts(name: str, picture: Image.Image, examined: Examined, thumbnails: bool) -> PhotoFacts:
    mask = examined.masks.get(name)
    caption = examined.captions.get(name)
    known = bool(examined.scenes)
    return PhotoFacts(
        name=name,
        width=picture.width,
        height=picture.height,
        sharpness=round(sharpness(picture), 1),
        subject_share=round(float(np.asarray(mask.picture).mean()) / 255, 3) if mask else None,
        split="heldout" if name in examined.heldout else "train" if known else "unknown",
        scene=examined.scenes.get(name) or (caption.scene if caption else None) or name,
        caption=caption.text if caption else "",
        given=caption.given if caption else None,
        thumbnail=_thumbnail(picture) if thumbnails else b"",
    )


def _thumbnail(picture: Image.Image) -> bytes:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _few(survey: Survey) -> Iterator[str]:
    count = len(survey.photos)
    if 0 < count < FEW:
        yield (
            f"{counted(count, 'photo')} {'is' if count == 1 else 'are'} few: with fewer than {FEW} a model "
            "may learn the photos by heart; take 10 to 20"
        )
    if count >= LEAST_TRAINED and survey.scenes < FEW_SCENES:
        yield (
            f"the photos show {counted(survey.scenes, 'scene')}: a model may learn the place with "
            "the subject; add photos from other places"
        )
    if 0 < survey.trained < LEAST_TRAINED:
        yield f"only {survey.trained} photos are trained on; {LEAST_TRAINED} is the least that is worth a run"


def _blurred(survey: Survey) -> Iterator[str]:
    if len(survey.photos) < 3:
        return
    usual = median(photo.sharpness for photo in survey.photos)
    for photo in survey.photos:
        if photo.sharpness < SOFT * usual:
            yield (
                f"{photo.name}: may be blurred (sharpness {photo.sharpness:g}, the others' median is {usual:g}); look "
                "at it, and leave it out if it is"
            )


def _twins(examined: Examined) -> Iterator[str]:
    names = list(examined.readings)
    groups = near_groups([examined.readings[name].likeness for name in names])
    for group in sorted(set(groups)):
        members = [name for name, one in zip(names, groups, strict=True) if one == group]
        if len(members) > 1:
            yield f"{', '.join(members)}: look nearly alike; they count as one scene, and one of them would do"


def _shares(survey: Survey) -> Iterator[str]:
    for photo in survey.photos:
        share = photo.subject_share
        if share is not None and not SMALL <= share <= LARGE:
            advice = "crop closer" if share < SMALL else "show some of the place, too"
            yield f"{photo.name}: the subject fills {share:.0%} of the picture; {advice}"


def _distances(survey: Survey) -> Iterator[str]:
    """What masks tell of how the subject is shown: from one distance only, or whole in no photo.

    From which side a photo shows the subject is told by nothing here.
    """
    masks = [np.asarray(mask) > 127 for _, mask in survey.prepared.values() if mask is not None]
    shares = [float(mask.mean()) for mask in masks if mask.any()]
    if len(shares) < ENOUGH_MASKS:
        return
    if max(shares) < ONE_DISTANCE * min(shares):
        yield (
            f"in every photo with a mask the subject fills {min(shares):.0%} to {max(shares):.0%} of it, so all "
            "are taken from about one distance: add some from nearer and some from farther away"
        )
    if all(_is_cut(mask) for mask in masks if mask.any()):
        yield "every photo with a mask cuts the subject off at an edge: add some that show all of it"


def _is_cut(mask: np.ndarray) -> bool:
    return any(edge.mean() > TOUCHES for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _small(survey: Survey, size: int) -> Iterator[str]:
    for photo in survey.photos:
        if min(photo.width, photo.height) < size:
            yield f"{photo.name}: is {photo.width}x{photo.height} and is enlarged to {size} pixels; take a larger one"
