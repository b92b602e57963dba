"""The recipe of a call to a served model: the version's own, or one that the caller sends, within what it may name."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import all_problems
from pipeline.lineage.verify_files import WRITTEN_BY_MLFLOW
from pipeline.registry.lookup import REFERENCE
from pipeline.sampling.recipe import Recipe, RecipeError, without_folders, written_recipe
from pipeline.yaml_files import YamlError, read_yaml

WHERE = "the parameter recipe"
MOST_KEPT = 2  # models that callers named and that stay loaded: each holds the memory of a whole pipeline


def loaded_version(folder: Path) -> tuple[str, str] | None:
    """Name and number of the version as which MLflow loaded the model in its folder; None: as no version."""
    try:
        found = read_yaml(folder / WRITTEN_BY_MLFLOW)
        return str(found["model_name"]), str(found["model_version"])
    except (OSError, YamlError, KeyError, TypeError):
        return None


def kept_models(loaded: Mapping[str, Any], own: Collection[str], used: Collection[str]) -> dict[str, Any]:
    """The models that stay loaded for further calls: the version's own, and the `MOST_KEPT` that callers named last.

    Args:
        loaded: by content digest, those of the latest calls last.
        own: digests of the models that the version's own recipe names.
        used: digests of the models of this call.
    """
    latest = [digest for digest in loaded if digest not in used] + [digest for digest in loaded if digest in used]
    kept = [digest for digest in latest if digest not in own][-MOST_KEPT:]
    return {digest: loaded[digest] for digest in latest if digest in own or digest in kept}


def recipe_of_call(text: str, own: Recipe, named: Collection[str], pictures: Mapping[str, str]) -> Recipe:
    """The recipe that a call is answered with.

    Callers are strangers: files of the server and repositories of the hub that their recipe names are not touched,
    unless the version's own recipe names them.

    Args:
        text: the recipe that the caller sends, JSON; '': the version's own.
        own: the recipe of the version.
        named: parameters such as `steps` that the caller named: their values in the recipe do not count.
        pictures: what the caller sends as `control` and `reference`, '' where nothing.

    Raises:
        RecipeError: it is no recipe, names what a caller may not name, or has no use for a picture that was sent.
    """
    recipe = own
    if text.strip():
        try:
            values = json.loads(text)
        except ValueError as error:
            raise RecipeError(f"{WHERE} is not JSON ({error})") from None
        recipe = _within(written_recipe(values, WHERE), own)
    for key, sent in pictures.items():
        if sent and getattr(recipe, key) is None:
            raise RecipeError(f"the parameter {key} needs a recipe with the key {key}, and this one has none")
    return recipe.model_copy(update=dict.fromkeys({"steps", "guidance"} & set(named)))


def _within(recipe: Recipe, own: Recipe) -> Recipe:
    """The recipe of a caller with the adapters and the other models as the version's recipe pins them."""
    if problems := list(_strange(recipe, own)):
        raise RecipeError(all_problems(WHERE, problems))
    pinned: dict[str, Any] = {}
    for key in ("control", "reference"):
        one, ours = getattr(recipe, key), getattr(own, key)
        if one is not None and ours is not None and one.adapter == ours.adapter:
            pinned[key] = one.model_copy(update={"revision": ours.revision, "digest": ours.digest})
    for key in ("adapters", "regions"):
        pinned[key] = tuple(
            part.model_copy(update={"digest": digest}) if (digest := own.others.get(part.model)) else part
            for part in getattr(recipe, key)
        )
    return recipe.model_copy(update=pinned)


def _strange(recipe: Recipe, own: Recipe) -> Iterator[str]:
    for name, digest in recipe.others.items():
        if name not in own.others and not REFERENCE.match(name):
            yield f"'{name}': a served model draws along with registered models alone: models:/NAME/VERSION or @ALIAS"
        if digest is not None and own.others.get(name) not in (None, digest):
            yield f"'{name}': a served model takes it as its version's recipe names it, with digest {own.others[name]}"
    for key, fixed in (("control", ("adapter",)), ("reference", ("adapter", "weights", "encoder"))):
        one, ours = getattr(recipe, key), getattr(own, key)
        if one is None:
            continue
        if ours is None or one.adapter != ours.adapter:
            if key == "control" and one.adapter == "base":
                continue
            yield (
                f"{key}: a served model takes no adapter but the one of its version's recipe, which "
                f"{f'is {without_folders(ours.adapter)}' if ours is not None else 'has none'}; `dreamtrace recipe use` "
                "sets one"
            )
            continue
        differing = [part for part in fixed if getattr(one, part) != getattr(ours, part)]
        pins = ("revision", "digest")
        differing += [part for part in pins if getattr(one, part) not in (None, getattr(ours, part))]
        for part in differing:
            pinned = getattr(ours, part)
            named = "without one" if pinned is None else f"with {pinned}"
            yield f"{key}.{part}: a served model takes the adapter as its version's recipe names it, {named}"
