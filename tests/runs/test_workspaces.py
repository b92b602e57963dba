"""A workspace for each run: side by side on one cache, its results kept in the repository it came from."""

import shutil
from pathlib import Path

import pytest
import yaml

from flows.forms import choices_of, form_of
from pipeline.files import read_json, write_json
from pipeline.lineage.digests import dvc_folder_md5, future_folder_md5, tracked_md5
from pipeline.params import ParamsError, Subject, load_params
from pipeline.runs import workspaces
from pipeline.runs.choices import Choices, UnknownParameter
from pipeline.runs.dvc import dvc_settings, run_dvc, write_settings
from pipeline.runs.results import keep_results
from pipeline.runs.workspaces import (
    MARK,
    WorkspaceError,
    begun_with,
    clean_workspaces,
    fetch_photos,
    occupied,
    open_workspace,
    params_of,
)
from tests import tiny
from tests.workspace import dvc, git, make_workspace, tiny_values

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tiny_base: Path, tiny_scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a DVC remote outside of it, and the first two stages alone: the others only take time."""
    folder = tmp_path_factory.mktemp("source")
    made = make_workspace(folder / "team", tiny_values(tiny_base, tiny_scorer))
    stages = yaml.safe_load((made / "dvc.yaml").read_text())["stages"]
    (made / "dvc.yaml").unlink()
    (made / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in ("inputs", "prepare")}}))
    dvc(made, "remote", "add", "-q", "-f", "-d", "team", str(folder / "remote"))
    git(made, "commit", "-qam", "a remote for all")
    dvc(made, "push", "-q")
    git(made, "config", "user.name", "t")
    git(made, "config", "user.email", "t@example.com")
    return made


def test_two_runs_side_by_side_leave_their_results_with_the_source(source: Path, tmp_path: Path) -> None:
    before = (source / "params.yaml").read_bytes()
    first = open_workspace(source, tmp_path, "first", choices=Choices(overrides={"prepare.heldout": 0}))
    second = open_workspace(source, tmp_path, "second")
    for workspace in (first, second):
        dvc(workspace, "pull", "-q", "data.dvc")
        dvc(workspace, "repro", "prepare")
    rows = [(folder / "artifacts" / "prepared" / "manifest.jsonl").read_text() for folder in (first, second)]
    assert ['"heldout"' in text for text in rows] == [False, True]
    assert not (source / "artifacts").exists() and (source / "params.yaml").read_bytes() == before
    assert keep_results(first).problems == keep_results(second).problems == []
    listed = dvc(source, "exp", "list", "--all-commits", "--name-only")
    assert {"first", "second"} <= set(listed.split())

    assert clean_workspaces(tmp_path, days=1) == ([], [], [])
    assert clean_workspaces(tmp_path, days=0) == ([first, second], [], [])
    assert not first.exists()
    shutil.rmtree(source / ".dvc" / "cache")  # what the runs pushed is in the remote
    third = open_workspace(source, tmp_path, "third", choices=Choices(overrides={"prepare.heldout": 0}))
    dvc(third, "pull", "-q", "data.dvc")
    assert len(list((third / "data").glob("*.jpg"))) == 5


def test_a_repository_that_the_environment_names_is_left_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "mine")
    git(other, "commit", "-q", "--allow-empty", "-m", "one")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as git's hooks do
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    made = open_workspace(source, tmp_path / "runs", "hooked")
    assert (made / "data.dvc").is_file() and dvc_settings(made)["core.remote"] == "team"
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    assert git(other, "branch", "--show-current") == "mine\n" and git(other, "status", "--short") == ""
    assert git(made, "rev-parse", "HEAD") == git(source, "rev-parse", "HEAD")


def test_results_that_are_not_safe_keep_their_workspace(source: Path, tmp_path: Path) -> None:
    workspace = open_workspace(source, tmp_path, "alone")
    dvc(workspace, "pull", "-q", "data.dvc")
    dvc(workspace, "repro", "prepare")
    (tmp_path / "file").touch()
    dvc(workspace, "remote", "modify", "--local", "team", "url", str(tmp_path / "file" / "nowhere"))
    kept = keep_results(workspace)
    assert [problem.split(" failed")[0] for problem in kept.problems] == ["`dvc push`"]
    assert clean_workspaces(tmp_path, days=0) == ([], [], [workspace])
    assert workspace.is_dir()
    dvc(workspace, "remote", "modify", "--local", "team", "url", str(source.parent / "remote"))
    assert keep_results(workspace).problems == []
    assert clean_workspaces(tmp_path, days=0) == ([workspace], [], [])


def test_an_unfinished_run_is_gone_on_with_by_its_name_alone(source: Path, tmp_path: Path) -> None:
    chosen = Choices(
        "pocket",
        Subject(name="bear", token="gtwlb", class_noun="bear", animal=None),
        {"train.steps": 7, "prepare.always_heldout": ["photo1.jpg"]},
    )
    old = git(source, "rev-parse", "HEAD~1").strip()
    for name, commit, choices in (("plain", "HEAD", Choices()), ("form", "HEAD", chosen), ("older", old, chosen)):
        workspace = open_workspace(source, tmp_path, name, commit, choices)
        assert begun_with(source, workspace) == (commit, choices)
        assert choices_of(**form_of(choices)) == choices
        assert open_workspace(source, tmp_path, name, *begun_with(source, workspace)) == workspace
        mark = read_json(workspace / MARK)
        write_json(workspace / MARK, {**mark, "kept": True})
        assert begun_with(source, workspace) is None
        del mark["choices"]
        write_json(workspace / MARK, mark)
        assert begun_with(source, workspace) is None
    assert begun_with(source, tmp_path / "nothing") is None


def test_a_workspace_is_at_the_commit_and_nothing_half_is_left(source: Path, tmp_path: Path) -> None:
    old = git(source, "rev-parse", "HEAD~1").strip()
    workspace = open_workspace(source, tmp_path, "old", old, Choices(overrides={"train.steps": 7}))
    assert git(workspace, "rev-parse", "HEAD").strip() == old
    assert yaml.safe_load((workspace / "params.yaml").read_text())["train"]["steps"] == 7
    with pytest.raises(WorkspaceError, match="is of another run"):
        open_workspace(source, tmp_path, "old")
    for name, commit, overrides, error, said in (
        ("Bad Name", "HEAD", {}, WorkspaceError, "cannot name a workspace"),
        ("new", "no-such-commit", {}, WorkspaceError, "has no commit, branch or tag 'no-such-commit'"),
        ("new", "HEAD", {"train.stepz": 1}, UnknownParameter, "has no parameter 'train.stepz'"),
        ("new", "HEAD", {"train.steps": -1}, ParamsError, "steps"),
    ):
        with pytest.raises(error, match=said):
            open_workspace(source, tmp_path, name, commit, Choices(overrides=overrides))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_unfinished_run_is_resumed_by_its_owner_or_by_the_same_request(source: Path, tmp_path: Path) -> None:
    other = Choices(overrides={"train.steps": 9})
    mine = open_workspace(source, tmp_path, "mine", owner="run 1")
    (mine / "half-done").touch()
    assert open_workspace(source, tmp_path, "mine", choices=other, owner="run 1") == mine
    assert open_workspace(source, tmp_path, "mine", owner="run 2") == mine
    assert (mine / "half-done").exists()
    for owner in ("run 2", None):
        with pytest.raises(WorkspaceError, match="is of another run"):
            open_workspace(source, tmp_path, "mine", choices=other, owner=owner)
    with occupied(mine), pytest.raises(WorkspaceError, match="another run is working in"), occupied(mine):
        pass
    with occupied(mine):  # and free again
        pass


def test_a_finished_run_keeps_its_workspace_and_its_experiment(source: Path, tmp_path: Path) -> None:
    workspace = open_workspace(source, tmp_path, "finished", owner="run 1")
    dvc(workspace, "pull", "-q", "data.dvc")
    dvc(workspace, "repro", "prepare")
    assert keep_results(workspace).problems == []
    with pytest.raises(WorkspaceError, match="is of another run"):
        open_workspace(source, tmp_path, "finished", owner="run 1")
    assert clean_workspaces(tmp_path, days=0) == ([workspace], [], [])
    with pytest.raises(WorkspaceError, match="dvc exp remove finished"):
        open_workspace(source, tmp_path, "finished")


def test_a_remote_with_a_relative_path_is_that_of_the_source(source: Path, tmp_path: Path) -> None:
    dvc(source, "remote", "add", "-q", "-f", "--local", "team", "../remote")
    try:
        padded = Choices(overrides={"prepare.crop": "pad"})  # pictures that no other run has made
        workspace = open_workspace(source, tmp_path, "relative", choices=padded)
        shutil.rmtree(source / ".dvc" / "cache" / "files")
        fetch_photos(workspace)
        dvc(workspace, "repro", "prepare")
        before = sum(1 for path in (source.parent / "remote").rglob("*") if path.is_file())
        kept = keep_results(workspace)
        assert (kept.problems, kept.pushed) == ([], True)
        assert sum(1 for path in (source.parent / "remote").rglob("*") if path.is_file()) > before
        assert not (tmp_path / "remote").exists() and not (workspace / "remote").exists()
    finally:
        dvc(source, "remote", "remove", "--local", "team")


def test_folders_that_git_does_not_hold_are_linked_or_refused_before_anything_runs(
    source: Path, tmp_path: Path
) -> None:
    (source / "judges").mkdir(exist_ok=True)
    (source / "judges" / "config.json").write_text("{}")
    found = open_workspace(source, tmp_path, "judged", choices=Choices(overrides={"evaluate.copies": "judges"}))
    assert (found / "judges" / "config.json").read_text() == "{}"
    for value, message in (("./nowhere", "does not exist"), ("../team/judges", "write it as an absolute path")):
        with pytest.raises(WorkspaceError, match=message):
            open_workspace(source, tmp_path, "unjudged", choices=Choices(overrides={"evaluate.copies": value}))
    assert not (tmp_path / "unjudged").exists()


def test_photos_that_were_mended_are_taken_by_the_next_try(source: Path, tmp_path: Path) -> None:
    photos = tiny.make_photos(tmp_path / "arrivals", 3)
    asked = Choices(photos=str(photos))
    workspace = open_workspace(source, tmp_path / "runs", "mended", choices=asked)
    (photos / "metadata.jsonl").write_text((photos / "metadata.jsonl").read_text().replace(", 0", ", in the sun"))
    with occupied(workspace), pytest.raises(WorkspaceError, match="another run is working in"):
        open_workspace(source, tmp_path / "runs", "mended", choices=asked)
    assert "in the sun" not in (workspace / "data" / "metadata.jsonl").read_text()  # it reads them
    assert open_workspace(source, tmp_path / "runs", "mended", choices=asked) == workspace
    assert "in the sun" in (workspace / "data" / "metadata.jsonl").read_text()


def test_committed_photos_that_were_mended_are_taken_by_the_next_try(source: Path, tmp_path: Path) -> None:
    team = Path(shutil.copytree(source, tmp_path / "team", symlinks=True))
    runs = tmp_path / "runs"
    workspace = open_workspace(team, runs, "mended")
    fetch_photos(workspace)
    at = git(team, "rev-parse", "HEAD").strip()
    fixed = open_workspace(team, runs, "fixed", at)
    captions = team / "data" / "metadata.jsonl"
    captions.write_text(captions.read_text().replace(", 0", ", in the sun"))
    dvc(team, "add", "-q", "data")
    assert open_workspace(team, runs, "mended") == workspace
    fetch_photos(workspace)
    assert "in the sun" in (workspace / "data" / "metadata.jsonl").read_text()
    captions.write_text(captions.read_text().replace("in the sun", "in the wind"))
    dvc(team, "add", "-q", "data")
    git(team, "commit", "-qam", "mended, and committed")
    commit, choices = begun_with(team, workspace) or ("", Choices())
    open_workspace(team, runs, "mended", commit, choices)  # what the command does without options
    fetch_photos(workspace)
    assert "in the wind" in (workspace / "data" / "metadata.jsonl").read_text()
    captions.write_text(captions.read_text().replace("in the wind", "in the sun"))
    dvc(team, "add", "-q", "data")
    open_workspace(team, runs, "mended", commit, choices)
    fetch_photos(workspace)
    open_workspace(team, runs, "fixed", at)  # that commit was asked for
    fetch_photos(fixed)
    assert "in the sun" not in (fixed / "data" / "metadata.jsonl").read_text()
    captions.write_text(captions.read_text().replace("in the sun", "in the rain"))
    dvc(team, "add", "-q", "data")
    params = (team / "params.yaml").read_text()
    (team / "params.yaml").write_text(params.replace("token: mysks", "token: gtwlb"))
    assert (team / "params.yaml").read_text() != params
    open_workspace(team, runs, "mended", commit, choices)  # the folder holds another subject by now
    (workspace / "artifacts" / "prepared").mkdir(parents=True)
    (team / "params.yaml").write_text(params)
    open_workspace(team, runs, "mended", commit, choices)  # these photos are prepared
    fetch_photos(workspace)
    assert "in the sun" in (workspace / "data" / "metadata.jsonl").read_text()


def test_a_fetch_that_was_cut_off_is_done_again(source: Path, tmp_path: Path) -> None:
    workspace = open_workspace(source, tmp_path, "cut")
    (workspace / "data").mkdir()
    (workspace / "data" / "photo-0.jpg").write_bytes(b"half of it")
    fetch_photos(workspace)
    assert len(list((workspace / "data").glob("*.jpg"))) == 5
    assert tracked_md5(workspace / "data.dvc") == dvc_folder_md5(workspace / "data")
    (workspace / "data" / "mine.txt").touch()
    fetch_photos(workspace)  # whole by now: nothing is touched
    assert (workspace / "data" / "mine.txt").exists()


def test_photos_of_ones_own_are_tracked_in_the_workspace_alone(source: Path, tmp_path: Path) -> None:
    tiny.make_photos(tmp_path / "arrivals", 3)
    (tmp_path / "arrivals" / ".DS_Store").touch()
    before = (source / "data.dvc").read_text()
    workspace = open_workspace(source, tmp_path / "runs", "own", choices=Choices(photos=str(tmp_path / "arrivals")))
    fetch_photos(workspace)
    assert sorted(path.name for path in (workspace / "data").iterdir()) == sorted(
        path.name for path in (tmp_path / "arrivals").iterdir() if path.name != ".DS_Store"
    )
    assert tracked_md5(workspace / "data.dvc") == future_folder_md5(tmp_path / "arrivals", source / "data")
    assert (source / "data.dvc").read_text() == before


def test_other_pipelines_and_a_remote_inside_the_repository_stand_in_no_way(
    tiny_base: Path, tiny_scorer: Path, tmp_path: Path
) -> None:
    source = make_workspace(tmp_path / "alone", tiny_values(tiny_base, tiny_scorer))
    stages = yaml.safe_load((source / "dvc.yaml").read_text())["stages"]
    (source / "dvc.yaml").unlink()
    (source / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in ("inputs", "prepare")}}))
    (source / "other").mkdir()
    (source / "other" / "dvc.yaml").write_text("stages: {make: {cmd: touch it, outs: [it]}}\n")
    git(source, "add", ".")
    git(source, "commit", "-qm", "a pipeline beside")
    for name, value in (("name", "t"), ("email", "t@example.com")):
        git(source, "config", f"user.{name}", value)
    workspace = open_workspace(source, tmp_path / "runs", "beside")
    dvc(workspace, "checkout", "-q", "data.dvc")
    dvc(workspace, "repro", "prepare")
    before = sorted(path for path in (workspace / "remote").rglob("*") if path.is_file())
    kept = keep_results(workspace)
    assert (kept.problems, kept.pushed) == ([], False)
    assert sorted(path for path in (workspace / "remote").rglob("*") if path.is_file()) == before
    assert (workspace / "other" / "dvc.yaml").is_file()
    assert "other" not in git(workspace, "status", "--short")
    assert "beside" in dvc(source, "exp", "list", "--name-only").split()


def test_a_chosen_profile_keeps_the_committed_subject(source: Path, tmp_path: Path) -> None:
    text = (source / "params.yaml").read_text()
    (source / "params.yaml").write_text(text.replace("mysks", "gtwlb").replace("animal: wild boar", "animal: null"))
    git(source, "commit", "-qam", "a subject of our own")
    chosen = Choices(profile="thesis")
    workspace = open_workspace(source, tmp_path, "thesis", choices=chosen)
    for params in (load_params(workspace / "params.yaml"), params_of(source, "HEAD", chosen)):
        assert (params.subject.token, params.register_.model, params.train.steps) == ("gtwlb", "gtwlb", 1600)
        assert not any("mysks" in prompt for prompt in params.preview.prompts)


@pytest.mark.parametrize("mode", [0o600, 0o644, None])
def test_the_passwords_of_a_remote_are_for_nobody_else_in_a_clone(
    tmp_path: Path, monkeypatch, mode: int | None
) -> None:
    source, clone = tmp_path / "source", tmp_path / "clone"
    for folder in (source, clone):
        (folder / ".dvc").mkdir(parents=True)
    if mode is not None:
        local = source / ".dvc" / "config.local"
        local.write_text("['remote \"team\"']\n    password = s3cret\n", encoding="utf-8")
        local.chmod(mode)
    monkeypatch.setattr(workspaces, "run_dvc", lambda *_: ".dvc/cache")
    monkeypatch.setattr(workspaces, "dvc_settings", lambda _: {})
    workspaces._share_dvc_settings(source, clone)
    there = clone / ".dvc" / "config.local"
    assert there.stat().st_mode & 0o777 == 0o600
    assert ("s3cret" in there.read_text()) == (mode is not None)


def test_settings_hold_paths_of_any_letters(tmp_path: Path) -> None:
    folder = tmp_path / "ü #1, 100% 'a' \"b\""
    folder.mkdir()
    git(folder, "init", "-q")
    dvc(folder, "init", "-q")
    (folder / ".dvc" / "config.local").write_text("['remote \"tü\"']\n    profile = mine\n", encoding="utf-8")
    wanted = {"cache.dir": f"{folder}/cache", "remote.tü.url": f"{folder}/remote", "core.remote": "tü"}
    write_settings(folder / ".dvc" / "config.local", wanted)
    found = dvc_settings(folder)
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["remote.tü.profile"] == "mine"
    assert run_dvc(folder, "cache", "dir").strip() == f"{folder}/cache"
