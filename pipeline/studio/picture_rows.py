"""Pictures of versions side by side: a row for each prompt and noise, and why there is none to show."""

from collections.abc import Sequence
from typing import Any

from pipeline.errors import counted
from pipeline.evaluation.report_inputs import picture_file
from pipeline.registry.overview import VersionFacts
from pipeline.studio.version_files import VersionFiles

Shown = tuple[VersionFacts, VersionFiles]


def rows_of(found: Sequence[Shown], prompt: str) -> list[dict[str, Any]]:
    """A row for each prompt and noise that all versions with a report drew: the base's picture and those of the
    versions. A cell says its own words where they are not those of the row: the base is asked for a prompt's twin, and
    models of two subjects have prompts of the same name.
    """
    found = _with_report(found)
    if not found:
        return []
    first, of_first = found[0]
    others = [kept.noises() for _, kept in found[1:]]
    shared = {
        place: noise for place, noise in of_first.noises().items() if all(other.get(place) == noise for other in others)
    }
    models, base = {version.model for version, _ in found}, _base_title(found)
    rows: list[dict[str, Any]] = []
    for (name, seed), noise in shared.items():
        if prompt and name != prompt:
            continue
        words = of_first.prompts.get(name, name)
        cells: list[dict[str, str]] = []
        if _there(of_first, file := picture_file("base", name, seed)):
            twin = of_first.twins.get(name, words)
            told = {"title": base, "words": twin if twin != words else ""}
            cells.append({**told, "file": _address(first, file), "back": ""})
        for version, kept in found:
            own = kept.prompts.get(name, name)
            if _there(kept, file := picture_file("tuned", name, seed)):
                back = f"/back/{version.model}/{version.version}/{name}/{seed}"
                told = {"title": _title(version, models), "words": own if own != words else ""}
                cells.append({**told, "file": _address(version, file), "back": back})
        if cells:
            rows.append({"words": words, "seed": noise, "cells": cells})
    return rows


def problems_of(found: Sequence[Shown]) -> list[str]:
    """What keeps pictures of these versions from being shown: no report, or files that are missing from it."""
    problems = []
    for version, kept in found:
        kinds = [(kind, place) for kind in ("base", "tuned") for place in kept.noises(kind)]
        lost = 0 if kept.report is None else sum(not _there(kept, picture_file(kind, *at)) for kind, at in kinds)
        if kept.without_report:
            problems.append(kept.without_report)
        elif lost:
            are = "is" if lost == 1 else "are"
            problems.append(f"{counted(lost, 'picture')} of {_named(version)} {are} missing from its report")
    return problems


def why_no_rows(found: Sequence[Shown], prompt: str) -> str:
    """Why `rows_of` has nothing, as a sentence for the page."""
    found = _with_report(found)
    if not found:
        return "There are no pictures to show."
    words = next((kept.prompts[prompt] for _, kept in found if prompt in kept.prompts), "")
    if prompt and not words:
        return f"No prompt here is called “{prompt}”; choose one of the list."
    without = [_named(version) for version, kept in found if prompt and prompt not in kept.prompts]
    if without:
        return f"{' and '.join(without)} was judged without the prompt “{words}”; choose another one, or all."
    places = [{place for place in kept.noises() if place[0] == (prompt or place[0])} for _, kept in found]
    shared = set.intersection(*places)
    if not shared:
        return "These versions were judged with other prompts or seeds: they have none in common."
    noises = [kept.noises() for _, kept in found]
    if not any(len({each[place] for each in noises}) == 1 for place in shared):
        return (
            "These versions drew the same prompts from different noises, so that their pictures cannot stand side by "
            "side; choose the same version on both sides to see its own."
        )
    return "The pictures are missing from the report."


def _with_report(found: Sequence[Shown]) -> list[Shown]:
    return [(version, kept) for version, kept in found if kept.report is not None]


def _base_title(found: Sequence[Shown]) -> str:
    """What the base of the first version is called: that version's where another one has a base of other content."""
    bases = {kept.base or kept.params["base"]["model"] for _, kept in found}
    return "base" if len(bases) == 1 else f"base of {_title(found[0][0], {version.model for version, _ in found})}"


def _title(version: VersionFacts, models: set[str]) -> str:
    """What a version is called under its picture: with its model's name where pictures of another one stand beside."""
    named = f"{version.model} version" if len(models) > 1 else "version"
    return f"{named} {version.version}" + (f" ({', '.join(version.aliases)})" if version.aliases else "")


def _named(version: VersionFacts) -> str:
    return f"{version.model} version {version.version}"


def _address(version: VersionFacts, file: str) -> str:
    return f"/pictures/of/{version.model}/{version.version}/{file}"


def _there(kept: VersionFiles, file: str) -> bool:
    return kept.report is not None and (kept.report / file).is_file()
