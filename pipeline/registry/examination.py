"""Objections to a version that is to become the champion."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.evaluation.comparison import NotComparable, compare
from pipeline.evaluation.promotion_floor import evidence_objections, loosened
from pipeline.layout import EVALUATION
from pipeline.lineage.deleted import deletion_of
from pipeline.lineage.links import verdict
from pipeline.lineage.tags import WITHDRAWN
from pipeline.lineage.verify import verify
from pipeline.registry.aliases import champion_of
from pipeline.registry.found import Found
from pipeline.registry.lookup import find_record, read_evaluation
from pipeline.registry.recipe_others import unusable_others
from pipeline.registry.recipes import recipe_in
from pipeline.registry.reviews import rejection_objections
from pipeline.registry.store import connect
from pipeline.registry.versions import withdrawn_version
from pipeline.registry.withdrawn_photos import Matches, matches, withdrawn_photos
from pipeline.sampling.recipe import RecipeError

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Refused(UserError):
    """The version may not become the champion; the message lists why."""


@dataclass(frozen=True)
class Examined:
    """The result of examining a version that is to become the champion.

    `objections` can be overridden with a reason, `forbidden` (withdrawals, deleted weights, a recipe that draws with
    such a version) cannot. `rejected` are the objections that a person's later yes lifts: an earlier no.
    """

    model: str
    version: str
    champion: str | None
    objections: list[str]
    comparison: dict[str, Any] | None
    report: str
    forbidden: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)

    @property
    def decision(self) -> str:
        """How it compares with the champion."""
        return "no champion yet" if self.champion is None else (self.comparison or {}).get("decision", "not comparable")

    def approved(self) -> "Examined":
        """The same after a person's yes, which is newer than any no."""
        rest = [line for line in self.objections if line not in self.rejected]
        return replace(self, objections=rest, rejected=[])


def examine(workspace: Path, ref: str, allow_unclean: bool = False) -> Examined:
    """Every objection to making a version the champion: gates, people, code, withdrawal, the chain, the champion.

    Raises:
        UnknownVersion: `ref` names no registered version.
        Refused: it is not registered.
    """
    client = connect(workspace)
    with find_record(workspace, ref) as found:
        name, number, tags = _registered(found, ref)
        withdrawn, alike = _withdrawal(client, name, found)
        unusable, unknown = recipe_objections(client, tags, found.title)
        evaluation, objections = _evidence(found, tags)
        rejected = rejection_objections(tags)
        objections += [
            *rejected,
            *alike,
            *unknown,
            *_clean(found, allow_unclean),
            *_chain(workspace, found),
        ]
        champion = champion_of(client, name)
        comparison = None
        if champion not in (None, number) and evaluation is not None:
            comparison, against = _compare(workspace, name, str(champion), evaluation)
            objections += against
        digest = str(tags.get("content_digest"))[:16]
        report = f"runs:/{found.facts['MLflow run']}/report/{digest}"
        return Examined(name, number, champion, objections, comparison, report, [*withdrawn, *unusable], rejected)


def withdrawal_objections(
    client: "MlflowClient", tags: dict[str, str], found: Matches, base: str
) -> tuple[list[str], list[str]]:
    """What forbids a promotion, and what a person may decide, about the withdrawn photos of a version and its base.

    Args:
        base: the digest of the base that the version was trained on.
    """
    forbidden = [f"it was withdrawn: {tags[WITHDRAWN]}"] if WITHDRAWN in tags else []
    if (deletion := deletion_of(tags)) is not None:
        forbidden.append(f"its {deletion}")
    if found.exact:
        forbidden.append(f"it was trained on photos that were withdrawn: {', '.join(found.exact)}")
    if withdrawn := withdrawn_version(client, base):
        forbidden.append(f"it was trained on {withdrawn}, which was withdrawn")
    alike = [f"a photo looks like one that was withdrawn: {', '.join(found.near)}"] if found.near else []
    return forbidden, alike


def _registered(found: Found, ref: str) -> tuple[str, str, dict[str, str]]:
    if found.tags is None or " version " not in found.title:
        raise Refused(f"'{ref}' is not a registered version: only those can be promoted; name models:/NAME/VERSION")
    name, _, number = found.title.rpartition(" version ")
    return name, number, found.tags


def _withdrawal(client: "MlflowClient", name: str, found: Found) -> tuple[list[str], list[str]]:
    photos = matches(found.lineage["photos"]["files"], withdrawn_photos(client, name))
    return withdrawal_objections(client, found.tags or {}, photos, found.lineage["base"]["digest"])


def recipe_objections(client: "MlflowClient", tags: dict[str, str], title: str) -> tuple[list[str], list[str]]:
    """What forbids a promotion, and what a person may decide, about the other models that a version is drawn with:
    drawing with one that is out of use is refused.
    """
    try:
        others = recipe_in(tags, title).others
    except RecipeError as error:
        return [], [str(error)]
    gone, unknown = unusable_others(client, others)
    way_on = "`dreamtrace recipe back` or `use`"
    forbidden, doubtful = ([f"its recipe draws with {one}; {way_on}" for one in found] for found in (gone, unknown))
    return forbidden, doubtful


def _evidence(found: Found, tags: dict[str, str]) -> tuple[dict[str, Any] | None, list[str]]:
    """The recorded evaluation, and what keeps it from being evidence; the version's tags prove nothing."""
    try:
        evaluation = _evaluation(found)
    except (ValueError, OSError) as error:
        return None, [f"the gates: its evaluation.json cannot be read: {error}"]
    objections = evidence_objections(evaluation, found.lineage["weights"]["content_digest"])
    status = tags.get("validation_status")
    if (status == "approved") != bool(evaluation["verdict"].get("promotable")):
        objections.append(f"the tag validation_status is '{status}', evaluation.json says otherwise")
    return evaluation, [f"the gates: {line}" for line in objections]


def _clean(found: Found, allowed: bool) -> list[str]:
    code = found.lineage["code"]
    if code["commit"] is None:
        return ["the code: the record names no git commit, so the code that trained it is unknown"]
    if code["clean"] or allowed:
        return []
    state = "with uncommitted changes" if code["clean"] is False else "in an unknown state"
    return [f"the code: it was trained {state} (`--allow-unclean` accepts that)"]


def _chain(workspace: Path, found: Found) -> list[str]:
    links = verify(found.lineage, found.evidence(workspace))
    if verdict(links) == "verified":
        return []
    faults = [link for link in links if link.state != "verified"]
    return [f"the chain: {link.name} is {link.state}: {link.detail}" for link in faults]


def _compare(
    workspace: Path, name: str, champion: str, evaluation: dict[str, Any]
) -> tuple[dict[str, Any] | None, Sequence[str]]:
    """The comparison with the champion; a champion whose record is lost is an objection, so that it can be replaced."""
    label = f"the champion, version {champion}"
    try:
        with find_record(workspace, f"models:/{name}/{champion}") as other:
            held = _evaluation(other)
    except (UserError, ValueError, OSError) as error:
        return None, [f"{label}: it cannot be compared, because its record cannot be read: {error}"]
    against = [f"{label}: compared with it, {line}" for line in loosened(evaluation, held)]
    try:
        comparison = compare(held, evaluation)
    except (NotComparable, ValueError, KeyError) as error:
        return None, [f"{label}: {error}", *against]
    if comparison["decision"] != "better":
        against = [f"{label}: {comparison['sentence']}", *against]
    return comparison, against


def _evaluation(found: Found) -> dict[str, Any]:
    if found.files is None:
        raise ValueError("the run has no record")
    return read_evaluation(found.files / EVALUATION.name)
