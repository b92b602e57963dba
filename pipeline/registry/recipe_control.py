"""The control picture and adapter of a recipe: read, found, and known by digest."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.control_adapter import ControlAdapter, resolve_control
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import read_file, read_photo
from pipeline.registry.recipe_inputs import MAX_PIXELS, origin_of, square
from pipeline.sampling.control import Guide, load_control
from pipeline.sampling.control_pictures import control_picture
from pipeline.sampling.recipe import Recipe, RecipeError, without_folders

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ControlPicture:
    """A control picture (mode L, square), and what is kept of the file that it was made of."""

    picture: "Image"
    origin: dict[str, Any]


def read_control(file: Path, kind: str) -> ControlPicture:
    """The control picture that a file is, or that is made of it: cut to a square about its middle.

    Raises:
        RecipeError: it is no picture, or nothing in it stands out.
    """
    try:
        return control_of_bytes(read_file(file), kind, str(file))
    except PhotoProblem as problem:
        raise RecipeError(f"{file} {problem}") from None


def control_of_bytes(content: bytes, kind: str, where: str) -> ControlPicture:
    """`read_control` of a file's bytes; `where` names them in messages."""
    try:
        read = read_photo(content, MAX_PIXELS, 8)
        made = control_picture(read.picture, kind, read.alpha)
    except (PhotoProblem, ValueError) as problem:
        raise RecipeError(f"{where} {problem}") from None
    return ControlPicture(square(made), origin_of(content, read.picture))


def control_of(recipe: Recipe, lineage: dict[str, Any]) -> ControlAdapter | None:
    """The control adapter of a recipe for the model of a record; None where the recipe has no control.

    Raises:
        BaseNotFound: it is not available.
        RecipeError: it is another one than the recipe says.
    """
    wanted = recipe.control
    if wanted is None:
        return None
    found = resolve_control(wanted.adapter, wanted.revision, str(lineage["base"]["model"]))
    if wanted.digest not in (None, found.digest):
        raise RecipeError(
            f"control.adapter '{wanted.adapter}' has digest {found.digest[:16]} now, and the recipe was made with "
            f"{str(wanted.digest)[:16]}"
        )
    return found


def load_guide(
    recipe: Recipe, adapter: ControlAdapter | None, follow: ControlPicture | None, unet: Any
) -> Guide | None:
    """What makes pictures follow a control picture, for a U-Net; None where the recipe has no control."""
    if recipe.control is None or adapter is None or follow is None:
        return None
    named = {"kind": recipe.control.kind, "adapter": without_folders(adapter.name), "revision": adapter.revision}
    origin = {**named, "digest": adapter.digest, **follow.origin}
    return Guide(follow.picture, load_control(adapter.folder, unet), recipe.control, origin)
