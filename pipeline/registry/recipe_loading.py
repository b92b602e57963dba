"""A model that was found by its reference, loaded to be drawn with its recipe."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.components import best_device, load_pipeline, torch_dtype
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import read_file, read_photo
from pipeline.registry.found import Found
from pipeline.registry.recipe_base import base_of
from pipeline.registry.recipe_control import ControlPicture, load_guide, read_control
from pipeline.registry.recipe_inputs import MAX_PIXELS, origin_of, refuse_withdrawn, square
from pipeline.registry.recipe_models import load_judge, load_others, recipe_parts
from pipeline.registry.recipe_reference import ReferencePicture, load_reference, read_reference
from pipeline.registry.recipes import recipe_in
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe, RecipeError, read_recipe
from pipeline.sampling.recipe_sampler import RecipeSampler, Start
from pipeline.sampling.sampler import Sampler

if TYPE_CHECKING:
    from PIL.Image import Image


def load_sampler(
    workspace: Path,
    found: Found,
    recipe_file: Path | None,
    start: Start | None,
    asked: Collection[str] = (),
    control: Path | None = None,
    reference: Path | None = None,
) -> Sampler:
    """The sampler of a found model with its weights, by a recipe file or by the recipe of the registered version.

    Args:
        workspace: where other models that the recipe names are looked up.
        asked: keys such as `steps` that the caller named: their values in the recipe do not count.
        control: the picture that a recipe with control follows, or that its control picture is made of.
        reference: the picture that drawings by a recipe with reference take after.

    Raises:
        RecipeError: the recipe cannot be used with this model, or names models that cannot.
        BaseNotFound: the recipe needs the base, which is not available or is another one than was trained on.
    """
    assert found.model is not None
    draw = found.lineage["params"]["sample"]["draw"]
    recipe = read_recipe(recipe_file) if recipe_file else recipe_in(found.tags or {}, found.title)
    recipe = recipe.model_copy(update=dict.fromkeys({"steps", "guidance"} & set(asked)))
    follow, shown = _control_picture(recipe, control), _reference_picture(recipe, reference)
    if not recipe.changed and start is None:
        return Sampler.load(found.model, draw["scheduler"], draw["precision"])
    if follow is not None and found.tags is not None:
        refuse_withdrawn(workspace, follow.origin, "control picture")
    if shown is not None and found.tags is not None:
        refuse_withdrawn(workspace, shown.origin, "reference picture")
    base = base_of(found.lineage, found.title) if recipe.needs_base else None
    precision, device = torch_dtype(draw["precision"]), best_device()
    with recipe_parts(workspace, recipe, found.lineage) as parts:
        others = load_others(parts.models, draw["precision"])
        judge = load_judge(parts.scorer)
    unet = load_pipeline(base.folder, precision, device, base.variant).unet if base else None
    subject = found.lineage["params"]["subject"]
    words, pipe = Words(subject["token"], subject["class_noun"]), load_pipeline(found.model, precision, device)
    try:
        guide = load_guide(recipe, parts.adapter, follow, pipe.unet)
        like = load_reference(recipe, parts.reference, shown, pipe.unet)
        return RecipeSampler(pipe, draw["scheduler"], recipe, words, unet, start, others, guide, judge, like)
    except ValueError as error:
        raise RecipeError(f"the recipe cannot be used with {found.title}: {error}") from None


def _control_picture(recipe: Recipe, file: Path | None) -> ControlPicture | None:
    if recipe.control is None:
        if file is not None:
            raise RecipeError(f"the control picture {file} needs a recipe with the key control; see docs/recipes.md")
        return None
    if file is None:
        raise RecipeError("the recipe has control, so it needs a control picture: name one with --control")
    return read_control(file, recipe.control.kind)


def _reference_picture(recipe: Recipe, file: Path | None) -> ReferencePicture | None:
    if recipe.reference is None:
        if file is not None:
            raise RecipeError(f"the picture {file} needs a recipe with the key reference; see docs/recipes.md")
        return None
    if file is None:
        raise RecipeError("the recipe has a reference, so it needs a reference picture: name one with --reference")
    return read_reference(file)


def read_start(picture: Path, strength: float, mask: Path | None) -> Start:
    """The picture to start from, cut to a square about its middle, and the mask in the same place.

    Raises:
        RecipeError: a file is no picture, or the mask has another size than the picture.
    """
    shown, origin = _read(picture)
    if mask is None:
        return Start(square(shown), strength, None, origin)
    painted, mask_origin = _read(mask)
    if painted.size != shown.size:
        have, want = ("x".join(map(str, one.size)) for one in (painted, shown))
        raise RecipeError(f"the mask {mask} is {have} pixels, the picture {picture} is {want}; make them the same")
    if painted.convert("L").getextrema()[1] == 0:
        raise RecipeError(f"the mask {mask} is black all over, so nothing would be drawn; paint that place white")
    del mask_origin["phash"]  # shapes on black look alike to it
    return Start(square(shown), strength, square(painted.convert("L")), origin, mask_origin)


def _read(file: Path) -> tuple["Image", dict[str, Any]]:
    try:
        content = read_file(file)
        shown = read_photo(content, MAX_PIXELS, 8).picture
    except PhotoProblem as problem:
        raise RecipeError(f"{file} {problem}") from None
    return shown, origin_of(content, shown)
