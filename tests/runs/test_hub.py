"""Models of the hub that a run lacks are told before it starts, and nothing is downloaded to find that out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.base import resolve
from pipeline.params import Params, SampleControl
from pipeline.runs import hub
from pipeline.runs.checks import check_run
from pipeline.runs.hub import download_sentence, unreachable


@pytest.fixture
def params(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Judges from the hub, of which the scorer is in the local cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--clip--here" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).touch()
    judges = {"scorer": "clip/here", "revision": "1" * 40, "identity": "dino/away", "identity_revision": "2" * 40}
    evaluate = {**values["evaluate"], **judges, "copies": "identity", "perceptual": "scorer"}
    return Params.model_validate({**values, "evaluate": evaluate})


def test_what_is_missing_is_downloaded_where_the_hub_answers(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "silence", lambda _: None)
    assert download_sentence(params) == "dino/away from the hub"
    assert unreachable(params) == []


def test_an_adapter_for_control_is_downloaded_too(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "silence", lambda _: None)
    found = []
    for adapter in ("lines/away", "base"):
        control = SampleControl(kind="edges", adapter=adapter)
        sample = params.sample.model_copy(update={"control": control})
        found.append(download_sentence(params.model_copy(update={"sample": sample})))
    assert found == ["dino/away and lines/away from the hub", "dino/away from the hub"]


def test_what_is_missing_stops_a_run_where_it_does_not(
    params: Params, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: Any) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "silence", lambda _: "no answer")
    monkeypatch.setattr(resolve, "from_hub", fetched)
    (problem,) = check_run(project(), params)
    assert problem.startswith("evaluate.identity 'dino/away': not in the local cache")
    assert "(no answer)" in problem
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "(HF_HUB_OFFLINE is set)" in unreachable(params)[0]


def test_a_hub_that_is_away_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []

    def download(*_: Any, local_files_only: bool, **__: Any) -> str:
        asked.append(local_files_only)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for reason in ("no answer", None):
        monkeypatch.setattr(resolve, "silence", lambda _, reason=reason: reason)
        resolve.from_hub("base.model", "a/b", None, ["*"])
    assert asked == [True, False]
