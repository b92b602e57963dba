"""Captions of photos against the suites that choose: found while nothing is prepared, drawn or trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.evaluation import caption_conflicts
from pipeline.evaluation.caption_conflicts import suites_for_photos
from pipeline.evaluation.suite import load_suite
from pipeline.layout import DATA, PARAMS
from pipeline.params import Params, load_params
from pipeline.runs.checks import check_run
from pipeline.stages import inputs


@pytest.fixture
def workspace(project, tmp_path: Path) -> Path:
    """Five photos, one of which is held out; the suite that judges draws every caption."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("prompts: {scene: ['a photo of {token} on a hill', 'a photo of {token}']}\ntraining_captions: 9\n")
    return project(sample={"suite": str(mine)})


def caption(workspace: Path, texts: dict[int, str]) -> Params:
    rows = [json.loads(line) for line in (workspace / DATA / "metadata.jsonl").read_text().splitlines()]
    changed = [{**row, "text": texts.get(at, row["text"])} for at, row in enumerate(rows)]
    (workspace / DATA / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    return load_params(workspace / PARAMS)


def asked(params: Params) -> str:
    return load_suite(params.select.suite, params.subject).prompts[0].text


def test_a_caption_that_a_choosing_suite_asks_for_is_told_before_anything_runs(workspace: Path) -> None:
    text = asked(load_params(workspace / PARAMS))
    params = caption(workspace, dict.fromkeys(range(5), text))
    said = f"'{text}' is the caption of a training photo, which sample.suite (mine) draws, and select.suite"
    assert any(problem.startswith(said) for problem in check_run(workspace, params))
    assert not any("caption" in problem for problem in check_run(workspace, params, photos=False))
    with pytest.raises(UserError) as error:
        inputs.run(workspace, params)
    assert said in str(error.value)


def test_captions_of_photos_that_are_held_out_are_not_drawn(workspace: Path) -> None:
    text = asked(load_params(workspace / PARAMS))
    found = []
    for at in range(5):
        params = caption(workspace, {other: text if other == at else f"mysks on rock {other}" for other in range(5)})
        found.append(bool(suites_for_photos(workspace / DATA, params)[1]))
    assert sorted(found) == [False, True, True, True, True]


def test_photos_are_decoded_only_where_a_caption_may_matter(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(caption_conflicts, "examine_photos", decode)
    params = caption(workspace, {0: "mysks on a rock"})
    assert suites_for_photos(workspace / DATA, params)[1] == []
    with pytest.raises(AssertionError, match="decoded"):
        suites_for_photos(workspace / DATA, params, recipe_reads_captions=True)
    params = caption(workspace, {0: asked(params)})
    with pytest.raises(AssertionError, match="decoded"):
        suites_for_photos(workspace / DATA, params)


def test_a_caption_that_a_recipe_with_weights_cannot_read_is_told_before_anything_runs(workspace: Path) -> None:
    values = load_params(workspace / PARAMS).model_dump(by_alias=True)
    values["recipe"] = {"template": "({prompt}:1.2)", "weights": True}
    caption(workspace, dict.fromkeys(range(5), "mysks plush toy (16:9)"))
    found = check_run(workspace, Params.model_validate(values))
    assert any("sample.suite asks for the caption of a training photo" in problem for problem in found)
