"""Recipes, how a tuned model is drawn with: read from small YAML files, checked, and written for others."""

import difflib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.errors import UserError, all_problems, as_found
from pipeline.files import digest_value
from pipeline.params import MOST_CHARACTERS, Draw
from pipeline.sampling.composition import Adapter, Control, ReferenceSettings, Region, box_of, has_room
from pipeline.sampling.idle_keys import idle_in_steps, idle_keys
from pipeline.sampling.prompt_weights import WeightError, parts_of
from pipeline.sampling.recipe_keys import Recipe as Recipe  # noqa: PLC0414 - also for whoever reads recipes
from pipeline.yaml_files import YamlError, parse_yaml, read_yaml

LEAST_SIDE = 0.05  # of a place, as a share of the picture's: narrower ones are less than a cell of small latents


class RecipeError(UserError):
    """A recipe cannot be used; the message lists every problem."""


def run_recipe(values: dict[str, Any], draw: Draw, as_base: Collection[str | None] = ()) -> Recipe:
    """The recipe in the section `recipe` of params.yaml.

    Args:
        draw: how the run draws without it (`sample.draw`).
        as_base: see `idle_keys`.

    Raises:
        RecipeError: it cannot be used, or holds keys that change nothing of that; or it names other models, control, a
            reference or `best_of`, which belong to single drawings.
    """
    found = written_recipe(values, "recipe")
    if found.others or found.control or found.reference:
        raise RecipeError(
            "recipe: other models, control and reference need what a run does not have; give a file with them to "
            "`dreamtrace generate --recipe` or `dreamtrace recipe use`"
        )
    if found.best_of > 1:
        raise RecipeError(
            "recipe: best_of keeps what the CLIP of the gates likes best, so that they would judge their own choice; "
            "give a file with it to `dreamtrace generate --recipe` or `dreamtrace recipe use`"
        )
    known = {key: getattr(draw, key) for key in ("steps", "guidance", "scheduler")}
    same = [
        f"{key}: {value} is that of sample.draw, too" for key, value in known.items() if getattr(found, key) == value
    ]
    if problems := [*idle_in_drawing(found, draw.steps, draw.guidance, as_base=as_base), *same]:
        raise RecipeError(all_problems("recipe", problems))
    return found


def drawer_digest(model: str, base: str, recipe: Recipe) -> str:
    """sha256 over what draws: the digests of the model, of its base and of the recipe."""
    return digest_value([model, base, recipe.digest])


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        RecipeError: there is no such file, it is not YAML, or holds unknown keys or impossible values.
    """
    try:
        values = read_yaml(path)
    except FileNotFoundError:
        raise RecipeError(f"{path} does not exist; `dreamtrace recipe show` prints a recipe to start from") from None
    except YamlError as error:
        raise RecipeError(str(error)) from None
    return written_recipe({} if values is None else values, str(path))


def recipe_from(text: str, where: str) -> Recipe:
    """The recipe that a YAML text describes; `where` names it in messages.

    Raises:
        RecipeError: it is not YAML, or holds unknown keys or impossible values.
    """
    try:
        values = parse_yaml(text, where)
    except YamlError as error:
        raise RecipeError(str(error)) from None
    return written_recipe({} if values is None else values, where)


def written_recipe(values: Any, where: str) -> Recipe:
    """The recipe that somebody hands in as plain values; `where` names them in messages.

    It is held to more than `recipe_of` asks for: records of earlier versions may hold what is refused here.

    Raises:
        RecipeError: they are not a mapping, hold unknown keys, impossible values, texts that are too long, or keys
            that change nothing.
    """
    recipe = recipe_of(values, where)
    if problems := [*_wrong_texts(recipe), *_wrong_weights(recipe), *_wrong_places(recipe), *idle_keys(recipe)]:
        raise RecipeError(all_problems(where, problems))
    return recipe


def _wrong_texts(recipe: Recipe) -> Iterator[str]:
    prompts = {f"regions.{number}.prompt": region.prompt for number, region in enumerate(recipe.regions)}
    for key, text in {"negative": recipe.negative, "avoid": recipe.avoid, **prompts}.items():
        if text and not text.strip():
            yield f"{key}: must not be blank"
    for key, text in prompts.items():
        if text.count("{prompt}") > 1 or re.search(r"[{}]", text.replace("{prompt}", "")):
            yield f"{key}: must hold no braces but those of one {{prompt}}, found {as_found(text)}"
    texts = {"template": recipe.template, "negative": recipe.negative, "avoid": recipe.avoid, **prompts}
    for key, text in texts.items():
        if len(text) > MOST_CHARACTERS:
            yield f"{key}: has {len(text)} characters; at most {MOST_CHARACTERS} are possible"


def _wrong_weights(recipe: Recipe) -> Iterator[str]:
    """What looks like a weight and is none, in texts that a recipe adds to prompts of any words."""
    if not recipe.weights:
        return
    texts = {"template": "x", "negative": recipe.negative, "avoid": recipe.avoid}
    texts |= {f"regions.{number}.prompt": region.prompt for number, region in enumerate(recipe.regions)}
    wrong: set[str] = set()
    for key, text in texts.items():
        read = text.replace("{prompt}", "x")
        alone = key in ("negative", "avoid") or "template" in wrong
        try:
            parts_of(read if alone else recipe.template.replace("{prompt}", read))
        except WeightError as problem:
            wrong.add(key)
            yield f"{key}: {problem}"


def _wrong_places(recipe: Recipe) -> Iterator[str]:
    places = [(f"regions.{number}.place", region.place) for number, region in enumerate(recipe.regions)]
    places += [
        (f"adapters.{number}.place", adapter.place)
        for number, adapter in enumerate(recipe.adapters)
        if adapter.place is not None
    ]
    for key, place in places:
        left, top, right, bottom = box_of(place)
        if min(right - left, bottom - top) < LEAST_SIDE - 1e-9:
            yield f"{key}: is narrower than {LEAST_SIDE} of the picture's side, so that nothing can form in it"
    left_over = any(number is None for number, _ in recipe.layers)
    if recipe.regions and left_over and not has_room(recipe.region_boxes, LEAST_SIDE - 1e-9):
        yield (
            f"regions: what they leave of the picture is narrower than {LEAST_SIDE} of its side everywhere, so that "
            "nothing can form in it; close the gap: let their places meet, or reach the edge"
        )


def idle_in_drawing(
    recipe: Recipe, steps: int, guidance: float, first: int = 0, as_base: Collection[str | None] = ()
) -> list[str]:
    """The keys that change nothing of a drawing: see `refuse_idle`."""
    return [*idle_keys(recipe, guidance, as_base), *idle_in_steps(recipe, recipe.steps or steps, first)]


def refuse_idle(
    recipe: Recipe,
    steps: int,
    guidance: float,
    first: int = 0,
    as_base: Collection[str | None] = (),
) -> None:
    """Refuse a recipe that somebody wrote with a key that changes nothing of a drawing: at its guidance, or as it
    counts in none of the steps that are drawn.

    The recipe of a version is not held to this: its drawings may have another guidance, or begin with a picture.

    Args:
        recipe: without the values in whose place the caller named others.
        steps: that are drawn where the recipe has none.
        guidance: that counts where the recipe has none.
        first: see `idle_in_steps`, of all steps.
        as_base: see `idle_keys`.

    Raises:
        RecipeError: with every such key.
    """
    if problems := idle_in_drawing(recipe, steps, guidance, first, as_base):
        raise RecipeError(all_problems("the recipe", problems))


NAMES_A_FOLDER = (
    "names a folder of this machine, which nobody else has: name a repository of the hub or a registered model "
    "(`dreamtrace recipe use`), or go back (`dreamtrace recipe back`)"
)


def without_folders(value: Any, names: bool = True) -> Any:
    """Plain values in which a path of this machine is its last part: what goes to others names no folder here.

    In mappings only what names a model or an adapter is such a path; prompts may begin with any character.

    Args:
        names: whether a text names a model or an adapter.
    """
    if isinstance(value, dict):
        return {key: without_folders(one, key in ("model", "adapter")) for key, one in value.items()}
    if isinstance(value, list):
        return [without_folders(one, names) for one in value]
    if names and isinstance(value, str) and names_a_folder(value):
        return value.rstrip("/").rpartition("/")[2]
    return value


def names_a_folder(name: str) -> bool:
    """Whether the name of a model or an adapter is a path by the way it is written, wherever it is read."""
    return name.startswith(("/", "./", "../", "~"))


def recipe_text(recipe: Recipe) -> str:
    """A recipe as the YAML file that `read_recipe` reads: the keys that are not the default."""
    return yaml.safe_dump(recipe.changed, sort_keys=False, allow_unicode=True)


def recipe_of(values: Any, where: str) -> Recipe:
    """The recipe that plain values of a record describe; `where` names them in messages.

    Raises:
        RecipeError: they are not a mapping, or hold unknown keys or impossible values.
    """
    if not isinstance(values, dict):
        raise RecipeError(f"{where} is not a recipe: write `key: value` lines, found {type(values).__name__}")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = [_problem(found) for found in error.errors()]
    raise RecipeError(all_problems(where, problems))


def _problem(found: Any) -> str:
    key = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        parts: dict[str, type[BaseModel]] = {"regions": Region, "adapters": Adapter, "control": Control}
        parts["reference"] = ReferenceSettings
        known = parts.get(str(found["loc"][0]), Recipe).model_fields
        near = difflib.get_close_matches(str(found["loc"][-1]), known, 1)
        return f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")
    message = found["msg"].removeprefix("Value error, ")
    if not key:  # about several keys at once
        return message
    return f"{key}: {message[:1].lower()}{message[1:]}, found {as_found(found['input'])}"
