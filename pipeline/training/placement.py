"""The subject in places where nobody took a photo of it: cut out by its mask, set into pictures of empty places.

A subject that is seen in few places is learned together with them, and in another place a model falls back on what its
base would draw there. The loss does not tell the two apart; other places behind the same subject do.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

ENLARGED = 1.7  # at most
EDGE = 0.01  # of a side: a subject that comes as near to it is cut off there


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

        A subject that the photo's edge cuts off stays at that edge, and one that reaches from edge to edge where it is.
        """
        box = subject_pixels(mask)
        assert box is not None, "only photos with a subject in their mask are placed"
        (left, top, right, bottom), (width, height) = box, mask.size
        cut = (left <= EDGE * width, top <= EDGE * height, right >= (1 - EDGE) * width, bottom >= (1 - EDGE) * height)
        if (cut[0] and cut[2]) or (cut[1] and cut[3]):
            return box, (left, top), (right - left, bottom - top)
        scale = min(self.size * width / (right - left), self.size * height / (bottom - top), ENLARGED)
        across, down = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        x = 0 if cut[0] else width - across if cut[2] else round((0.5 + self.aside) * width - across / 2)
        y = 0 if cut[1] else height - down if cut[3] else round(self.feet * height - down)
        return box, (min(max(x, 0), width - across), min(max(y, 0), height - down)), (across, down)


def subject_pixels(mask: Image.Image) -> tuple[int, int, int, int] | None:
    """The box of what a mask (mode L) shows, in pixels; None: nothing."""
    return mask.point(lambda value: 255 * (value >= 128)).getbbox()


def _cut(picture: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    return picture.crop(box).resize(size, Image.Resampling.LANCZOS)
