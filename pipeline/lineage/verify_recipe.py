"""The recipe of a registered version: what its tags say of it, and the record of the search that found it."""

import json
from collections.abc import Iterable
from typing import Any

from pipeline.files import digest_file, digest_value
from pipeline.layout import SEARCH
from pipeline.lineage.links import Evidence, Link, same, shortened

RECIPE, HISTORY = "recipe", "recipe_history"  # tags of a version


def search_file(digest: str) -> str:
    """The name of the record of a search in the record of a version, by its sha256: each search has its own."""
    return f"{SEARCH.stem}-{digest[:16]}{SEARCH.suffix}"


def recipe_links(lineage: dict[str, Any], evidence: Evidence) -> Iterable[Link]:
    """The present recipe against the newest line of its history, and that line's search against its record."""
    if evidence.tags is None or not {RECIPE, HISTORY} & evidence.tags.keys():
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


def _search_link(digest: str, evidence: Evidence) -> Link:
    if evidence.files is None:
        return Link("recipe search", "unknown", "the record in its run is gone or could not be read")
    own, latest = evidence.files / search_file(digest), evidence.files / SEARCH.name
    if own.is_file():
        return same("recipe search", digest, digest_file(own), f"digest of {own.name}")
    if latest.is_file() and digest_file(latest) == digest:  # older versions kept the latest search alone
        return Link("recipe search", "verified", f"digest of {latest.name} {shortened(digest)}")
    return Link("recipe search", "unknown", f"the record {shortened(digest)} of the search is not kept any more")
