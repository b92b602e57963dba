"""`dreamtrace recipe`: how a model is drawn with."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.publish import publish_where_set
from pipeline.environment import user_name

REF = typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION")
BY = typer.Option(help="who; default: the user of this machine")


def show(
    ref: Annotated[str | None, typer.Argument(help="a registered version; none: every key and its default")] = None,
) -> None:
    """Print the recipe of a version as YAML, or every key of a recipe with its default."""
    import yaml

    from pipeline.sampling.recipe import Recipe

    if ref is None:
        print(yaml.safe_dump(Recipe().model_dump(), sort_keys=False).strip())
        return
    version = _version(ref)
    from pipeline.registry.recipes import recipe_history, recipe_in
    from pipeline.sampling.recipe import recipe_text

    recipe = recipe_in(version.tags, _title(version))
    for line in recipe_history(version.tags):
        reason = f": {line['why']}" if line["why"] else ""
        told = f"{line['at']} {line['digest'][:16]} by {line['by']}{reason}"
        print("\n".join(f"# {one}".rstrip() for one in told.splitlines()))
    print(recipe_text(recipe).strip() if recipe.changed else "# the default recipe")


def check(
    file: Annotated[Path, typer.Argument(help="the recipe, a YAML file")],
    model: Annotated[
        str, typer.Option(help="the model to use it with: other models that it names are looked up, too")
    ] = "",
) -> None:
    """Check a recipe file."""
    from pipeline.sampling.recipe import read_recipe

    recipe = read_recipe(file)
    if model:
        from pipeline.registry.lookup import find_record
        from pipeline.registry.recipe_models import recipe_parts

        with find_record(Path(), model) as found, recipe_parts(Path(), recipe, found.lineage, found, True) as parts:
            for name, other in parts.models.items():
                print(f"{name} is {other.title}, content {other.lineage['weights']['content_digest'][:16]}")
            if parts.adapter is not None:
                print(f"control.adapter {parts.adapter.name} has digest {parts.adapter.digest}")
            if parts.reference is not None:
                print(f"reference.adapter {parts.reference.name} has digest {parts.reference.digest}")
    changed = ", ".join(f"{key} {value!r}" for key, value in recipe.changed.items()) or "nothing: it is the default"
    print(f"{file} is fine ({recipe.digest[:16]}); it changes {changed}")


def use(
    ref: Annotated[str, REF],
    file: Annotated[Path, typer.Argument(help="the recipe, a YAML file")],
    reason: Annotated[str, typer.Option("--reason", "--why", help="why; kept on record")] = "",
    by: Annotated[str, BY] = "",
) -> None:
    """Make a recipe the one that a version is drawn with; its weights, verdict and aliases stay as they are.

    Other models that it names, and its adapters, are kept with their digests; versions by number.
    """
    from pipeline.sampling.recipe import read_recipe

    _set(_version(ref), read_recipe(file), by, reason, written=True)


def back(ref: Annotated[str, REF], by: Annotated[str, BY] = "") -> None:
    """Go back to the recipe that a version had before; other models that it names are looked up as for a new one."""
    from pipeline.registry.recipes import earlier_recipe, recipe_in

    version = _version(ref)
    seen = recipe_in(version.tags, _title(version)).digest
    _set(version, earlier_recipe(version.tags, _title(version)), by, "back to the recipe before", seen=seen)


def _set(version: Any, recipe: Any, by: str, why: str, written: bool = False, seen: str = "") -> None:
    from pipeline.registry.aliases import champion_of
    from pipeline.registry.recipe_change import change_recipe
    from pipeline.registry.store import connect

    number, who = str(version.version), by.strip() or user_name()
    recipe = change_recipe(Path(), version.name, number, recipe, who, why, written, seen)
    print(f"{_title(version)} is drawn with recipe {recipe.digest[:16]} from now on")
    if champion_of(connect(Path()), version.name) == number:  # asked now: a promotion may have made it the champion
        publish_where_set(version.name, who, "The recipe itself is set")


def _version(ref: str) -> Any:
    from pipeline.registry.lookup import registered_version

    return registered_version(Path(), ref)


def _title(version: Any) -> str:
    return f"{version.name} version {version.version}"
