"""The reference picture and IP-Adapter of a recipe: read, found, and known by digest."""

from typing import Any

from pipeline.base.reference_adapter import ReferenceFiles, resolve_reference
from pipeline.registry.recipe_inputs import InputPicture, check_adapter
from pipeline.sampling.credentials import pixel_digest
from pipeline.sampling.recipe import Recipe, without_folders
from pipeline.sampling.reference import Reference, ReferenceAdapter, load_reference_adapter


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
    check_adapter("reference.adapter", wanted.adapter, found.digest, wanted.digest)
    return found


def load_reference(
    recipe: Recipe,
    files: ReferenceFiles | None,
    shown: InputPicture | None,
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
