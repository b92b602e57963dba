"""The recipe of a registered version: what its tags say of it, and the record of the search that found it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.files import digest_file, digest_value, read_json
from pipeline.layout import EVALUATION, SEARCH
from pipeline.lineage.links import Evidence, Link, same, shortened

RECIPE, HISTORY = "recipe", "recipe_history"  # tags of a version
FULL = 50, 50_000  # lines, or characters, of a history from which older lines may have been dropped


def search_file(digest: str) -> str:
    """The name of the record of a search in the record of a version, by its sha256: each search has its own."""
    return f"{SEARCH.stem}-{digest[:16]}{SEARCH.suffix}"


def recipe_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The present recipe against the newest line of its history, and that line's search against its record."""
    if evidence.tags is None:
        return
    if not {RECIPE, HISTORY} & evidence.tags.keys():
        yield from _adopted_links([], evidence)
        return
    try:
        recipe = json.loads(evidence.tags.get(RECIPE, "{}"))
        lines = json.loads(evidence.tags.get(HISTORY, "[]"))
        newest, search = str(lines[-1]["digest"]), (lines[-1].get("search") or {}).get("digest")
    except (ValueError, LookupError, TypeError, AttributeError):
        yield Link("recipe", "broken", f"the tags {RECIPE} and {HISTORY} of the version cannot be read")
        return
    yield same("recipe", newest, digest_value(recipe), "digest of the recipe, in the newest line of its history,")
    if search is not None:
        yield _search_link(str(search), evidence)
    if len(lines) < FULL[0] and len(evidence.tags[HISTORY]) < FULL[1]:
        yield from _adopted_links(lines, evidence)


def _adopted_links(lines: list[Any], evidence: Evidence) -> Iterable[Link]:
    """Unknown where the evaluation adopted a recipe that no line of a history names from which none was dropped: the
    tags were changed, or the registration was cut off.
    """
    file = (evidence.files or Path()) / EVALUATION.name
    if evidence.files is None or not file.is_file():
        return
    try:
        judged = read_json(file).get("recipe") or {}
        adopted = str(judged["digest"]) if judged.get("adopted") else None
        named = {line.get("digest") for line in lines}
    except (ValueError, KeyError, AttributeError):
        return  # the link of the evaluation says so
    if adopted is not None and adopted not in named:
        text = f"{file.name} adopted recipe {shortened(adopted)}, and no line of the version's history names it"
        yield Link("recipe", "unknown", f"{text}; registering the version again sets it")


def _search_link(digest: str, evidence: Evidence) -> Link:
    if evidence.files is None:
        return Link("recipe search", "unknown", "the record in its run is gone or could not be read")
    own, latest = evidence.files / search_file(digest), evidence.files / SEARCH.name
    if own.is_file():
        return same("recipe search", digest, digest_file(own), f"digest of {own.name}")
    if latest.is_file() and digest_file(latest) == digest:  # older versions kept the latest search alone
        return Link("recipe search", "verified", f"digest of {latest.name} {shortened(digest)}")
    return Link("recipe search", "unknown", f"the record {shortened(digest)} of the search is not kept any more")
