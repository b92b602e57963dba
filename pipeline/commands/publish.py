"""`dreamtrace publish` and `fetch`: champions on S3."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.errors import CommandError, registry_failures
from pipeline.environment import user_name


def publish(
    name: Annotated[str, typer.Argument(help="the registered model whose champion it is")],
    to: Annotated[str, typer.Option(help="s3://bucket/prefix; default: publish.to of params.yaml")] = "",
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Upload the champion to S3; after an interruption the same command resumes."""
    from pipeline.registry.publication import publish_champion, publish_to, published_sentence

    place = to or publish_to(Path())
    if place is None:
        raise CommandError("publish.to in params.yaml is not set; set it, or pass --to s3://bucket/prefix")
    with registry_failures():
        print(published_sentence(publish_champion(Path(), name, place, by or user_name()), place))


def publish_where_set(name: str, by: str, done: str) -> None:
    """Publish the champion of the workspace after a command that changed it, and say so: see `publication`."""
    from pipeline.registry import publication

    if published := publication.publish_where_set(Path(), name, by, done):
        print(published)


def fetch(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix/NAME")],
    to: Annotated[Path | None, typer.Option(help="the folder to make; default: NAME")] = None,
) -> None:
    """Download a published champion and verify every file of it."""
    from pipeline.storage.fetch import fetch as download
    from pipeline.storage.s3 import read_url

    target = to or Path(read_url(url).prefix.rpartition("/")[2] or "champion")
    pointer = download(url, target)
    print(f"{pointer['model']} version {pointer['version']} is in {target / 'model'}; every file was verified")
    print(f"  made from  dreamtrace trace {target / 'model'}")
    (target / "recipe.yaml").unlink(missing_ok=True)  # of a champion that was fetched before
    if "recipe" in pointer:
        file = _write_recipe(pointer, target)
        print(f"  drawn with dreamtrace generate PROMPT --model {target / 'model'} --recipe {file}")


def _write_recipe(pointer: dict[str, Any], target: Path) -> Path:
    """The recipe that the champion is drawn with, as a file beside the model."""
    from pipeline.files import write_text
    from pipeline.sampling.recipe import recipe_of, recipe_text

    try:
        values = json.loads(pointer["recipe"])
    except (ValueError, TypeError):
        values = pointer["recipe"]
    recipe = recipe_of(values, "the published recipe")
    if recipe.digest != pointer.get("recipe_digest"):
        raise CommandError("the published recipe is not the one that its digest names; the model itself was verified")
    write_text(target / "recipe.yaml", recipe_text(recipe))
    return target / "recipe.yaml"
