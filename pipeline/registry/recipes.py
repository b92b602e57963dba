"""The recipe of a registered version: what it is drawn with unless another one is asked for; kept beside the weights.

A recipe changes no weights, so that a better one needs no new version: the tag `recipe` of the version holds the
present one, `recipe_history` who set which recipe when and why.
"""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.registry.lock import promotion_lock
from pipeline.sampling.recipe import Recipe, recipe_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECIPE, HISTORY = "recipe", "recipe_history"
LONGEST_HISTORY = 50  # entries; a version's tag has room for some hundred


class NoEarlierRecipe(UserError):
    """The version was never drawn with another recipe."""


def recipe_in(tags: dict[str, str], title: str) -> Recipe:
    """The recipe that the tags of a version hold; the default where they hold none.

    Raises:
        RecipeError: the tag was damaged, or written by another version of dreamtrace.
    """
    return recipe_of(_json(tags.get(RECIPE, "{}")), f"the recipe of {title}")


def recipe_history(tags: dict[str, str]) -> list[dict[str, Any]]:
    """Who set which recipe when and why, the newest last."""
    found = _json(tags.get(HISTORY, "[]"))
    return found if isinstance(found, list) else []


def set_recipe(client: "MlflowClient", name: str, version: str, recipe: Recipe, by: str, why: str = "") -> None:
    """Make `recipe` the one that a version is drawn with.

    Raises:
        Busy: a promotion or a withdrawal of the model is under way.
    """
    with promotion_lock(client, name, by):
        tags = dict(client.get_model_version(name, version).tags)
        line = {"recipe": recipe.changed, "digest": recipe.digest, "by": by, "why": why}
        lines = [*recipe_history(tags), {**line, "at": datetime.now(UTC).isoformat(timespec="seconds")}]
        client.set_model_version_tag(name, version, HISTORY, json.dumps(lines[-LONGEST_HISTORY:]))
        client.set_model_version_tag(name, version, RECIPE, json.dumps(recipe.changed))


def earlier_recipe(tags: dict[str, str], title: str) -> Recipe:
    """The recipe before the present one, to go back to.

    Raises:
        NoEarlierRecipe: the version was never drawn with another one.
    """
    present, lines = recipe_in(tags, title), recipe_history(tags)
    recipes = [Recipe(), *(recipe_of(line["recipe"], f"the recipe history of {title}") for line in lines)]
    others = [recipe for recipe in recipes if recipe.digest != present.digest]
    if not others:
        raise NoEarlierRecipe(f"{title} has had no other recipe")
    return others[-1]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
