"""`dreamtrace list` and `status`: what is here, what is at work, what comes next."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.files import write_json
from pipeline.layout import JOURNAL
from pipeline.registry.store import connect
from pipeline.runs.dvc_locks import TMP
from pipeline.runs.status import SERVERS, read_status
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
    """A clone in which a run is at work, at step 2 of 4."""
    folder = here / RUNS / "night"
    write_json(folder / MARK, {})
    (folder / "params.yaml").write_text((here / "params.yaml").read_text())
    (folder / JOURNAL).write_text('{"run": "x"}\n{"step": 1}\n{"step": 2, "loss": 0.1}\n')
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
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


def test_completion_is_built_in() -> None:
    command = "import sys; sys.argv = ['dreamtrace']; import pipeline.commands.app as c; c.main()"
    words = {"_DREAMTRACE_COMPLETE": "complete_bash", "COMP_WORDS": "dreamtrace ch", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", command], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["check"]
