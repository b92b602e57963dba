"""What the commands around the champion do: promote, rollback, publish, fetch."""

import getpass
import os
from pathlib import Path

from pipeline.launch import NOTHING_TO_SAY, LaunchError


def run_promotion(workspace: Path, ref: str, by: str, reason: str, force: bool, allow_unclean: bool, ask: bool) -> None:
    """Run the flow `promote` in this process and print what came of it; a refusal is an error without a trace.

    Raises:
        LaunchError: forced without a reason, or a question that nobody could see.
        UserError: see `pipeline.registry.promotion`.
    """
    if force and not reason:
        raise LaunchError("--force needs --reason: it is kept on record")
    if ask and not os.environ.get("PREFECT_API_URL"):
        raise LaunchError("--ask needs a Prefect server that shows the question: set PREFECT_API_URL")
    for name, value in {**NOTHING_TO_SAY, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}.items():
        os.environ.setdefault(name, value)
    from flows.promote import promote

    sentence = promote(
        ref=ref,
        workspace=workspace.resolve(),
        by=by or getpass.getuser(),
        reason=reason,
        force=force,
        allow_unclean=allow_unclean,
        ask=ask,
    )
    print(sentence)


def run_rollback(workspace: Path, name: str, by: str, reason: str) -> None:
    """Make the previous champion the champion again, and say so.

    Raises:
        UserError: see `pipeline.registry.promotion`.
    """
    from pipeline.registry.promotion import rollback
    from pipeline.registry.publication import place_of, publish_champion, told

    who = by or getpass.getuser()
    moved = rollback(workspace, name, who, reason)
    print(f"{name} version {moved.version} is the champion again, instead of version {moved.before}.")
    to = place_of(workspace)
    if to is not None:
        print(told(publish_champion(workspace, name, to, who), to))


def run_publication(workspace: Path, name: str, to: str, by: str) -> None:
    """Bring the champion to S3, or finish what was cut off, and say so.

    Raises:
        LaunchError: nobody says where to.
        UserError: see `pipeline.registry.publication`.
    """
    from pipeline.registry.publication import place_of, publish_champion, told

    place = to or place_of(workspace)
    if place is None:
        raise LaunchError("publish.to in params.yaml names no place; set it, or give --to s3://bucket/prefix")
    print(told(publish_champion(workspace, name, place, by or getpass.getuser()), place))


def run_fetch(url: str, to: Path | None) -> None:
    """Download a published champion, verify it, and say where it lies.

    Raises:
        StorageError: see `pipeline.storage.publish.fetch`.
    """
    from pipeline.storage.publish import fetch
    from pipeline.storage.s3 import read_url

    target = to or Path(read_url(url).prefix.rpartition("/")[2] or "champion")
    pointer = fetch(url, target)
    print(f"{pointer['model']} version {pointer['version']} lies in {target / 'model'}, every file verified")
    print(f"  made from  dreamtrace trace {target / 'model'}")
