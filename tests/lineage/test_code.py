"""The record of code: a commit and a patch that rebuild what ran, whatever git is set to."""

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.lineage import code as recorded_code
from pipeline.lineage.code import CodeUnknown, code_state, describe_code, tree_at
from tests.workspace import git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed repository with code, and git settings of its own that a test may change."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "a: repository"  # colons and spaces are for lists of paths
    (folder / "pipeline").mkdir(parents=True)
    (folder / "flows").mkdir()
    git(folder, "init", "-q")
    (folder / "pipeline" / "code.py").write_text("a = 1\n")
    (folder / "pipeline" / "step.c").write_text("int step;\n")
    (folder / "pipeline" / "logo.bin").write_bytes(bytes(range(256)))
    (folder / "pipeline" / "word.txt").write_bytes("Größe\n".encode("latin-1"))
    (folder / "page.j2").write_text("<p>\n")
    (folder / "README.md").write_text("read me\n")
    (folder / "params.yaml").write_text("train: {steps: 2}\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def change_everything(folder: Path) -> None:
    (folder / "pipeline" / "code.py").write_text("a = 2\n")
    (folder / "pipeline" / "step.c").write_text("float step;\n")
    (folder / "pipeline" / "logo.bin").write_bytes(bytes(reversed(range(256))))
    (folder / "pipeline" / "word.txt").write_bytes("Maß\n".encode("latin-1"))
    (folder / "page.j2").unlink()
    (folder / "flows" / "größe.py").write_text("b = 3\r\n", newline="")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    state = code_state(repository)
    assert len(state["commit"]) == 40
    assert (state["clean"], state["patch"], describe_code(state)) == (True, None, [])


def test_the_patch_rebuilds_every_byte_that_ran(repository: Path, tmp_path: Path) -> None:
    change_everything(repository)
    state = code_state(repository)
    assert state["clean"] is False
    changed = ["page.j2", "pipeline/code.py", "pipeline/logo.bin", "pipeline/step.c", "pipeline/word.txt"]
    assert (state["changed"], state["new"]) == (changed, ["flows/größe.py"])
    tree_at(repository, state["commit"], state["patch"], tmp_path / "again")
    assert files(tmp_path / "again") == files(repository)


@pytest.mark.parametrize(
    "setting",
    [
        "diff.noprefix=true", "diff.mnemonicPrefix=true", "color.ui=always", "color.diff=always", "diff.external=false",
        "diff.renames=copies", "diff.context=0", "diff.algorithm=patience", "diff.submodule=log", "diff.relative=true",
        "core.quotePath=false", "core.pager=false", "status.showUntrackedFiles=no", "status.relativePaths=false",
        "core.excludesFile=EXCLUDES", "core.attributesFile=ATTRIBUTES", "diff.shout.textconv=tr a-z A-Z <",
        "core.autocrlf=input", "apply.whitespace=error", "apply.ignoreWhitespace=change", "core.fsmonitor=false",
        "diff.orderFile=ORDER", "diff.ignoreSubmodules=all", "core.hooksPath=HOOKS", "core.checkStat=minimal",
    ],
)  # fmt: skip
def test_the_record_is_the_same_whatever_git_is_set_to(repository: Path, tmp_path: Path, setting: str) -> None:
    (tmp_path / "EXCLUDES").write_text("*.py\n*.c\n")
    (tmp_path / "ATTRIBUTES").write_text("*.py diff=shout\n")
    (tmp_path / "ORDER").write_text("*.py\n*.c\n")
    (tmp_path / "HOOKS").mkdir()
    hook = tmp_path / "HOOKS" / "post-index-change"
    hook.write_text("#!/bin/sh\ntouch ../hooked\n")
    hook.chmod(0o755)
    change_everything(repository)
    (repository / "flows" / "größe.py").write_text("b = 3\n")
    plain = code_state(repository)
    name, value = setting.split("=", 1)
    value = str(tmp_path / value) if value.isupper() else value
    git(repository, "config", "--global", name, value)
    assert code_state(repository) == plain
    tree_at(repository, plain["commit"], plain["patch"], tmp_path / "again")
    assert files(tmp_path / "again") == files(repository)
    assert not (tmp_path / "hooked").exists()


@pytest.mark.parametrize(
    "variable", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"]
)
def test_the_record_is_the_same_inside_of_another_git_command(
    repository: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    change_everything(repository)
    plain = code_state(repository)
    monkeypatch.setenv(variable, "/nonexistent")
    assert code_state(repository) == plain


def test_files_that_nobody_meant_to_record_stay_out(repository: Path) -> None:
    for name in (
        "aws-keys.yaml",
        "notes.txt",
        "try.py",
        ".env",
        "pipeline/keys.json",
        "pipeline/key.pem",
        "flows/x.toml",
    ):
        (repository / name).write_text("secret\n")
    state = code_state(repository)
    assert (state["clean"], state["patch"], state["new"]) == (True, None, [])
    (repository / "pipeline" / "evaluation" / "suites").mkdir(parents=True)
    (repository / "pipeline" / "evaluation" / "suites" / "mine.yaml").write_text("suite\n")
    (repository / "pipeline" / "loss.c").write_text("int loss;\n")
    state = code_state(repository)
    assert state["new"] == ["pipeline/evaluation/suites/mine.yaml", "pipeline/loss.c"]
    (said,) = describe_code(state)
    assert "pipeline/loss.c" in said and "not tracked" in said
    assert state["clean"] is False


def test_what_somebody_staged_is_recorded(repository: Path, tmp_path: Path) -> None:
    (repository / "weights.json").write_text("{}\n")
    git(repository, "add", "weights.json")
    state = code_state(repository)
    assert (state["clean"], state["new"]) == (False, ["weights.json"])
    tree_at(repository, state["commit"], state["patch"], tmp_path / "again")
    assert files(tmp_path / "again") == files(repository)


def test_what_cannot_change_a_result_is_not_changed_code(repository: Path) -> None:
    (repository / "README.md").write_text("read me again\n")
    (repository / "docs").mkdir()
    (repository / "docs" / "page.html").write_text("new\n")
    git(repository, "add", "docs")
    assert (code_state(repository)["clean"], code_state(repository)["patch"]) == (True, None)


def test_parameters_and_photos_of_a_run_are_choices_not_changed_code(repository: Path) -> None:
    (repository / "params.yaml").write_text("train: {steps: 4}\n")
    (repository / "data.dvc").write_text("outs: []\n")
    state = code_state(repository)
    assert state["clean"] and "steps: 4" in state["patch"] and "outs: []" in state["patch"]
    (repository / "dvc.yaml").write_text("stages: {}\n")
    assert code_state(repository)["clean"] is False


def test_large_files_are_named_and_never_copied(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "pipeline" / "table.py").write_text("x = 1\n" * (recorded_code.LARGEST_SOURCE // 6 + 1))
    state = code_state(repository)
    assert (state["clean"], state["patch"], state["left_out"]) == (False, None, ["pipeline/table.py"])
    assert "too large to record" in describe_code(state)[0]
    (repository / "pipeline" / "table.py").unlink()
    change_everything(repository)
    monkeypatch.setattr(recorded_code, "LARGEST_PATCH", 100)
    state = code_state(repository)
    assert (state["clean"], state["patch"]) == (False, None) and "pipeline/step.c" in state["left_out"]


def test_taking_the_patch_leaves_index_and_objects_alone(repository: Path) -> None:
    change_everything(repository)
    before = {path: path.read_bytes() for path in (repository / ".git").rglob("*") if path.is_file()}
    state = code_state(repository)
    tree_at(repository, state["commit"], state["patch"], repository.parent / "again")
    assert {path: path.read_bytes() for path in (repository / ".git").rglob("*") if path.is_file()} == before


def test_a_workspace_inside_of_a_larger_repository_is_recorded_alone(repository: Path, tmp_path: Path) -> None:
    inner = repository / "subjects" / "bear"
    (inner / "pipeline").mkdir(parents=True)
    (inner / "pipeline" / "code.py").write_text("inner = 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "a subject")
    (inner / "pipeline" / "code.py").write_text("inner = 2\n")
    (repository / "pipeline" / "code.py").write_text("a private change elsewhere\n")
    state = code_state(inner)
    assert state["changed"] == ["pipeline/code.py"] and "private" not in state["patch"]
    tree_at(inner, state["commit"], state["patch"], tmp_path / "again")
    assert files(tmp_path / "again") == files(inner)


def test_linked_worktrees_shared_and_shallow_clones_are_repositories_too(repository: Path, tmp_path: Path) -> None:
    (repository / "page.j2").write_text("<p>2\n")
    git(repository, "commit", "-qam", "second")
    first = git(repository, "rev-parse", "HEAD~1").strip()
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"))
    git(tmp_path, "clone", "-q", "--shared", str(repository), "shared")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    for name in ("linked", "shared", "shallow"):
        (tmp_path / name / "pipeline" / "code.py").write_text("a = 2\n")
        state = code_state(tmp_path / name)
        assert state["changed"] == ["pipeline/code.py"]
        tree_at(tmp_path / name, state["commit"], state["patch"], tmp_path / f"{name}-again")
        assert files(tmp_path / f"{name}-again") == files(tmp_path / name)
    assert "git fetch --unshallow" in describe_code(code_state(tmp_path / "shallow"))[-1]
    with pytest.raises(CodeUnknown, match="shallow") as caught:
        tree_at(tmp_path / "shallow", first, None, tmp_path / "old")
    assert not caught.value.certain


def test_a_sparse_checkout_has_deleted_nothing(repository: Path) -> None:
    git(repository, "sparse-checkout", "set", "pipeline")
    (repository / "page.j2").unlink(missing_ok=True)
    git(repository, "update-index", "--skip-worktree", "page.j2")
    assert code_state(repository)["clean"] is True


def test_hidden_changes_are_changes(repository: Path) -> None:
    git(repository, "update-index", "--assume-unchanged", "pipeline/code.py")
    git(repository, "update-index", "--skip-worktree", "pipeline/step.c")
    (repository / "pipeline" / "code.py").write_text("a = 2\n")
    (repository / "pipeline" / "step.c").write_text("a = 2\n")
    assert code_state(repository)["changed"] == ["pipeline/code.py", "pipeline/step.c"]


def test_where_git_cannot_tell_there_is_a_reason(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    state = code_state(tmp_path / "none")
    assert (state["commit"], state["clean"]) == (None, None)
    assert "is in no git repository" in describe_code(state)[0]
    git(tmp_path / "none", "init", "-q")
    assert "no commit yet" in describe_code(code_state(tmp_path / "none"))[0]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install git" in describe_code(code_state(repository))[0]


@pytest.mark.may_skip
@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
def test_a_repository_of_another_user_is_named_with_the_way_out(repository: Path) -> None:
    subprocess.run(["chown", "-R", "12345:12345", str(repository)], check=True)
    state = code_state(repository)
    assert (state["commit"], state["clean"]) == (None, None)
    assert f"git config --global --add safe.directory {repository}" in describe_code(state)[0]
    git(repository.parent, "config", "--global", "--add", "safe.directory", str(repository))
    assert code_state(repository)["clean"] is True


def test_a_patch_that_does_not_fit_is_a_contradiction(repository: Path, tmp_path: Path) -> None:
    change_everything(repository)
    state = code_state(repository)
    with pytest.raises(CodeUnknown, match="does not fit") as caught:
        tree_at(repository, state["commit"], state["patch"].replace("a = 1", "a = 7"), tmp_path / "again")
    assert caught.value.certain
    with pytest.raises(CodeUnknown, match="is not in this repository"):
        tree_at(repository, "0" * 40, None, tmp_path / "again")
