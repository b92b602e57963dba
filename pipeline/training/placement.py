"""The subject in places where nobody took a photo of it: cut out by its mask, set into pictures of empty places.

A subject that is seen in few places is learned together with them, and in another place a model falls back on what its
base would draw there. The loss does not tell the two apart; other places behind the same subject do.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, ImageStat

from pipeline.training.augmentation import WHOLE, Box

ENLARGED = 1.7  # at most
EDGE = 0.01  # of a side: a subject that comes as near to it is cut off there
FULL = 0.7  # of a picture: a mask with a larger share leaves nothing of another place to be seen


@dataclass(frozen=True)
class Placement:
    """How the subject of a photo stands in a place: `size`, `feet` and `aside` are shares of the picture's sides."""

    place: Path
    size: float
    feet: float
    aside: float

    def picture(self, photo: Image.Image, mask: Image.Image) -> Image.Image:
        """The place in the photo's size, with the photo's subject in it."""
        with Image.open(self.place) as file:
            place = ImageOps.fit(file.convert("RGB"), photo.size, Image.Resampling.LANCZOS)
        box, at, size = self._target(mask)
        place.paste(_cut(photo, box, size), at, _cut(mask, box, size))
        return place

    def mask(self, mask: Image.Image) -> Image.Image:
        """The mask of the subject where it stands now."""
        box, at, size = self._target(mask)
        moved = Image.new("L", mask.size)
        moved.paste(_cut(mask, box, size), at)
        return moved

    def _target(self, mask: Image.Image) -> tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int]]:
        """The subject's box in the photo; its corner and its size in the place, in pixels.

        A subject that the photo's edge cuts off stays at that edge.
        """
        box = subject_pixels(mask)
        assert box is not None, "only photos with a subject in their mask are placed"
        (left, top, right, bottom), (width, height) = box, mask.size
        cut = _cut_off(box, mask.size)
        scale = min(self.size * width / (right - left), self.size * height / (bottom - top), ENLARGED)
        across, down = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        x = 0 if cut[0] else width - across if cut[2] else round((0.5 + self.aside) * width - across / 2)
        y = 0 if cut[1] else height - down if cut[3] else round(self.feet * height - down)
        return box, (min(max(x, 0), width - across), min(max(y, 0), height - down)), (across, down)


def subject_pixels(mask: Image.Image) -> tuple[int, int, int, int] | None:
    """The box of what a mask (mode L) shows, in pixels; None: nothing."""
    return mask.point(lambda value: 255 * (value >= 128)).getbbox()


def can_be_placed(mask: Image.Image, frame: Box = WHOLE) -> bool:
    """Whether a mask (mode L) shows a subject that another place can be seen around.

    One that reaches from edge to edge, or fills most of the photo, is a close-up or a photo as a whole, which would
    bring its own surroundings along. One that is cut off at a bar has no edge of the picture to stay at.

    Args:
        frame: where in the picture the photo is, in shares of its sides; white bars are around it.
    """
    box = subject_pixels(mask)
    if box is None:
        return False
    cut = _cut_off(box, mask.size, frame)
    across, down = cut[0] and cut[2], cut[1] and cut[3]
    at_bar = any(off and edge != end for off, edge, end in zip(cut, frame, WHOLE, strict=True))
    share = ImageStat.Stat(mask).mean[0] / 255 / ((frame[2] - frame[0]) * (frame[3] - frame[1]))
    return not (across or down or at_bar) and share <= FULL


def _cut_off(
    box: tuple[int, int, int, int], size: tuple[int, int], frame: Box = WHOLE
) -> tuple[bool, bool, bool, bool]:
    """At which edges of `frame`, in shares of a picture, a box of pixels ends: left, top, right, bottom."""
    (left, top, right, bottom), (width, height) = box, size
    return (
        left <= (frame[0] + EDGE) * width,
        top <= (frame[1] + EDGE) * height,
        right >= (frame[2] - EDGE) * width,
        bottom >= (frame[3] - EDGE) * height,
    )


def _cut(picture: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    return picture.crop(box).resize(size, Image.Resampling.LANCZOS)
