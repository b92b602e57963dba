"""Promotion, rollback, withdrawal and registration in any order, each killed before any write.

The invariant: the champion is one complete, verified, not withdrawn version, or none; and the same command finishes
what was cut off, however much later. (Until then the champion may have a photo whose withdrawal was cut off.) What is
refused has a reason. The registry is a stand-in in memory; `test_promotion.py` has the real one for each single cut.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.entities import PagedList

from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry import promotion, versions, withdrawal
from pipeline.registry.aliases import champion_of
from pipeline.registry.examination import Examined, Refused, withdrawal_objections
from pipeline.registry.impact import Affected
from pipeline.registry.lock import STALE
from pipeline.registry.photo_index import Sighting
from pipeline.registry.promotion import promote, rollback
from pipeline.registry.promotion_history import UNDER_WAY, history
from pipeline.registry.version_photos import version_photos
from pipeline.registry.versions import Version
from pipeline.registry.withdrawal import withdraw
from pipeline.registry.withdrawn_photos import matches, withdrawn_photos
from tests.registry.killed_writes import Killed

NAME, HERE = "mysks", Path("nowhere")
PHOTOS = [f"{number:x}" * 64 for number in range(8)]


@dataclass
class Registry:
    """As much of MlflowClient as aliases, tags and locks need. `kill` counts writes down and dies at 0."""

    models: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    clock: int = 0
    kill: int = 0

    def _write(self) -> None:
        self.kill -= 1
        if self.kill == 0:
            raise Killed
        self.clock += 1

    def get_registered_model(self, name: str) -> Any:
        if name not in self.models:
            raise RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": name})
        return self.models[name]

    def create_registered_model(self, name: str, tags: Any = None, description: str = "") -> None:
        if name in self.models:
            raise RestException({"error_code": "RESOURCE_ALREADY_EXISTS", "message": name})
        self._write()
        self.models[name] = SimpleNamespace(
            name=name,
            tags=dict(tags or {}),
            aliases={},
            creation_timestamp=self.clock,
            last_updated_timestamp=self.clock,
        )

    def update_registered_model(self, name: str, description: str) -> Any:
        found = self.get_registered_model(name)
        found.last_updated_timestamp = self.clock
        return found

    def delete_registered_model(self, name: str) -> None:
        self._write()
        del self.models[name]

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        assert len(value) <= 5000
        self._write()
        self.models[name].tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self._write()
        del self.models[name].tags[key]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._write()
        self.models[name].aliases = {**self.models[name].aliases, alias: version}

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._write()
        self.models[name].aliases = {key: held for key, held in self.models[name].aliases.items() if key != alias}

    def get_model_version(self, name: str, version: str) -> Any:
        return self.versions[version]

    def search_model_versions(self, wanted: str, **_: Any) -> PagedList:
        """Who asks looks for versions under other names."""
        return PagedList([], None)

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._write()
        self.versions[version].tags[key] = value

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        self._write()
        del self.versions[version].tags[key]

    def update_model_version(self, name: str, version: str, description: str) -> None:
        self._write()


class Promotions(RuleBasedStateMachine):
    """What people do with one model; `numbers` name versions, `cut` is the write before which the process dies."""

    registry: Registry  # of the present example, for the patched functions
    outcomes: ClassVar[Counter[str]] = Counter()  # of all examples

    def __init__(self) -> None:
        super().__init__()
        self.client = Promotions.registry = Registry()
        self.client.create_registered_model(NAME)
        self.pending: Examined | None = None
        self.cut_off: set[str] = set()  # photos whose withdrawal was killed and not yet done again
        for number in range(3):
            self.register(photos={number}, cut=0, again=True)

    def _run(self, what: str, cut: int, work: Any, reasons: Any = lambda: []) -> str:
        """'done', 'killed' or 'refused', for which there must be one of the `reasons`; a killed one's lock expires."""
        self.client.kill = cut
        outcome, said = "done", ""
        try:
            work()
        except Refused as error:
            outcome, said = "refused", str(error)
        except Killed:
            outcome = "killed"
            self.client.clock += STALE * 1000 + 1
        finally:
            self.client.kill = 0
        assert outcome != "refused" or any(reasons()), f"there is no reason for this: {said}"
        if outcome == "killed":
            self.no_alias_names_a_withdrawn_version()
        Promotions.outcomes[f"{what} {outcome}"] += 1
        return outcome

    @initialize(promoted=st.integers(0, 3))
    def begin(self, promoted: int) -> None:
        for place in range(promoted):
            self.approve_at_once(place, force=False, cut=0, again=False)

    @rule(photos=st.sets(st.integers(0, 7), min_size=1, max_size=2), cut=st.integers(0, 8), again=st.booleans())
    def register(self, photos: set[int], cut: int, again: bool) -> None:
        number = str(len(self.client.versions) + 1)
        rows = [{"sha256": PHOTOS[photo], "phash": None, "source": f"{photo}.jpg"} for photo in sorted(photos)]
        tags = {"photos": json.dumps([[row["sha256"], None] for row in rows])}
        self.client.versions[number] = SimpleNamespace(name=NAME, version=number, tags=tags, aliases=[])
        version = Version(NAME, number, "run", "digest", True)
        lineage = {"photos": {"files": rows}, "base": {"digest": ""}}

        def describe() -> None:
            versions.describe_version(self.client, version, "challenger", lineage, {}, {})  # type: ignore[arg-type]

        if self._run("register", cut, describe) == "killed" and again:
            describe()

    @rule(place=st.integers(1, 9))
    def examine_and_ask(self, place: int) -> None:
        self.pending = look(HERE, f"models:/{NAME}/{place % len(self.client.versions) + 1}")

    @rule(place=st.integers(1, 9), force=st.booleans(), cut=st.integers(0, 10), again=st.booleans())
    def approve_at_once(self, place: int, force: bool, cut: int, again: bool) -> None:
        self.examine_and_ask(place)
        self.approve(force, cut, again)

    @rule(force=st.booleans(), cut=st.integers(0, 10), again=st.booleans())
    def approve(self, force: bool, cut: int, again: bool) -> None:
        pending = self.pending
        if pending is None:
            return

        def reasons() -> list[Any]:
            now = look(HERE, f"models:/{NAME}/{pending.version}")
            against = [one for seen in (pending, now) for one in (seen.forbidden, seen.objections if not force else [])]
            moved = now.champion not in (pending.champion, pending.version)
            return [*against, moved, set(now.objections) - set(pending.objections)]

        work = lambda: promote(HERE, pending, "ann", "why", force, approved_by="bob")  # noqa: E731
        outcome = self._run("approve", cut, work, reasons)
        if outcome == "killed" and again:
            fresh = look(HERE, f"models:/{NAME}/{pending.version}")
            reasons = lambda: [fresh.forbidden, fresh.objections if not force else []]  # noqa: E731
            outcome = self._run("approve again", 0, lambda: promote(HERE, fresh, "ann", "why", force), reasons)
        if outcome == "done":
            assert champion_of(self.client, NAME) == pending.version  # type: ignore[arg-type]

    @rule(cut=st.integers(0, 10), again=st.booleans())
    def go_back(self, cut: int, again: bool) -> None:
        tags, aliases = self.client.models[NAME].tags, dict(self.client.models[NAME].aliases)
        champion, previous = aliases.get("champion"), aliases.get("previous-champion")
        unfinished = UNDER_WAY in tags

        def reasons() -> list[bool]:
            held = self.client.models[NAME].aliases
            back = held.get("previous-champion")
            return [back in (None, held.get("champion")) or bool(look(HERE, f"models:/{NAME}/{back}").forbidden)]

        work = lambda: rollback(HERE, NAME, "ann")  # noqa: E731
        outcome = self._run("go back", cut, work, reasons)
        if outcome == "killed" and again:
            moved = champion_of(self.client, NAME) != champion  # type: ignore[arg-type]
            if moved and UNDER_WAY not in tags:
                return  # it was killed after its last write but the lock's: all of it was done
            outcome = self._run("go back again", 0, work, reasons)
        if outcome == "done" and not unfinished:
            assert champion_of(self.client, NAME) == previous != champion  # type: ignore[arg-type]

    @rule(photo=st.integers(0, 7), cut=st.integers(0, 12), again=st.booleans())
    def withdraw_photo(self, photo: int, cut: int, again: bool) -> None:
        digest = PHOTOS[photo]

        def work() -> None:
            affected = [
                Affected(Sighting(NAME, number, digest, True, 0), (), version.tags.get(WITHDRAWN))
                for number, version in self.client.versions.items()
                if digest in version.tags["photos"]
            ]
            withdraw(HERE, affected, "ann", "asked", [(digest, None)])

        outcome = self._run("withdraw", cut, work)
        if outcome == "killed":
            self.cut_off.add(digest)
            if not again:
                return
            work()
        self.cut_off.discard(digest)
        for number, version in self.client.versions.items():
            if digest in version.tags["photos"]:
                assert WITHDRAWN in version.tags
                assert number not in self.client.models[NAME].aliases.values()

    @invariant()
    def no_alias_names_a_withdrawn_version(self) -> None:
        aliases = self.client.models[NAME].aliases
        assert not any(WITHDRAWN in self.client.versions[held].tags for held in aliases.values())

    @invariant()
    def the_champion_is_complete_verified_and_saw_no_withdrawn_photo(self) -> None:
        champion = champion_of(self.client, NAME)  # type: ignore[arg-type]
        if champion is None:
            return
        version = self.client.versions[champion]
        known = {digest: one for digest, one in withdrawn_photos(self.client).items() if digest not in self.cut_off}  # type: ignore[arg-type]
        assert not matches(version_photos(version), known).exact
        line = json.loads(version.tags["promotion"])
        assert line["version"] == champion
        assert "verdict" in version.tags or line["forced"]  # registered to the end, or overridden with a reason

    @invariant()
    def a_version_that_says_it_was_promoted_was(self) -> None:
        if UNDER_WAY in self.client.models[NAME].tags:
            return
        told = ("version", "before", "at", "by", "why")
        done = [[line[key] for key in told] for line in history(self.client, NAME)]  # type: ignore[arg-type]
        for version in self.client.versions.values():
            assert "promotion_before" not in version.tags
            if "promotion" in version.tags:
                line = json.loads(version.tags["promotion"])
                assert [line[key] for key in told] in done

    @invariant()
    def what_ended_is_in_the_history(self) -> None:
        champion = champion_of(self.client, NAME)  # type: ignore[arg-type]
        if champion is not None and UNDER_WAY not in self.client.models[NAME].tags:
            assert any(line["version"] == champion for line in history(self.client, NAME))  # type: ignore[arg-type]


def look(workspace: Path, ref: str, allow_unclean: bool = False) -> Examined:
    """The examination of a version of the stand-in."""
    client, number = Promotions.registry, ref.rpartition("/")[2]
    version = client.versions[number]
    found = matches(version_photos(version), withdrawn_photos(client))  # type: ignore[arg-type]
    forbidden, _ = withdrawal_objections(client, version.tags, found, "")  # type: ignore[arg-type]
    objections = [] if "verdict" in version.tags else ["the gates: it was never judged"]
    champion = champion_of(client, NAME)  # type: ignore[arg-type]
    return Examined(NAME, number, champion, objections, {"decision": "better"}, "report", forbidden)


def test_the_champion_is_one_good_version_or_none_whatever_is_done_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (promotion, withdrawal):
        monkeypatch.setattr(module, "connect", lambda _: Promotions.registry)
    monkeypatch.setattr(promotion, "examine", look)
    monkeypatch.setattr(versions, "verdict_tags", lambda _: {"verdict": "fit"})
    monkeypatch.setattr(versions, "model_card", lambda *_: "card")
    found = settings(
        max_examples=200, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    monkeypatch.setattr(Promotions, "outcomes", Counter())
    run_state_machine_as_test(Promotions, settings=found)
    for what in ("register", "approve", "go back", "withdraw"):
        done = Promotions.outcomes[f"{what} done"] + Promotions.outcomes[f"{what} again done"]
        assert done > 0 and Promotions.outcomes[f"{what} killed"] > 0, Promotions.outcomes
    assert issubclass(RestException, MlflowException)
