"""The recipe of a registered version: what it is drawn with unless another one is asked for; kept beside the weights.

A recipe changes no weights, so that a better one needs no new version: the tag `recipe` of the version holds the
present one, `recipe_history` who set which recipe when and why.
"""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.lineage.deleted import DELETED
from pipeline.network.reachable import silence
from pipeline.registry.lock import promotion_lock
from pipeline.registry.versions import PATIENCE, all_versions
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


def set_recipe(
    client: "MlflowClient",
    name: str,
    version: str,
    recipe: Recipe,
    by: str,
    why: str = "",
    search: dict[str, Any] | None = None,
    given: bool = False,
    patience: float = 0,
) -> None:
    """Make `recipe` the one that a version is drawn with.

    Args:
        search: where a search found it: `digest` of its record, `suite`, `suite_digest` and `pictures`. The same
            search sets its recipe once: whoever went back from it is not overruled when the version is registered
            again.
        given: a run's params.yaml holds it. The same one is set once, too.
        patience: seconds to wait for a promotion or a withdrawal of the model.

    Raises:
        Busy: one is under way.
    """
    with promotion_lock(client, name, by, patience):
        tags = dict(client.get_model_version(name, version).tags)
        if search and any(line.get("search") == search for line in recipe_history(tags)):
            return
        if given and any(line.get("given") and line["digest"] == recipe.digest for line in recipe_history(tags)):
            return
        line: dict[str, Any] = {"recipe": recipe.changed, "digest": recipe.digest, "by": by, "why": why}
        line |= {"search": search} if search else {}
        line |= {"given": True} if given else {}
        lines = [*recipe_history(tags), {**line, "at": datetime.now(UTC).isoformat(timespec="seconds")}]
        client.set_model_version_tag(name, version, HISTORY, json.dumps(lines[-LONGEST_HISTORY:]))
        client.set_model_version_tag(name, version, RECIPE, json.dumps(recipe.changed))


def adopt_searched(
    client: "MlflowClient", name: str, version: str, judged: dict[str, Any] | None, digest: str, by: str
) -> bool:
    """Make the recipe that a search found, or that params.yaml holds, the version's own, if the report confirmed it.

    Args:
        judged: the section `recipe` of the evaluation; None where the search kept the default recipe.
        digest: sha256 of the record of the search.

    Returns:
        Whether the report confirmed it.

    Raises:
        Busy: a promotion or a withdrawal of the model takes longer than `PATIENCE` seconds.
    """
    if judged is None or not judged["adopted"]:
        return False
    recipe = recipe_of(judged["recipe"], "the recipe of the evaluation")
    if judged.get("given"):
        set_recipe(client, name, version, recipe, by, judged["sentence"], given=True, patience=PATIENCE)
        return True
    suite = judged["search"]["suite"]
    search = {
        "digest": digest,
        "suite": suite["name"],
        "suite_digest": suite["digest"],
        "pictures": judged["search"]["pictures"]["drawn"],
    }
    set_recipe(client, name, version, recipe, by, judged["sentence"], search, patience=PATIENCE)
    return True


def search_behind(tags: dict[str, str], digest: str) -> dict[str, Any] | None:
    """The search that found the recipe with this digest; None where nobody searched, or the history is cut off."""
    found = [line["search"] for line in recipe_history(tags) if line.get("digest") == digest and line.get("search")]
    return dict(found[-1]) if found else None


def search_words(search: dict[str, Any]) -> str:
    """A search in one line for a person."""
    return (
        f"{search['pictures']} pictures on suite {search['suite']} ({search['suite_digest'][:16]}), "
        f"record {search['digest'][:16]}"
    )


def registered_recipe(content: str) -> Recipe:
    """The recipe of the registered version with this content digest; the default one where no registry knows it.

    Only a store that somebody named is asked: a served model may run where there is none.

    Raises:
        RecipeError: the version's recipe is damaged.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    if not mlflow.is_tracking_uri_set() or silence(mlflow.get_tracking_uri()) is not None:
        return Recipe()
    try:
        versions = mlflow.MlflowClient().search_model_versions(f"tags.content_digest = '{content}'")
    except MlflowException:
        return Recipe()
    if not versions:
        return Recipe()
    first = min(versions, key=lambda version: (DELETED in version.tags, int(version.version)))
    return recipe_in(dict(first.tags), f"{first.name} version {first.version}")


def versions_drawing_with(client: "MlflowClient", content: str) -> list[Any]:
    """The versions whose recipe draws with another model of this content digest."""
    found = all_versions(client, f"tags.`{RECIPE}` LIKE '%{content}%'")
    return sorted(found, key=lambda version: (version.name, int(version.version)))


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
