"""Each command in an empty folder, and with arguments that cannot be: one sentence, a true exit status, little work."""

import re
import resource
import shutil
from pathlib import Path

import pytest

from pipeline.commands.app import app
from tests.commands.test_app import dreamtrace

VERSION = "models:/mysks/1"
MOST_WORK_S = 10.0  # of one processor; how long a busy machine takes for it says nothing
# The least that each command needs to be asked for something; in an empty folder it cannot be had.
ASKED = {
    "new": ["new", "photos", "--token", "gtwlb", "--class", "plush toy"],
    "run": ["run"],
    "studio": ["studio"],
    "up": ["up"],
    "demo": ["demo"],
    "token": ["token", "mysks"],
    "estimate": ["estimate"],
    "generate": ["generate", "a toy", "--model", VERSION],
    "trace": ["trace", VERSION],
    "delete": ["delete", VERSION, "--reason", "a try-out"],
    "compare": ["compare", VERSION, "models:/mysks/2"],
    "reproduce": ["reproduce", VERSION],
    "export": ["export", VERSION, "one.safetensors"],
    "calibrate": ["calibrate", "--good", VERSION, "--faulty", "models:/mysks/2"],
    "push-to-hub": ["push-to-hub", VERSION, "me/mysks"],
    "promote": ["promote", VERSION],
    "rollback": ["rollback", "mysks"],
    "reject": ["reject", VERSION, "--reason", "smudges"],
    "publish": ["publish", "mysks", "--to", "s3://bucket/models"],
    "fetch": ["fetch", "/nowhere"],
    "impact": ["impact", "photo.jpg"],
    "withdraw": ["withdraw", "photo.jpg", "--reason", "asked for"],
    "deploy": ["deploy"],
    "params check": ["params", "check"],
    "profile show": ["profile", "show", "nothing"],
    "profile use": ["profile", "use", "nothing"],
    "propose captions": ["propose", "captions"],
    "propose masks": ["propose", "masks"],
    "propose accept": ["propose", "accept"],
    "recipe show": ["recipe", "show", VERSION],
    "recipe check": ["recipe", "check", "recipe.yaml"],
    "recipe use": ["recipe", "use", VERSION, "recipe.yaml", "--reason", "better"],
    "recipe back": ["recipe", "back", VERSION],
}
NEED_NOTHING = {"version", "list", "status", "clean", "runs clean", "profile list", "ui mlflow", "ui prefect"}
COMPLETE = {"recipe show"}  # without an argument, too


def verbs() -> set[str]:
    alone = {str(command.name) for command in app.registered_commands}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        alone |= {f"{group.name} {command.name}" for command in group.typer_instance.registered_commands}
    return alone


def work() -> float:
    """Processor seconds of this process and of the programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    before = work()
    status = dreamtrace(monkeypatch, *arguments)
    assert work() - before < MOST_WORK_S
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    return status, said.err


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without any file."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_every_command_is_in_the_table() -> None:
    assert verbs() == {*ASKED, *NEED_NOTHING, "check"}


@pytest.mark.parametrize("command", ASKED)
def test_in_an_empty_folder_it_says_what_is_missing(
    command: str, empty: Path, sqlite_template: Path, monkeypatch, capsys
) -> None:
    shutil.copy(sqlite_template, empty)
    status, said = told(monkeypatch, capsys, ASKED[command])
    assert status in (1, 75), said
    assert len(re.findall(r"^error: ", said, re.MULTILINE)) == 1, said


def test_check_lists_what_is_missing_as_its_result(empty: Path, monkeypatch, capsys) -> None:
    assert dreamtrace(monkeypatch, "check") == 1
    said = capsys.readouterr()
    assert "PROBLEM  params.yaml does not exist" in said.out and said.err == ""


@pytest.mark.parametrize("command", sorted([*ASKED, *NEED_NOTHING, "check"]))
def test_an_option_that_does_not_exist_is_a_wrong_use(command: str, empty: Path, monkeypatch, capsys) -> None:
    status, said = told(monkeypatch, capsys, [*ASKED.get(command, command.split()), "--colour", "red"])
    assert status == 2
    assert "No such option: --colour" in said
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [name for name, words in ASKED.items() if len(words) > len(name.split()) and name not in COMPLETE],
)
def test_a_missing_argument_is_named(command: str, empty: Path, monkeypatch, capsys) -> None:
    status, said = told(monkeypatch, capsys, command.split())
    assert status == 2, said
    assert re.search("Missing (argument|option)", said), said
