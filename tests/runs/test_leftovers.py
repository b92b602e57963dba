"""`dreamtrace clean`: leftovers of every kind go, what may be the only copy of a result stays."""

import fcntl
import os
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml
from mlflow.exceptions import MlflowException

from pipeline.files import REMOVED, SCRATCH, read_json, scratch_folder, whole_folder, write_bytes, write_json
from pipeline.layout import DRAWN, RUN, STATE, TRAINED_MODEL
from pipeline.runs import leftovers as leftovers_module
from pipeline.runs.dvc_locks import only_run
from pipeline.runs.leftovers import _scratch, find_leftovers, remove_leftovers
from pipeline.runs.workspaces import (
    LOCK,
    MAKING,
    MARK,
    RUNS,
    WorkspaceError,
    clean_workspaces,
    is_unfinished,
    occupied,
)
from pipeline.storage.s3 import Store, Upload
from pipeline.training.finished import CHECKPOINTS, FINISHED
from tests.commands.test_app import dreamtrace

DAY = 86400


def make(folder: Path, days: float, size: int = 1000) -> Path:
    """A folder with one file in it, last touched so many days ago."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(b"x" * size)
    return age(folder, days)


def age(path: Path, days: float) -> Path:
    then = time.time() - days * DAY
    for one in [*sorted(path.rglob("*"), reverse=True), path]:
        os.utime(one, (then, then), follow_symlinks=False)
    return path


def run(workspace: Path, name: str, days: float, kept: bool, *made: Path) -> Path:
    folder = workspace / RUNS / name
    write_json(folder / MARK, {"kept": kept, "made": 0})
    (folder / LOCK).touch()
    for path in made:
        make(folder / path, days)
    return age(folder, days)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = tmp_path / "w"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def finished(workspace: Path, name: str, days: float) -> Path:
    """The checkpoints of a training that ended."""
    folder = make(workspace / CHECKPOINTS / name, days)
    write_json(folder / FINISHED, {"run_md5": f"md5 of {name}"})
    return age(folder, days)


def take_in(workspace: Path, name: str) -> None:
    """Let dvc.lock name the results of the training `name`."""
    outs = [{"path": RUN.as_posix(), "md5": f"md5 of {name}"}]
    (workspace / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))


def places(workspace: Path) -> tuple[set[str], set[str]]:
    found = find_leftovers(workspace, 7)
    return {Path(item.where).name for item in found.found}, {Path(item.where).name for item in found.kept}


def test_each_kind_is_found_when_it_is_old_enough_and_goes(workspace: Path, tmp_path: Path) -> None:
    make(workspace / "artifacts" / "prepared", 0)
    old = {
        make(workspace / "artifacts" / ".prepared.abcd1234", 1),
        make(workspace / "artifacts" / ".prepared.abcd1234.old", 1),
        make(workspace / CHECKPOINTS / "given-up", 8),
        finished(workspace, "finished", 1),
        make(workspace / CHECKPOINTS / f".other{REMOVED}", 1),
        make(workspace / DRAWN / "model", 8),
        make(workspace / STATE / "select", 8),
        make(tmp_path / "tmp" / f"{SCRATCH}abcd1234", 2),
        make(workspace / RUNS / f"{MAKING}demo-abcd", 2),
        run(workspace, "failed", 8, False, CHECKPOINTS / "x"),
        run(workspace, "saved", 8, True, TRAINED_MODEL),
    }
    take_in(workspace, "finished")
    (workspace / "params.yaml").write_text("{}")
    (workspace / ".params.yaml.abcd1234").write_text("{")
    old.add(age(workspace / ".params.yaml.abcd1234", 1))
    make(workspace / CHECKPOINTS / "going-on", 6)
    finished(workspace, "not-taken-in", 6)
    make(workspace / DRAWN / "now", 0)
    make(tmp_path / "tmp" / f"{SCRATCH}nownow12", 0.5)
    make(tmp_path / "tmp" / "other-program", 30)
    make(workspace / "artifacts" / ".trained.abcd1234", 0)
    run(workspace, "fresh", 1, False)
    leftovers = find_leftovers(workspace, 7)
    assert {Path(item.where).name for item in leftovers.found} == {path.name for path in old}
    assert not leftovers.kept
    assert leftovers.size > 10_000
    assert remove_leftovers(leftovers) == (leftovers.size, [])
    assert not any(path.exists() for path in old)
    kept = [f"{CHECKPOINTS}/{name}/file" for name in ("going-on", "not-taken-in")]
    for path in ("artifacts/prepared/file", *kept, f"{DRAWN}/now/file"):
        assert (workspace / path).is_file()
    assert (workspace / "artifacts" / ".trained.abcd1234").exists()
    assert places(workspace) == (set(), set())


@pytest.mark.parametrize("days", [0, 7])
def test_what_is_offered_can_be_removed_at_once(workspace: Path, days: float) -> None:
    finished(workspace, "finished", 0)  # minutes ago
    make(workspace / CHECKPOINTS / f".other{REMOVED}", 0)
    take_in(workspace, "finished")
    make(workspace / CHECKPOINTS / "given-up", 8)
    leftovers = find_leftovers(workspace, days)
    assert [Path(item.where).name for item in leftovers.found] == ["given-up"]
    assert remove_leftovers(leftovers) == (leftovers.size, [])


def test_the_only_copy_of_a_result_stays(workspace: Path) -> None:
    make(workspace / "artifacts" / ".trained.abcd1234", 30)  # killed between the two renames of a folder
    make(workspace / "artifacts" / ".trained.abcd1234.old", 30)
    run(workspace, "unsaved", 30, False, TRAINED_MODEL)
    found, kept = places(workspace)
    assert found == set()
    assert kept == {".trained.abcd1234", ".trained.abcd1234.old", "unsaved"}
    (said,) = [item.why for item in find_leftovers(workspace, 7).kept if item.where.endswith("unsaved")]
    assert "`dreamtrace run --isolated unsaved` finishes it" in said and "with the --at and --set" in said
    mark = workspace / RUNS / "unsaved" / MARK
    write_json(mark, {**read_json(mark), "choices": {}})
    (said,) = [item.why for item in find_leftovers(workspace, 7).kept if item.where.endswith("unsaved")]
    assert said.endswith("`dreamtrace run --isolated unsaved` finishes it and saves them")


def test_folders_of_people_in_the_temporary_folder_are_no_scratch_folders(workspace: Path, tmp_path: Path) -> None:
    for name in ("project", "abcd12345", "abcd-123", "abcd123.", "ABCD1234"):
        make(tmp_path / "tmp" / f"{SCRATCH}{name}", 30)
    for number, name in enumerate((".git", ".dvc", "dvc.yaml", "params.yaml", ".dreamtrace")):
        make(tmp_path / "tmp" / f"{SCRATCH}abcd123{number}" / name, 30)
        age(tmp_path / "tmp" / f"{SCRATCH}abcd123{number}", 30)
    inside = make(tmp_path / "tmp" / f"{SCRATCH}abcdefgh" / "w", 30)
    age(inside.parent, 30)
    assert places(inside) == (set(), set())
    assert places(workspace) == ({inside.parent.name}, set())


def test_a_scratch_folder_of_somebody_else_is_passed_over(workspace: Path, tmp_path: Path, monkeypatch) -> None:
    make(tmp_path / "tmp" / f"{SCRATCH}abcd1234", 30)
    monkeypatch.setattr("os.getuid", lambda: -1)
    monkeypatch.setattr(Path, "exists", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert not list(_scratch(workspace))


def test_what_scratch_folder_makes_is_a_scratch_folder(workspace: Path) -> None:
    with scratch_folder() as name:
        make(Path(name), 2)
        assert places(workspace) == ({Path(name).name}, set())


def test_what_a_killed_writer_leaves_is_what_is_looked_for(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    make(workspace / "reports" / "report", 0)
    write_bytes(workspace / "reports" / "metrics.json", b"{}")
    with monkeypatch.context() as patch, pytest.raises(Killed):  # a kill runs none of the cleaning up
        patch.setattr("pipeline.files.shutil.rmtree", lambda *_, **__: None)
        with whole_folder(workspace / "reports" / "report") as fresh:
            (fresh / "page").write_text("half")
            raise Killed
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("pipeline.files.os.replace", die)
        patch.setattr("pipeline.files.Path.unlink", lambda *_, **__: None)
        write_bytes(workspace / "reports" / "metrics.json", b"{")
    left = [path for path in (workspace / "reports").iterdir() if path.name.startswith(".")]
    assert len(left) == 2
    for path in left:
        age(path, 1)
    assert places(workspace)[0] == {path.name for path in left}


def test_what_a_run_goes_on_with_is_left_alone_while_it_works(workspace: Path) -> None:
    for room in (CHECKPOINTS / "one", DRAWN / "two"):
        make(workspace / room, 30)
    leftovers = find_leftovers(workspace, 0)
    assert {Path(item.where).name for item in leftovers.found} == {"one", "two"}
    with only_run(workspace):
        assert not find_leftovers(workspace, 0).found
        freed, problems = remove_leftovers(leftovers)
    assert not freed and len(problems) == 2 and (workspace / CHECKPOINTS / "one").is_dir()
    assert remove_leftovers(leftovers)[1] == [] and not (workspace / CHECKPOINTS / "one").exists()


def test_a_run_that_works_and_links_are_left_alone(workspace: Path, tmp_path: Path) -> None:
    busy = run(workspace, "busy", 30, False)
    precious = make(tmp_path / "precious", 30)
    (workspace / "artifacts" / "x").mkdir(parents=True)
    (workspace / "artifacts" / ".x.abcd1234").symlink_to(precious)
    (workspace / CHECKPOINTS).mkdir(parents=True)
    (workspace / CHECKPOINTS / "linked").mkdir()
    (workspace / CHECKPOINTS / "linked" / "link").symlink_to(precious)
    age(workspace / CHECKPOINTS / "linked", 30)
    with (busy / LOCK).open("w") as file:
        age(busy, 30)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert places(workspace)[0] == {"linked"}
    leftovers = find_leftovers(workspace, 7)
    assert {Path(item.where).name for item in leftovers.found} == {"linked", "busy"}
    with (busy / LOCK).open("w") as file:  # somebody goes on with it while the question is on the screen
        fcntl.flock(file, fcntl.LOCK_EX)
        freed, problems = remove_leftovers(leftovers)
    assert busy.exists() and (precious / "file").is_file()
    assert len(problems) == 1 and "in use again" in problems[0]
    assert freed < leftovers.size


def test_runs_clean_leaves_what_is_at_work_or_not_safe_and_says_what_to_do(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(workspace, "saved", 8, True, TRAINED_MODEL)
    run(workspace, "saved-today", 0, True, TRAINED_MODEL)  # begun long ago
    busy = run(workspace, "busy", 8, True, TRAINED_MODEL)
    unsaved = run(workspace, "unsaved", 8, False, TRAINED_MODEL)
    run(workspace, "failed", 8, False)
    before = (unsaved / LOCK).stat().st_mtime
    with occupied(busy):
        assert dreamtrace(monkeypatch, "runs", "clean") == 0
    said = {line.split("/")[-1].partition(":")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(said) == {"saved", "busy", "unsaved", "failed"}
    assert said["saved"].startswith("removed") and "a run is at work" in said["busy"]
    assert "`dreamtrace run --isolated unsaved` finishes it" in said["unsaved"]
    assert "`dreamtrace clean`" in said["failed"]
    assert {path.name for path in (workspace / RUNS).iterdir()} == {"saved-today", "busy", "unsaved", "failed"}
    assert (unsaved / LOCK).stat().st_mtime == before  # a look does not make it young
    assert clean_workspaces(workspace / RUNS, 7) == ([busy], [], [workspace / RUNS / "failed", unsaved])


def test_the_command_says_what_it_would_free_and_asks(workspace: Path, monkeypatch, capsys) -> None:
    folder = make(workspace / CHECKPOINTS / "given-up", 8, 2_500_000)
    for answer in ("no", "y", None):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer or (_ for _ in ()).throw(EOFError))
        assert dreamtrace(monkeypatch, "clean") == 1
        assert folder.exists()
    said = capsys.readouterr()
    assert "2.5 MB" in said.out and str(folder.relative_to(workspace)) in said.out
    assert "nothing was removed" in said.err
    assert dreamtrace(monkeypatch, "clean", "--days", "9") == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert dreamtrace(monkeypatch, "clean", "--yes") == 0
    assert not folder.exists()
    assert "2.5 MB are free" in capsys.readouterr().out


def test_uploads_that_were_given_up_are_found_and_aborted(workspace: Path, bucket, monkeypatch) -> None:
    monkeypatch.setattr(leftovers_module, "DAY_S", 0.0)
    ours = {f"models/mysks/models/{'a' * 64}/model/unet/weights.safetensors", f"models/parts/{'b' * 64}"}
    others = {"models/a", "models/parts/c", "models/video/models/raw.mp4", f"modelsish/parts/{'b' * 64}"}
    begun = {}
    for key in sorted(ours | others):
        begun[key] = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]
        bucket.client.upload_part(Bucket=bucket.name, Key=key, UploadId=begun[key], PartNumber=1, Body=b"x" * 1000)
    values = yaml.safe_load(Path(__file__).parents[2].joinpath("params.yaml").read_text())
    values["publish"]["to"] = bucket.url + "/models"
    (workspace / "params.yaml").write_text(yaml.safe_dump(values))
    found = find_leftovers(workspace, 0)
    assert {item.where for item in found.found} == {f"s3://{bucket.name}/{key}" for key in ours}
    assert (found.size, found.problems) == (2000, [])

    monkeypatch.setattr(leftovers_module, "DAY_S", 3600.0)  # as if a part of each had come meanwhile
    freed, problems = remove_leftovers(found)
    assert freed == 0 and all("left alone" in problem for problem in problems) and len(problems) == 2
    monkeypatch.setattr(leftovers_module, "DAY_S", 0.0)
    gone = sorted(ours)[0]
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=gone, UploadId=begun[gone])
    assert Store().idle_s(bucket.name, Upload(gone, begun[gone], datetime(2020, 1, 1, tzinfo=UTC), 0)) == 0
    remove_leftovers(found)
    left = bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    assert {row["Key"] for row in left} == others


def test_an_s3_that_is_away_stops_nothing_else(workspace: Path, monkeypatch) -> None:
    values = yaml.safe_load(Path(__file__).parents[2].joinpath("params.yaml").read_text())
    values["publish"]["to"] = "s3://bucket/models"
    (workspace / "params.yaml").write_text(yaml.safe_dump(values))
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    make(workspace / CHECKPOINTS / "given-up", 8)
    leftovers = find_leftovers(workspace, 7)
    assert len(leftovers.found) == 1
    assert "does not answer" in leftovers.problems[0]


def test_a_registry_that_fails_and_a_damaged_run_stop_nothing_else(workspace: Path, monkeypatch) -> None:
    def fails(*_: object) -> list[object]:
        raise MlflowException("the database is locked")

    monkeypatch.setattr(leftovers_module, "parts_nobody_needs", fails)
    broken, other = (run(workspace, name, 8, False, TRAINED_MODEL) for name in ("broken", "other"))
    (broken / MARK).write_text('{"kept": tr')
    age(broken, 8)
    make(workspace / CHECKPOINTS / "given-up", 8)
    gone = make(workspace / CHECKPOINTS / "given-up-too", 8)
    leftovers = find_leftovers(workspace, 7)
    assert "the database is locked" in leftovers.problems[0]
    assert {kept.where for kept in leftovers.kept} == {str(broken), str(other)}
    assert "damaged" in next(kept.why for kept in leftovers.kept if kept.where == str(broken))
    first = [replace(leftovers.found[0], remove=fails), *leftovers.found[1:]]
    freed, problems = remove_leftovers(replace(leftovers, found=first))
    assert freed > 0 and len(problems) == 1 and "the database is locked" in problems[0]
    assert not gone.exists()
    assert set(clean_workspaces(workspace / RUNS, 0)[2]) == {broken, other}


def test_a_run_whose_mark_is_damaged_is_refused_in_a_sentence(workspace: Path) -> None:
    broken = run(workspace, "broken", 0, False)
    (broken / MARK).write_text("")
    with pytest.raises(WorkspaceError, match="damaged"):
        is_unfinished(broken)
