"""Pictures that go into a drawing: read, known by digests and by what drew them, none of them withdrawn."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import ReadPhoto, read_file, read_photo
from pipeline.photos.similarity import perceptual_hash
from pipeline.registry.store import connect
from pipeline.registry.versions import withdrawn_version
from pipeline.registry.withdrawn_photos import matches, withdrawn_photos
from pipeline.sampling.control_pictures import painted, square_of
from pipeline.sampling.credentials import credentials_in, pixel_digest
from pipeline.sampling.picture_index import behind, inputs_of, models_of, short_origin
from pipeline.sampling.recipe import RecipeError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class InputPicture:
    """A picture as it goes into a drawing, before it is cut, and what is kept of the file that it was made of."""

    whole: "Image"
    origin: dict[str, Any]

    @property
    def picture(self) -> "Image":
        """The square about its middle."""
        return square_of(self.whole)


def read_input(file: Path, made: "Callable[[ReadPhoto], Image] | None" = None) -> InputPicture:
    """The picture in a file, or what is made of it.

    Raises:
        RecipeError: it is no picture, or nothing can be made of it (`made` raised ValueError).
    """
    try:
        content = read_file(file)
    except PhotoProblem as problem:
        raise RecipeError(f"{file} {problem.found}") from None
    return input_of_bytes(content, str(file), made)


def input_of_bytes(content: bytes, where: str, made: "Callable[[ReadPhoto], Image] | None" = None) -> InputPicture:
    """`read_input` of a file's bytes; `where` names them in messages."""
    try:
        read = read_photo(content, MAX_PIXELS, 8)
        shown = made(read) if made else read.picture
    except PhotoProblem as problem:
        raise RecipeError(f"{where} {problem.found}") from None
    except ValueError as problem:
        raise RecipeError(f"{where} {problem}") from None
    origin = origin_of(content, read.picture)
    if made and painted(read.picture):
        del origin["phash"]  # to which shapes in black and white look alike
    return InputPicture(shown, origin)


def origin_of(content: bytes, picture: "Image") -> dict[str, Any]:
    """What a record keeps of an input: the file's `sha256`, the picture's `phash` and the digest of its pixels before
    it is cut (`whole`), and, where the file's Content Credentials say that it was drawn itself, by what and from what
    (`drawn`).
    """
    origin: dict[str, Any] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "phash": f"{perceptual_hash(picture):016x}",
        "whole": pixel_digest(picture.convert("RGB")),
    }
    found = credentials_in(content)
    if found is not None and found.state != "invalid":
        origin["drawn"] = short_origin(found.record)
    return origin


def refuse_withdrawn(workspace: Path, inputs: Mapping[str, dict[str, Any]]) -> None:
    """Refuse inputs that are photos that were withdrawn, or look like one, or were drawn from one or by a model that
    was withdrawn; a drawn picture without credentials is recognised among those that were kept in this workspace.

    Args:
        inputs: what is kept of each input, by what messages call it; an empty one says that there is none.

    Raises:
        RecipeError: a photo or a model was withdrawn; all such inputs are named.
        StoreError: the registry does not answer.
    """
    given = {what: origin for what, origin in inputs.items() if origin}
    if not given:
        return
    client = connect(workspace)
    withdrawn, refused = withdrawn_photos(client), []
    for what, origin in given.items():
        drawn, (kept, models) = origin.get("drawn", {}), behind(workspace, origin)
        inputs_behind = [one for one in (*inputs_of(drawn), *kept) if "sha256" in one]
        found, earlier = matches([origin], withdrawn), matches(inputs_behind, withdrawn)
        if found.exact or found.near:
            refused.append(f"the {what} {'is' if found.exact else 'looks like'} a photo that was withdrawn")
        elif earlier.exact or earlier.near:
            refused.append(f"the {what} was drawn from a photo that was withdrawn")
        elif any(withdrawn_version(client, content) for content in sorted(models | models_of(drawn))):
            refused.append(f"the {what} was drawn by a model that was withdrawn, or from such a drawing")
    if refused:
        raise RecipeError(f"{', and '.join(refused)}; take another one")


def check_adapter(key: str, name: str, found: str, recorded: str | None) -> None:
    """Compare an adapter's digest with the one that a recipe holds, if it holds one.

    Raises:
        RecipeError: it is another one.
    """
    if recorded not in (None, found):
        raise RecipeError(
            f"{key} '{name}' has digest {found[:16]} now, and the recipe was made with {str(recorded)[:16]}"
        )
