"""Pictures that go into a drawing: cut to a square, known by digests and by what drew them, none of them withdrawn."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.photos.similarity import perceptual_hash
from pipeline.registry.store import connect
from pipeline.registry.withdrawn_photos import matches, withdrawn_photos
from pipeline.sampling.credentials import credentials_in
from pipeline.sampling.picture_index import inputs_behind, inputs_of, short_origin
from pipeline.sampling.recipe import RecipeError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000


def origin_of(content: bytes, picture: "Image") -> dict[str, Any]:
    """What a record keeps of an input: the file's `sha256`, the picture's `phash`, and, where the file's Content
    Credentials say that it was drawn itself, by what and from what (`drawn`).
    """
    origin: dict[str, Any] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "phash": f"{perceptual_hash(picture):016x}",
    }
    found = credentials_in(content)
    if found is not None and found.state != "invalid":
        origin["drawn"] = short_origin(found.record)
    return origin


def refuse_withdrawn(workspace: Path, origin: dict[str, Any], what: str = "picture to start from") -> None:
    """Refuse an input that is a photo that was withdrawn, or looks like one, or was drawn from one.

    Raises:
        RecipeError: the photo was withdrawn.
        StoreError: the registry does not answer.
    """
    if not origin:
        return
    withdrawn = withdrawn_photos(connect(workspace))
    behind = [*inputs_of(origin.get("drawn", {})), *inputs_behind(workspace, origin)]
    found, earlier = matches([origin], withdrawn), matches([one for one in behind if "sha256" in one], withdrawn)
    if found.exact or found.near:
        how = "is" if found.exact else "looks like"
        raise RecipeError(f"the {what} {how} a photo that was withdrawn; take another one")
    if earlier.exact or earlier.near:
        raise RecipeError(f"the {what} was drawn from a photo that was withdrawn; take another one")


def square(picture: "Image") -> "Image":
    """The square about the middle of a picture."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))
