"""The recipe of a registered version: what it is drawn with unless another one is asked for; kept beside the weights.

A recipe changes no weights, so that a better one needs no new version: the tag `recipe` of the version holds the
present one, `recipe_history` who set which recipe when and why.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError, joined
from pipeline.lineage.deleted import DELETED
from pipeline.params import MOST_CHARACTERS
from pipeline.registry.lock import promotion_lock
from pipeline.registry.recipe_others import unusable_others
from pipeline.registry.store import StoreSilent, connect, is_named, store_in_use
from pipeline.registry.versions import PATIENCE, all_versions, versions_with
from pipeline.sampling.recipe import Recipe, RecipeError, recipe_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECIPE, HISTORY = "recipe", "recipe_history"
History = list[dict[str, Any]]  # who set which recipe, the newest last
LONGEST_HISTORY = 50  # entries
MOST_IN_A_TAG = 100_000  # characters that MLflow takes
ASKED_FOR_A_RECIPE = (
    "it was asked which recipe this model is drawn with; start it, or unset MLFLOW_TRACKING_URI to draw with the "
    "default recipe"
)


class NoEarlierRecipe(UserError):
    """The version was never drawn with another recipe."""


class RecipeChanged(UserError):
    """Somebody set another recipe since it was looked at."""


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
    instead_of: Callable[[History], bool] | None = None,
    seen: str = "",
    patience: float = 0,
    locked: Callable[[], None] = lambda: None,
) -> bool:
    """Make `recipe` the one that a version is drawn with.

    Whoever deletes or withdraws a version marks it, and a deletion looks for recipes that draw with it afterwards; here
    the marks are looked for after the recipe is written: no recipe stays with weights that are deleted at that moment.

    Args:
        search: where a search found it: `digest` of its record, `suite`, `suite_digest` and `pictures`. Until another
            search or params.yaml sets one, the same search sets its recipe once: whoever went back from it is not
            overruled when the version is registered again.
        given: a run's params.yaml holds it. The same one is set once, too; and the default one, which every run has
            that says nothing, only takes the place of one that was given.
        instead_of: `recipe` is the default one, which takes the place of the present recipe only where this says so of
            the version's history: a run had set it that now fails the gates, or an earlier search had found it.
        seen: digest of the recipe that whoever sets this one takes for the present one; '': of whatever is there.
        patience: seconds to wait for a promotion or a withdrawal of the model.
        locked: called before anything is written, while no promotion of the model can begin; what it raises keeps the
            recipe as it is.

    Returns:
        Whether it was set: False where the version keeps what it has.

    Raises:
        RecipeError: `why` is too long to be kept; or a model that the recipe names was withdrawn, or its weights were
            deleted, since it was looked up: the version keeps the recipe that it has.
        RecipeChanged: another recipe than the one that was `seen` is the present one.
        Busy: one is under way.
    """
    if len(why) > MOST_CHARACTERS:
        raise RecipeError(f"the reason has {len(why)} characters; at most {MOST_CHARACTERS} are kept")
    with promotion_lock(client, name, by, patience, "changing the recipe of a version"):
        tags = dict(client.get_model_version(name, version).tags)
        if seen and recipe_in(tags, f"{name} version {version}").digest != seen:
            raise _changed(f"{name} version {version}", tags, seen)
        if instead_of is not None and not instead_of(recipe_history(tags)):
            return False
        if (search or given) and _stays(recipe_history(tags), recipe, search):
            return False
        line: dict[str, Any] = {"recipe": recipe.changed, "digest": recipe.digest, "by": by, "why": why}
        line |= {"search": search} if search else {}
        line |= {"given": True} if given else {} if instead_of is None else {"rejected": True}
        lines = [*recipe_history(tags), {**line, "at": datetime.now(UTC).isoformat(timespec="seconds")}]
        locked()
        # The history comes last: cut off before it, the same call is no repetition, and sets both.
        client.set_model_version_tag(name, version, RECIPE, json.dumps(recipe.changed, ensure_ascii=False))
        try:
            _refuse_unusable(client, recipe, f"{name} version {version}")
        except BaseException:
            _put_back(client, name, version, tags.get(RECIPE))
            raise
        client.set_model_version_tag(name, version, HISTORY, _newest(lines))
    return True


def _refuse_unusable(client: "MlflowClient", recipe: Recipe, title: str) -> None:
    """Refuse a recipe that draws with a model that is out of use by now."""
    if gone := unusable_others(client, recipe.others)[0]:
        raise RecipeError(
            f"{title} keeps the recipe that it has: the new one draws with {joined(gone)}; name another model"
        )


def _put_back(client: "MlflowClient", name: str, version: str, recipe: str | None) -> None:
    """Give a version the tag of its recipe back, None: that it had none."""
    if recipe is None:
        client.delete_model_version_tag(name, version, RECIPE)
    else:
        client.set_model_version_tag(name, version, RECIPE, recipe)


def _changed(title: str, tags: dict[str, str], seen: str) -> RecipeChanged:
    lines = recipe_history(tags)
    who = f"{lines[-1]['by']} set another one at {lines[-1]['at']}" if lines else "another one was set meanwhile"
    return RecipeChanged(
        f"{title} is not drawn with recipe {seen[:16]} any more: {who}; `dreamtrace recipe show` prints it, and the "
        "same command once more goes back from that"
    )


def _newest(lines: list[dict[str, Any]]) -> str:
    """The newest lines of a history as JSON, as many as a tag has room for."""
    kept = lines[-LONGEST_HISTORY:]
    while len(text := json.dumps(kept, ensure_ascii=False)) > MOST_IN_A_TAG and len(kept) > 1:
        kept = kept[1:]
    return text


def _stays(lines: list[dict[str, Any]], recipe: Recipe, search: dict[str, Any] | None) -> bool:
    """Whether a run that comes with this recipe leaves a version with this history as it is."""
    by_runs = [line for line in lines if line.get("search") or line.get("given") or line.get("rejected")]
    last = by_runs[-1] if by_runs else {}
    if search:
        return bool(last.get("search") == search)
    if not recipe.changed:
        return not lines or not lines[-1].get("given") or lines[-1]["digest"] == recipe.digest
    return bool(last.get("given")) and last["digest"] == recipe.digest


def adopt_searched(
    client: "MlflowClient", name: str, version: str, judged: dict[str, Any] | None, digest: str, by: str
) -> str:
    """Make the recipe that a search found, or that params.yaml holds, the version's own, if the report confirmed it.

    One that an earlier run made its own is taken back where it now fails a gate or is worse than the default one, and
    so is one that an earlier search found, where this search confirmed none: the default one takes its place.

    Args:
        judged: the section `recipe` of the evaluation; None where the search kept the default recipe.
        digest: sha256 of the record of the search.

    Returns:
        What became of the version's recipe, as a sentence; '' where the report did not confirm the new one, and the
        version was not drawn with it.

    Raises:
        Busy: a promotion or a withdrawal of the model takes longer than `PATIENCE` seconds.
    """
    if judged is None:
        return ""
    if not judged["adopted"]:
        told = _take_back(client, name, version, judged, by)
        return told if told or judged.get("given") else give_searched_default(client, name, version, digest, by)
    recipe = recipe_of(judged["recipe"], "the recipe of the evaluation")
    if judged.get("given"):
        fresh = set_recipe(client, name, version, recipe, by, judged["sentence"], given=True, patience=PATIENCE)
        return _told(client, name, version, recipe, judged["sentence"], fresh)
    suite = judged["search"]["suite"]
    search = {
        "digest": digest,
        "suite": suite["name"],
        "suite_digest": suite["digest"],
        "pictures": judged["search"]["pictures"]["drawn"],
    }
    fresh = set_recipe(client, name, version, recipe, by, judged["sentence"], search, patience=PATIENCE)
    return _told(client, name, version, recipe, judged["sentence"], fresh)


def _take_back(client: "MlflowClient", name: str, version: str, judged: dict[str, Any], by: str) -> str:
    """Set the default recipe where a run had set the one that now fails a gate or is worse; what a person set stays."""
    if not (judged.get("newly_failed") or _is_worse(judged)):
        return ""
    why, digest = f"{judged['sentence']} The default one takes its place.", str(judged.get("digest", ""))
    return _default_instead(client, name, version, by, why, lambda lines: _by_a_run(lines, digest))


def _is_worse(judged: dict[str, Any]) -> bool:
    """Whether the model is worse with this recipe than with the default one."""
    gains = judged.get("gains") or ()
    return any(gain["metric"] == "merit" and gain["verdict"] == "worse" for gain in gains)


def give_searched_default(client: "MlflowClient", name: str, version: str, digest: str, by: str) -> str:
    """Go back to the default recipe from one that an earlier search found, after a search that confirmed no other.

    Args:
        digest: sha256 of the record of the later search.

    Returns:
        What became of the version's recipe, as a sentence; '' where it stays as it is.

    Raises:
        Busy: a promotion or a withdrawal of the model takes longer than `PATIENCE` seconds.
    """
    why = "A later search confirmed no recipe that is better than the default one, which becomes the model's own."
    return _default_instead(client, name, version, by, why, lambda lines: _by_another_search(lines, digest))


def _default_instead(
    client: "MlflowClient", name: str, version: str, by: str, why: str, instead_of: Callable[[History], bool]
) -> str:
    """Set the default recipe in the place of one of which `instead_of` holds; `why` where it was set, else ''.

    It is asked before the wait for a promotion, and again when none is under way.
    """
    if not instead_of(recipe_history(dict(client.get_model_version(name, version).tags))):
        return ""
    fresh = set_recipe(client, name, version, Recipe(), by, why, instead_of=instead_of, patience=PATIENCE)
    return why if fresh else ""


def _by_another_search(lines: list[dict[str, Any]], digest: str) -> bool:
    """Whether a search with another record found the newest recipe."""
    search = (lines[-1].get("search") if lines else None) or {}
    return bool(search) and search["digest"] != digest


def _by_a_run(lines: list[dict[str, Any]], digest: str) -> bool:
    """Whether the newest recipe has this digest, and a run set it."""
    return bool(lines) and bool(lines[-1].get("search") or lines[-1].get("given")) and lines[-1]["digest"] == digest


def give_default(client: "MlflowClient", name: str, version: str, by: str) -> str:
    """Take back the recipe that an earlier params.yaml gave a version, for a run whose params.yaml has none.

    Returns:
        What became of the version's recipe, as a sentence; '' where it stays.

    Raises:
        Busy: a promotion or a withdrawal of the model takes longer than `PATIENCE` seconds.
    """
    if _stays(recipe_history(dict(client.get_model_version(name, version).tags)), Recipe(), None):
        return ""
    why = "params.yaml holds no recipe any more: the default one becomes the model's own."
    return why if set_recipe(client, name, version, Recipe(), by, why, given=True, patience=PATIENCE) else ""


def _told(client: "MlflowClient", name: str, version: str, recipe: Recipe, sentence: str, fresh: bool) -> str:
    """What a run's recipe became: `sentence` where it was set now, else what the version is drawn with instead."""
    if fresh:
        return sentence
    tags = dict(client.get_model_version(name, version).tags)
    if recipe_in(tags, f"{name} version {version}").digest == recipe.digest:
        return f"{name} version {version} is drawn with recipe {recipe.digest[:16]} already."
    last = recipe_history(tags)[-1]
    return (
        f"{name} version {version} keeps recipe {last['digest'][:16]}, which {last['by']} set at {last['at']} in place "
        f"of {recipe.digest[:16]}, the one of this run; `dreamtrace recipe use` sets another one."
    )


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


def registered_tags(content: str, version: tuple[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """Title and tags of the registered version that a model was loaded as; none where no registry knows it.

    Only a store that somebody named is asked: a served model may run where there is none.

    Args:
        content: the content digest of the model.
        version: its name and number; None: it was loaded by another address, such as that of its run.

    Raises:
        RecipeError: several versions have this content and different recipes, one of them may be damaged, and nobody
            says which one the model was loaded as.
        StoreError: the store that somebody named does not answer, or refuses.
    """
    if not is_named():
        return "", {}
    try:
        with store_in_use():
            versions = versions_with(connect(Path()), "content_digest", content)
    except StoreSilent as error:
        raise StoreSilent(f"{error}; {ASKED_FOR_A_RECIPE}") from None
    if same := [one for one in versions if (str(one.name), str(one.version)) == version]:
        return _title(same[0]), dict(same[0].tags)
    refuse_different(versions, "load it by one of these, as models:/NAME/VERSION")
    usable = _usable(versions)
    return (_title(usable[0]), dict(usable[0].tags)) if usable else ("", {})


def refuse_different(versions: list[Any], instead: str) -> None:
    """Refuse versions of one content that are drawn with different recipes, where nobody says which one is meant.

    Args:
        instead: what to do about it, for the message.

    Raises:
        RecipeError: they are, or the recipe of one of them is damaged.
    """
    found = {_title(one): recipe_in(dict(one.tags), _title(one)) for one in _usable(versions)}
    if len({recipe.digest for recipe in found.values()}) > 1:
        raise RecipeError(f"this model is {joined(list(found))}, which are drawn with different recipes; {instead}")


def _usable(versions: list[Any]) -> list[Any]:
    """The versions that have their weights; all, where none has."""
    return [one for one in versions if DELETED not in one.tags] or versions


def _title(version: Any) -> str:
    return f"{version.name} version {version.version}"


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
