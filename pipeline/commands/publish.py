"""`dreamtrace publish` and `fetch`: champions on S3."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError
from pipeline.environment import user_name


def publish(
    name: Annotated[str, typer.Argument(help="the registered model whose champion it is")],
    to: Annotated[str, typer.Option(help="s3://bucket/prefix; default: publish.to of params.yaml")] = "",
    by: Annotated[str, typer.Option(help="who; default: the user of this machine")] = "",
) -> None:
    """Bring the champion to S3; called again, it goes on where it was cut off."""
    from pipeline.registry.publication import place_of, publish_champion, told

    place = to or place_of(Path())
    if place is None:
        raise CommandError("publish.to in params.yaml names no place; set it, or give --to s3://bucket/prefix")
    print(told(publish_champion(Path(), name, place, by or user_name()), place))


def fetch(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix/NAME")],
    to: Annotated[Path | None, typer.Option(help="the folder to make; default: NAME")] = None,
) -> None:
    """Download a published champion and verify every file of it."""
    from pipeline.storage.publish import fetch as download
    from pipeline.storage.s3 import read_url

    target = to or Path(read_url(url).prefix.rpartition("/")[2] or "champion")
    pointer = download(url, target)
    print(f"{pointer['model']} version {pointer['version']} lies in {target / 'model'}, every file verified")
    print(f"  made from  dreamtrace trace {target / 'model'}")
