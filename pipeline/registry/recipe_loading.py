"""A model that was found by its reference, loaded to be drawn with its recipe."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.components import best_device, load_pipeline, torch_dtype
from pipeline.photos.read import ReadPhoto
from pipeline.registry.found import Found
from pipeline.registry.judged_draw import judged_draw
from pipeline.registry.lookup import REFERENCE
from pipeline.registry.recipe_base import base_of
from pipeline.registry.recipe_control import control_maker, load_guide
from pipeline.registry.recipe_fit import refuse_idle_others
from pipeline.registry.recipe_inputs import InputPicture, read_input, refuse_withdrawn
from pipeline.registry.recipe_models import load_judge, load_others, marked_folders, recipe_parts
from pipeline.registry.recipe_reference import load_reference
from pipeline.registry.recipes import recipe_in, refuse_different
from pipeline.registry.store import connect
from pipeline.registry.versions import versions_with
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe, RecipeError
from pipeline.sampling.recipe_sampler import RecipeSampler, Start
from pipeline.sampling.sampler import Sampler

if TYPE_CHECKING:
    from PIL.Image import Image


def load_sampler(
    workspace: Path,
    found: Found,
    given: Recipe | None,
    start: Start | None,
    asked: Collection[str] = (),
    control: Path | None = None,
    reference: Path | None = None,
) -> Sampler:
    """The sampler of a found model with its weights, by a given recipe or by the one of the registered version.

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
    draw = judged_draw(found.lineage, found.tags)
    recipe = recipe_in(found.tags or {}, found.title) if given is None else given
    recipe = marked_folders(recipe).model_copy(update=dict.fromkeys({"steps", "guidance"} & set(asked)))
    follow, shown = _input_pictures(recipe, control, reference)
    if found.tags is not None:
        inputs = {"picture to start from": start.origin, "mask": start.mask_origin} if start else {}
        inputs |= {"control picture": follow.origin} if follow else {}
        refuse_withdrawn(workspace, inputs | ({"reference picture": shown.origin} if shown else {}))
    if not recipe.changed and start is None:
        return Sampler.load(found.model, draw["scheduler"], draw["precision"])
    base = base_of(found.lineage, found.title) if recipe.needs_base else None
    precision, device = torch_dtype(draw["precision"]), best_device()
    with recipe_parts(workspace, recipe, found.lineage) as parts:
        if given is not None:
            refuse_idle_others(recipe, found.lineage, parts.models)
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


def refuse_two_recipes(workspace: Path, ref: str, found: Found) -> None:
    """Refuse a registered version that a reference found by its content, where other versions have that content and
    another recipe: nobody says then which one to draw with.

    Raises:
        RecipeError: there are such versions.
        StoreError: the registry does not answer.
    """
    if found.version is None or REFERENCE.match(ref):
        return
    name, number = found.version
    if (found.header or {}).get("title") == f"{name} version {number}":  # a picture says which version drew it
        return
    versions = versions_with(connect(workspace), "content_digest", found.lineage["weights"]["content_digest"])
    refuse_different(versions, "name one of these, as models:/NAME/VERSION, or a recipe with --recipe")


RECIPE_BESIDE = "recipe.yaml"  # as `dreamtrace fetch` leaves it beside a model folder, and a hub's repository in it


def unread_recipe(found: Found) -> Path | None:
    """The recipe file that lies with a model folder, which nothing reads by itself; None where there is none."""
    if found.folder is None:
        return None
    places = (found.folder.resolve().parent, found.folder)
    return next((place / RECIPE_BESIDE for place in places if (place / RECIPE_BESIDE).is_file()), None)


def check_pictures(recipe: Recipe, control: Path | None, reference: Path | None) -> None:
    """Refuse a control or a reference picture that the recipe has no key for, and a key without its picture.

    Raises:
        RecipeError: with every problem.
    """
    wrong = []
    for key, asked, file in (("control", recipe.control, control), ("reference", recipe.reference, reference)):
        if asked is None and file is not None:
            wrong.append(f"the {key} picture {file} needs a recipe with the key {key}; see docs/recipes.md")
        if asked is not None and file is None:
            wrong.append(f"the recipe has {key}, so it needs a {key} picture: name one with --{key}")
    if wrong:
        raise RecipeError("; ".join(wrong))


def _input_pictures(
    recipe: Recipe, control: Path | None, reference: Path | None
) -> tuple[InputPicture | None, InputPicture | None]:
    """The control and the reference picture: each of them where the recipe has its key, and nowhere else."""
    check_pictures(recipe, control, reference)
    follow = read_input(control, control_maker(recipe.control.kind)) if control and recipe.control else None
    return follow, read_input(reference) if reference else None


def read_start(picture: Path, strength: float, mask: Path | None) -> Start:
    """The picture to start from, cut to a square about its middle, and the mask in the same place.

    Raises:
        RecipeError: a file is no picture, nothing would be drawn, or the mask has another size than the picture.
    """
    if not 0 < strength <= 1:
        raise RecipeError(
            f"--start-strength must be above 0, where nothing would be drawn, up to 1; found {strength:g}"
        )
    shown = read_input(picture)
    if mask is None:
        return Start(shown.picture, strength, None, shown.origin)
    painted = read_input(mask, _on_black)
    if painted.whole.size != shown.whole.size:
        have, want = ("x".join(map(str, one.whole.size)) for one in (painted, shown))
        raise RecipeError(f"the mask {mask} is {have} pixels, the picture {picture} is {want}; make them the same")
    if painted.whole.getextrema()[1] == 0:
        raise RecipeError(f"the mask {mask} is black all over, so nothing would be drawn; paint that place white")
    if painted.picture.getextrema()[1] == 0:
        raise RecipeError(
            f"the mask {mask} is black in the square about its middle, to which picture and mask are cut, so nothing "
            "would be drawn; cut both by hand"
        )
    known = {key: value for key, value in painted.origin.items() if key != "phash"}  # shapes on black look alike to it
    return Start(shown.picture, strength, painted.picture, shown.origin, known)


def _on_black(read: ReadPhoto) -> "Image":
    """A picture's brightness (mode L), transparency on black."""
    from PIL import ImageChops

    grey = read.picture.convert("L")  # on white
    return grey if read.alpha is None else ImageChops.subtract(grey, ImageChops.invert(read.alpha))
