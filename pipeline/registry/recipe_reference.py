"""The reference picture and IP-Adapter of a recipe: read, found, and known by digest."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.reference_adapter import ReferenceFiles, resolve_reference
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import read_file, read_photo
from pipeline.registry.recipe_inputs import MAX_PIXELS, origin_of, square
from pipeline.sampling.credentials import pixel_digest
from pipeline.sampling.recipe import Recipe, RecipeError, without_folders
from pipeline.sampling.reference import Reference, ReferenceAdapter, load_reference_adapter

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ReferencePicture:
    """A reference picture (RGB, square), and what is kept of the file that it was read from."""

    picture: "Image"
    origin: dict[str, Any]


def read_reference(file: Path) -> ReferencePicture:
    """The reference picture in a file, cut to a square about its middle.

    Raises:
        RecipeError: it is no picture.
    """
    try:
        return reference_of_bytes(read_file(file), str(file))
    except PhotoProblem as problem:
        raise RecipeError(f"{file} {problem}") from None


def reference_of_bytes(content: bytes, where: str) -> ReferencePicture:
    """`read_reference` of a file's bytes; `where` names them in messages."""
    try:
        shown = read_photo(content, MAX_PIXELS, 8).picture
    except PhotoProblem as problem:
        raise RecipeError(f"{where} {problem}") from None
    return ReferencePicture(square(shown), origin_of(content, shown))


def reference_of(recipe: Recipe) -> ReferenceFiles | None:
    """The IP-Adapter of a recipe; None where it has none.

    Raises:
        BaseNotFound: it is not available.
        RecipeError: it is another one than the recipe says.
    """
    wanted = recipe.reference
    if wanted is None:
        return None
    found = resolve_reference(wanted.adapter, wanted.revision, wanted.weights, wanted.encoder)
    if wanted.digest not in (None, found.digest):
        raise RecipeError(
            f"reference.adapter '{wanted.adapter}' has digest {found.digest[:16]} now, and the recipe was made with "
            f"{str(wanted.digest)[:16]}"
        )
    return found


def load_reference(
    recipe: Recipe,
    files: ReferenceFiles | None,
    shown: ReferencePicture | None,
    unet: Any,
    loaded: dict[str, ReferenceAdapter] | None = None,
) -> Reference | None:
    """What makes pictures take after a reference picture; None where the recipe has none.

    Args:
        loaded: adapters by digest that are there already; what is loaded now is added.

    Raises:
        ValueError: the file holds no IP-Adapter.
    """
    if recipe.reference is None or files is None or shown is None:
        return None
    named = {"adapter": without_folders(files.name), "revision": files.revision, "digest": files.digest}
    origin = {"pixels": pixel_digest(shown.picture), **named, **shown.origin}
    loaded = {} if loaded is None else loaded
    if files.digest not in loaded:
        loaded[files.digest] = load_reference_adapter(files.weights, files.encoder, unet.dtype, unet.device)
    return Reference(shown.picture, loaded[files.digest], recipe.reference.scale, origin)
