"""`dreamtrace list` and `status`: what is here, what is at work, what comes next."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.files import write_json
from pipeline.layout import EVALUATION, JOURNAL, REGISTRATION, RUN
from pipeline.lineage.deleted import DELETED, Deletion
from pipeline.lineage.tags import WITHDRAWN
from pipeline.registry.reviews import REJECTED, REVIEWS, Review
from pipeline.registry.store import StoreSilent, connect
from pipeline.runs import status
from pipeline.runs.dvc_locks import TMP
from pipeline.runs.status import SERVERS, read_status, runs_at_work
from pipeline.runs.workspaces import LOCK, MARK, RUNS
from tests.commands.test_app import dreamtrace
from tests.runs.test_dvc_locks import DVC, lock, process
from tests.workspace import git


@pytest.fixture
def here(copy: Path, monkeypatch) -> Path:
    """A copy of a workspace whose stages have all run, as the current folder."""
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.fixture
def clone(here: Path) -> Iterator[Path]:
    """A clone in which a run is at work, whose training is at step 2 of 4."""
    folder = here / RUNS / "night"
    write_json(folder / MARK, {})
    (folder / "params.yaml").write_text((here / "params.yaml").read_text())
    (folder / TMP).mkdir(parents=True)
    with (folder / LOCK).open("w") as held, process(DVC) as pid:
        fcntl.flock(held, fcntl.LOCK_EX)
        lock(folder, pid, output=str(folder / RUN))
        (folder / JOURNAL).write_text('{"run_id": "x"}\n{"step": 1}\n{"step": 2, "loss": 0.1}\n')
        yield folder


def test_list_names_versions_aliases_verdicts_and_disk(here: Path, monkeypatch, capsys) -> None:
    client = connect(here)
    (version,) = client.search_model_versions("name = 'mysks'")
    client.create_registered_model("mysks.promoting")  # a lock is no model
    assert dreamtrace(monkeypatch, "list", "--json") == 0
    models = json.loads(capsys.readouterr().out)
    assert list(models) == ["mysks"]
    (found,) = models["mysks"]
    assert (found["reference"], found["aliases"]) == ("models:/mysks/1", ["challenger"])
    assert found["created"].endswith(" UTC")
    assert (found["state"], found["verdict"]) == ("not to be promoted", version.tags["verdict"])
    assert found["size"] > 10_000
    client.set_model_version_tag("mysks", "1", "withdrawn", "asked for")
    monkeypatch.setenv("COLUMNS", "80")
    assert dreamtrace(monkeypatch, "list") == 0
    said = capsys.readouterr().out
    assert "models:/mysks/1  challenger  withdrawn" in said
    assert f"content {found['content_digest']}\n" in said and len(found["content_digest"]) == 64  # never cut


def test_list_of_nothing_makes_no_database(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert dreamtrace(monkeypatch, "list") == 0
    assert "no model was registered yet" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_status_tells_what_is_up_to_date_and_what_is_next(here: Path, monkeypatch, capsys) -> None:
    git(here, "add", ".")
    git(here, "commit", "-q", "-m", "done")
    assert dreamtrace(monkeypatch, "status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["stages"].values()) == {"up to date"}
    assert found["running"] == [] and found["uncommitted"] == []
    assert [step.partition(" ")[0] for step in found["next"]] == ["open"]  # random weights are not promotable
    text = (here / "params.yaml").read_text()
    (here / "params.yaml").write_text(text.replace("  steps: 4\n", "  steps: 5\n"))
    assert dreamtrace(monkeypatch, "status") == 0
    said = capsys.readouterr().out
    assert "stage    prior      up to date" in said and "stage    train      has to run\n" in said
    assert "stage    register   has to run, after the others" in said
    assert "changed  params.yaml is not committed" in said and "next     dreamtrace run" in said


def test_status_tells_what_is_at_work(here: Path, clone: Path, dead: int) -> None:
    (here / TMP).mkdir(parents=True, exist_ok=True)
    lock(here, dead)
    write_json(here / SERVERS, {"pid": dead, "pages": {"Prefect": "http://127.0.0.1:4200"}})
    found = read_status(here)
    assert [(run.name, run.step, run.steps) for run in found.running] == [("night", 2, 4)]
    assert found.servers == {}
    write_json(here / SERVERS, {"pid": os.getpid(), "pages": {"Prefect": "http://127.0.0.1:4200"}})
    with process(DVC) as pid:
        lock(here, pid)
        found = read_status(here)
    assert [run.name for run in found.running] == [here.name, "night"]
    assert found.servers == {"Prefect": "http://127.0.0.1:4200"}
    assert found.next == ["wait: a run is at work"]


def steps(workspace: Path) -> list[tuple[int | None, int | None]]:
    return [(run.step, run.steps) for run in runs_at_work(workspace)]


def test_status_shows_no_step_of_a_training_that_is_not_at_work(here: Path, clone: Path) -> None:
    assert steps(here) == [(2, 4)]
    write_json(clone / RUN, {"run_id": "x"})
    assert steps(here) == [(None, None)]  # it has ended, and DVC takes its results in
    write_json(clone / RUN, {"run_id": "y"})
    assert steps(here) == [(2, 4)]
    (text := (clone / TMP / "rwlock")).write_text(text.read_text().replace("artifacts/trained", "artifacts/samples"))
    assert steps(here) == [(None, None)]  # another stage is at work
    text.write_text(text.read_text().replace("artifacts/samples", "artifacts/trained"))
    os.utime(clone / JOURNAL, (100, 100))
    assert steps(here) == [(None, None)]  # of the training before: this one has written no row yet


def test_status_recommends_a_promotion_only_of_a_version_that_may_become_the_champion(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(sqlite_template, tmp_path)
    (tmp_path / "data").mkdir()
    client = connect(tmp_path)
    client.create_registered_model("mysks")
    write_json(tmp_path / REGISTRATION, {"model": "mysks", "version": "1", "alias": "challenger"})
    write_json(tmp_path / EVALUATION, {"verdict": {"promotable": True}})
    monkeypatch.setattr(status, "_stages", lambda _: {})

    def then() -> list[str]:
        return read_status(tmp_path).next[1:]

    promote = ["dreamtrace promote models:/mysks/1 --reason WHY"]
    assert then()[0].startswith("dreamtrace run (the registry has no models:/mysks/1 any more")
    client.create_model_version("mysks", str(tmp_path))
    assert then() == promote
    client.set_registered_model_alias("mysks", "champion", "1")
    assert then() == []
    client.delete_registered_model_alias("mysks", "champion")
    deletion, no = Deletion("ann", "now", "old", 1).as_tag(), Review("now", "ann", REJECTED, "the colour")
    for tag, value in ((WITHDRAWN, "by ann"), (DELETED, deletion), (REVIEWS, json.dumps([vars(no)]))):
        client.set_model_version_tag("mysks", "1", tag, value)
        assert then() == []
        client.delete_model_version_tag("mysks", "1", tag)
    assert then() == promote

    def silent(_: Path) -> None:
        raise StoreSilent("it does not answer")

    monkeypatch.setattr(status, "overview", silent)
    found = read_status(tmp_path)
    assert found.next[1:] == promote
    assert found.problems == ["what has become of models:/mysks/1 is unknown: it does not answer"]


def test_completion_is_built_in() -> None:
    command = "import sys; sys.argv = ['dreamtrace']; import pipeline.commands.app as c; c.main()"
    words = {"_DREAMTRACE_COMPLETE": "complete_bash", "COMP_WORDS": "dreamtrace ch", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", command], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["check"]
