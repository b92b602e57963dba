"""`dreamtrace push-to-hub`: a model on the Hugging Face hub, with its card."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.errors import CommandError, registry_failures
from pipeline.files import read_json
from pipeline.layout import EVALUATION

if TYPE_CHECKING:
    from pipeline.registry.found import Found


def push_to_hub(
    ref: Annotated[str, typer.Argument(help="any reference that `trace` accepts")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="the repository on the hub")],
    public: Annotated[bool, typer.Option("--public", help="a new repository that everybody can read")] = False,
    with_record: Annotated[
        bool, typer.Option("--with-record", help="upload lineage.json too: it names photos, captions and code changes")
    ] = False,
) -> None:
    """Upload a model and its card to the Hugging Face hub, where `hf auth login` logged in."""
    from pipeline.registry.hub_card import hub_card
    from pipeline.registry.lookup import find_record
    from pipeline.registry.publication import remember_hub
    from pipeline.registry.recipes import recipe_in
    from pipeline.sampling.recipe import NAMES_A_FOLDER, recipe_text, without_folders
    from pipeline.storage.hub import push_folder

    with registry_failures(), find_record(Path(), ref) as found:
        _refuse_withdrawn(found)
        if found.model is None:
            raise CommandError(found.why_without_weights)
        recipe = recipe_in(found.tags or {}, found.title)
        judged = (found.files or Path()) / EVALUATION.name if found.files is not None else None
        evaluation = _read(judged, found.title) if judged is not None and judged.is_file() else None
        card = hub_card(found.lineage, evaluation, repository, recipe)
        text = recipe_text(recipe) if recipe.changed else None
        if without_folders(recipe.changed) != recipe.changed:
            raise CommandError(f"the recipe of {found.title} {NAMES_A_FOLDER}")
        for name, version in _versions(found):  # a withdrawal has to know where it went
            remember_hub(Path(), name, version, repository)
        _refuse_withdrawn(found)  # once more: one that came after the first look did not see where it goes
        address = push_folder(found.model, repository, card, not public, with_record, text)
    print(f"{found.title} is at {address}")


def _refuse_withdrawn(found: "Found") -> None:
    from pipeline.registry.withdrawal_state import withdrawal_of

    if (why := withdrawal_of(Path(), found)) is not None:
        raise CommandError(f"{found.title} was withdrawn: {why}")


def _versions(found: "Found") -> set[tuple[str, str]]:
    """The registered versions that have the files which are sent, also where somebody names their folder."""
    from pipeline.registry.store import connect, has_store
    from pipeline.registry.versions import versions_with

    known = {found.version} if found.version is not None else set()
    if not has_store(Path()):
        return known
    digest = found.lineage["weights"]["content_digest"]
    same = versions_with(connect(Path()), "content_digest", digest)
    return known | {(str(one.name), str(one.version)) for one in same}


def _read(file: Path, title: str) -> dict[str, Any]:
    """An evaluation, of which the card needs the verdict and the gates."""
    try:
        evaluation = read_json(file)
        evaluation["verdict"]["sentence"], evaluation["gates"]
        return dict(evaluation)
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"the evaluation of {title} cannot be read: {error!r}") from None
