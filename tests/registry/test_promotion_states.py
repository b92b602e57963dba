"""Promotion, rollback, withdrawal and registration in any order, each killed before any write.

The invariant: the champion is one complete, verified, not withdrawn version, or none; and the same command finishes
what was cut off. The registry is a stand-in in memory; `test_promotion.py` has the real one for each single cut.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from mlflow.exceptions import MlflowException, RestException

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
PHOTOS = [f"{number:x}" * 64 for number in range(4)]


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

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._write()
        self.versions[version].tags[key] = value

    def update_model_version(self, name: str, version: str, description: str) -> None:
        self._write()


class Promotions(RuleBasedStateMachine):
    """What people do with one model; `numbers` name versions, `cut` is the write before which the process dies."""

    registry: Registry  # of the present example, for the patched functions

    def __init__(self) -> None:
        super().__init__()
        self.client = Promotions.registry = Registry()
        self.client.create_registered_model(NAME)
        self.pending: Examined | None = None
        for number in range(3):
            self.register(photos={number % 2}, cut=0, again=True)

    def _run(self, cut: int, work: Any) -> bool:
        """Whether it ended; killed, its lock is left behind and expires."""
        self.client.kill = cut
        try:
            work()
        except (Killed, Refused) as error:
            if isinstance(error, Killed):
                self.client.clock += STALE * 1000 + 1
                self.client.kill = 0
                self.no_alias_names_a_withdrawn_version()
            return isinstance(error, Refused)
        finally:
            self.client.kill = 0
        return True

    @rule(photos=st.sets(st.integers(0, 3), min_size=1, max_size=2), cut=st.integers(0, 8), again=st.booleans())
    def register(self, photos: set[int], cut: int, again: bool) -> None:
        number = str(len(self.client.versions) + 1)
        rows = [{"sha256": PHOTOS[photo], "phash": None, "source": f"{photo}.jpg"} for photo in sorted(photos)]
        tags = {"photos": json.dumps([[row["sha256"], None] for row in rows])}
        self.client.versions[number] = SimpleNamespace(name=NAME, version=number, tags=tags, aliases=[])
        version = Version(NAME, number, "run", "digest", True)
        lineage = {"photos": {"files": rows}}

        def describe() -> None:
            versions.describe_version(self.client, version, "challenger", lineage, {}, {})  # type: ignore[arg-type]

        if not self._run(cut, describe) and again:
            self._run(0, describe)

    @rule(number=st.integers(1, 6))
    def examine_and_ask(self, number: int) -> None:
        if str(number) in self.client.versions:
            self.pending = look(HERE, f"models:/{NAME}/{number}")

    @rule(force=st.booleans(), cut=st.integers(0, 10))
    def approve(self, force: bool, cut: int) -> None:
        pending = self.pending
        if pending is None:
            return
        again = lambda: promote(HERE, pending, "ann", "why", force, approved_by="bob")  # noqa: E731
        if self._run(cut, again):
            return
        fresh = look(HERE, f"models:/{NAME}/{pending.version}")
        if fresh.forbidden or (fresh.objections and not force):
            with pytest.raises(Refused):
                promote(HERE, fresh, "ann", "why", force)
            return
        promote(HERE, fresh, "ann", "why", force)
        assert champion_of(self.client, NAME) == pending.version  # type: ignore[arg-type]

    @rule(cut=st.integers(0, 10))
    def go_back(self, cut: int) -> None:
        aliases, tags = dict(self.client.models[NAME].aliases), self.client.models[NAME].tags
        unfinished = UNDER_WAY in tags
        if self._run(cut, lambda: rollback(HERE, NAME, "ann")) or unfinished:
            return
        previous = aliases.get("previous-champion")
        champion = champion_of(self.client, NAME)  # type: ignore[arg-type]
        if previous is not None and champion == previous != aliases.get("champion") and UNDER_WAY not in tags:
            return  # it was killed after its last write but the lock's: all of it was done
        if previous in (None, aliases.get("champion")) or look(HERE, f"models:/{NAME}/{previous}").forbidden:
            with pytest.raises(Refused):
                rollback(HERE, NAME, "ann")
            return
        assert rollback(HERE, NAME, "ann").version == previous
        assert champion_of(self.client, NAME) == previous  # type: ignore[arg-type]

    @rule(photo=st.integers(0, 3), cut=st.integers(0, 12))
    def withdraw_photo(self, photo: int, cut: int) -> None:
        digest = PHOTOS[photo]

        def work() -> None:
            affected = [
                Affected(Sighting(NAME, number, digest, True, 0), (), version.tags.get(WITHDRAWN))
                for number, version in self.client.versions.items()
                if digest in version.tags["photos"]
            ]
            withdraw(HERE, affected, "ann", "asked", [(digest, None)])

        if not self._run(cut, work):
            work()
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
        assert not matches(version_photos(version), withdrawn_photos(self.client)).exact  # type: ignore[arg-type]
        line = json.loads(version.tags["promotion"])
        assert line["version"] == champion
        assert "verdict" in version.tags or line["forced"]  # registered to the end, or overridden with a reason

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
    forbidden, _ = withdrawal_objections(version.tags, found)
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
        max_examples=150, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Promotions, settings=found)
    assert issubclass(RestException, MlflowException)
