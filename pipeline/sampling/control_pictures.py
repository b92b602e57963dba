"""Control pictures: the silhouette or the edges that a drawing is to follow, white on black."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

EXTREME = 16  # levels from black or white within which a pixel counts as painted
PAINTED = 0.98  # share of painted pixels from which a picture is a control picture already
AROUND = 9  # pixels across: as far as Canny's blur carries an edge
HIGH, LOW = 200, 100  # of the gradient: an edge begins above the first, and goes on above the second


def control_picture(picture: "Image", kind: str, alpha: "Image | None" = None) -> "Image":
    """The control picture (mode L) of a picture (RGB, transparency on white).

    A *silhouette* is what `alpha` covers; without it, what differs from the border in colour, by Otsu's threshold
    (1979). *Edges* are Canny's (1986): those of `alpha` and of what lies inside it. Without `alpha`, a picture that is
    white on black already stays as it is.

    Raises:
        ValueError: nothing stands out, or everything does.
    """
    from PIL import Image

    covered = _covered(alpha)
    if alpha is not None and covered is not None:
        found = covered if kind == "silhouette" else _edges(alpha) | (_edges(picture) & _well_inside(covered))
    elif _is_control_picture(picture):
        found = np.asarray(picture.convert("L")) > 127
    elif kind == "edges":
        found = _edges(picture)
    else:
        found = _apart(np.asarray(picture.convert("RGB"), np.float32))
    if not found.any() or found.all():
        raise _nothing(kind)
    return Image.fromarray(found.astype(np.uint8) * 255)


def control_source(picture: "Image", alpha: "Image | None" = None) -> "Image":
    """What `control_picture_of_size` makes control pictures of: a picture that is one already (mode L: black and
    white), or the picture (RGB) with `alpha` (RGBA).
    """
    if _covered(alpha) is None and _is_control_picture(picture):
        return picture.convert("L").point(lambda level: 255 if level > 127 else 0)
    found = picture.convert("RGB")
    if alpha is not None:
        found.putalpha(alpha.convert("L"))
    return found


def control_picture_of_size(source: "Image", kind: str, size: int) -> "Image":
    """The control picture (mode L, `size` pixels a side) of what `control_source` gave.

    It is made at that size, as lines one pixel wide would fade if they were reduced. Of edges that are given as they
    are, every pixel that a line touches is white.

    Raises:
        ValueError: nothing stands out at that size, or everything does.
    """
    from PIL import Image

    wanted = size, size
    if source.mode != "L":
        alpha = source.getchannel("A").resize(wanted) if source.mode == "RGBA" else None
        return control_picture(source.convert("RGB").resize(wanted), kind, alpha)
    if kind == "edges":
        touched = np.asarray(source.convert("F").resize(wanted, Image.Resampling.BOX)) > 0
        found = Image.fromarray(touched.astype(np.uint8) * 255)
    else:
        found = source.resize(wanted)
    if found.getextrema() in ((0, 0), (255, 255)):
        raise _nothing(kind)
    return found


def square_of(whole: "Image") -> "Image":
    """The square about a picture's middle."""
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    return whole.crop((left, top, left + side, top + side))


def painted(picture: "Image") -> bool:
    """Whether a picture is black and white, as drawings and silhouettes are, and photos are not."""
    grey = np.asarray(picture.convert("L"))
    return bool(((grey < EXTREME) | (grey > 255 - EXTREME)).mean() > PAINTED)


def _nothing(kind: str) -> ValueError:
    return ValueError(f"has no {kind}: nothing in it stands out")


def _covered(alpha: "Image | None") -> np.ndarray | None:
    """What `alpha` covers: bool [h, w]; None where it covers everything or nothing, so that it shows no shape."""
    covered = np.asarray(alpha.convert("L")) > 127 if alpha is not None else np.ones(1, bool)
    return None if covered.all() or not covered.any() else covered


def _is_control_picture(picture: "Image") -> bool:
    """Whether a picture is white on black already."""
    return painted(picture) and bool(np.median(_border(np.asarray(picture.convert("L")))) < EXTREME)


def _border(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels of a picture [h, w, ...]."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _well_inside(covered: np.ndarray) -> np.ndarray:
    """Where a mask [h, w] covers everything around, so that no edge is that of the mask itself."""
    from PIL import Image, ImageFilter

    shape = Image.fromarray(covered.astype(np.uint8) * 255)
    return np.asarray(shape.filter(ImageFilter.MinFilter(AROUND))) > 0


def _apart(pixels: np.ndarray) -> np.ndarray:
    """Where a picture [h, w, 3] differs from its border's median colour: bool [h, w]."""
    distance = np.linalg.norm(pixels - np.median(_border(pixels), axis=0), axis=2)
    levels = np.minimum(distance, 255).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256).astype(np.float64)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return levels > int(np.nan_to_num(between).argmax())


def _edges(picture: "Image") -> np.ndarray:
    """Canny's edges of a picture: bool [h, w]."""
    from PIL import ImageFilter

    smooth = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(1.4)), np.float32)
    across = np.gradient(smooth, axis=1) * 8  # Sobel's scale
    down = np.gradient(smooth, axis=0) * 8
    strength = np.hypot(across, down)
    padded = np.pad(strength, 1)
    turn = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    thin = np.zeros(strength.shape, bool)
    height, width = strength.shape
    for number, (y, x) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        ahead = padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = padded[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        thin |= (turn == number) & (strength >= ahead) & (strength > behind)
    weak, found = thin & (strength > LOW), thin & (strength > HIGH)
    while True:
        grown = np.pad(found, 1)
        near = np.zeros_like(found)
        for y in range(3):
            for x in range(3):
                near |= grown[y : y + height, x : x + width]
        more = weak & near
        if (more == found).all():
            return found
        found = more
