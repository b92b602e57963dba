"""Settings for DVC, of the repository and of the user, that stop a run or hide photos: named before it begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.params import parse_params
from pipeline.runs.checks import check_run
from pipeline.runs.dvc_problems import dvc_problems


@pytest.fixture
def workspace(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    made = project()
    (made / ".dvc").mkdir()
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(made / "home"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(made / "etc"))
    return made


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("home/config", b"[core\nremote = "),
        ("etc/config", b"[core]\n    nosuch = 1\n"),
        (".dvc/config", b"[core]\n    remote = caf\xe9\n"),
        (".dvc/config.local", b"[core\nremote = "),
    ],
)
def test_settings_that_dvc_cannot_read_are_named_with_their_file(workspace: Path, where: str, text: bytes) -> None:
    file = workspace / where
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"[core]\n    autostage = true\n")
    assert list(dvc_problems(workspace)) == []
    file.write_bytes(text)
    (problem,) = dvc_problems(workspace)
    assert problem.startswith(f"{file}: DVC cannot read these settings: ") and "\n" not in problem


@pytest.mark.parametrize(
    ("place", "rules", "named"),
    [
        (".dvcignore", "photo1.*\n", ["photo1.jpg"]),
        (".dvcignore", "/data/*.jsonl\n", ["metadata.jsonl"]),
        ("data/.dvcignore", "*.jpg\n!photo0.jpg\n", ["photo1.jpg", "photo4.jpg"]),
        (".dvcignore", "data\n", ["metadata.jsonl", "photo0.jpg"]),
    ],
)
def test_photos_and_captions_that_are_hidden_from_dvc_are_named(
    workspace: Path, values: dict[str, Any], place: str, rules: str, named: list[str]
) -> None:
    params = parse_params(values, "params.yaml")
    (workspace / ".dvcignore").write_text(".DS_Store\n*.tmp\nother\n")
    (workspace / "data" / ".DS_Store").touch()
    assert check_run(workspace, params) == []
    (workspace / place).write_text(rules)
    (problem,) = check_run(workspace, params)
    assert ".dvcignore hides" in problem and all(name in problem or "more" in problem for name in named)


def test_a_folder_without_dvc_has_no_such_problems(project: Callable[..., Path]) -> None:
    made = project()
    (made / ".dvcignore").write_text("data\n")
    assert list(dvc_problems(made)) == []
