"""The control picture and adapter of a recipe: read, found, and known by digest."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.base.control_adapter import ControlAdapter, resolve_control
from pipeline.photos.read import ReadPhoto
from pipeline.registry.recipe_inputs import InputPicture, check_adapter
from pipeline.sampling.control import Guide, load_control
from pipeline.sampling.control_pictures import control_picture_of_size, control_source, square_of
from pipeline.sampling.recipe import Recipe, without_folders

if TYPE_CHECKING:
    from PIL.Image import Image

CHECKED = 512  # pixels a side at which a control picture is looked at before the size of the drawing is known


def control_maker(kind: str) -> "Callable[[ReadPhoto], Image]":
    """Makes what control pictures of a file are made of; ValueError where nothing in it, or in the square about its
    middle, stands out.
    """

    def made(read: ReadPhoto) -> "Image":
        found = control_source(read.picture, read.alpha)
        side = min(*found.size, CHECKED)
        control_picture_of_size(found, kind, side)
        try:
            control_picture_of_size(square_of(found), kind, side)
        except ValueError:
            raise ValueError(
                f"has no {kind} in the square about its middle, to which it is cut; cut it by hand"
            ) from None
        return found

    return made


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
    check_adapter("control.adapter", wanted.adapter, found.digest, wanted.digest)
    return found


def load_guide(recipe: Recipe, adapter: ControlAdapter | None, follow: InputPicture | None, unet: Any) -> Guide | None:
    """What makes pictures follow a control picture, for a U-Net; None where the recipe has no control."""
    if recipe.control is None or adapter is None or follow is None:
        return None
    named = {"kind": recipe.control.kind, "adapter": without_folders(adapter.name), "revision": adapter.revision}
    origin = {**named, "digest": adapter.digest, **follow.origin}
    return Guide(follow.picture, load_control(adapter.folder, unet), recipe.control, origin)
