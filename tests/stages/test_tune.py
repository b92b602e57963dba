"""Stage `tune` on the tiny base: a search that resumes, and what the later stages make of it."""

import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from pipeline import layout
from pipeline.errors import UserError
from pipeline.evaluation.suite import SuiteError
from pipeline.files import read_json, read_jsonl, read_table, write_json
from pipeline.params import ParamsError, load_params
from pipeline.runs.checks import check_run
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.stages import evaluate, inputs, prepare, prior, sample, select, train, tune
from pipeline.stages.inputs import InputsError
from tests.services.language_model import LanguageModel, stand_in_model
from tests.stages.test_dvc_yaml import closure
from tests.workspace import ROOT

SUITE = str(ROOT / "tests" / "tuning.yaml")
SEARCH = {"pictures": 40, "suite": SUITE, "seeds": [41], "parts": ["strength", "guidance"]}


def run(workspace: Path, *stages) -> None:
    params = load_params(workspace / layout.PARAMS)
    for stage in stages:
        stage.run(workspace, params)


@pytest.fixture
def language_model() -> Iterator[LanguageModel]:
    with stand_in_model() as model:
        yield model


@pytest.mark.parametrize("stage", [select, tune, sample], ids=lambda stage: stage.__name__)
def test_a_caption_that_chooses_and_judges_is_found_before_anything_is_drawn(project, stage) -> None:
    workspace = project(select={"suite": "choosing.yaml"}, sample={"suite": "reporting.yaml"}, tune=SEARCH)
    captions = "".join(f"\n    - a photo of {{token}}, {number}" for number in range(5))
    (workspace / "choosing.yaml").write_text("prompts: {scene: ['a photo of {token} in a valley']}")
    (workspace / "reporting.yaml").write_text("prompts: {a: ['a photo of {token} on a hill']}\ntraining_captions: 4")
    run(workspace, inputs, prepare)
    (workspace / "choosing.yaml").write_text(f"prompts:\n  scene:{captions}\n")
    shared = (
        r"is the caption of a training photo, which sample.suite \(reporting\) draws, and select.suite \(choosing\)"
    )
    with pytest.raises(SuiteError, match=shared) as found:
        run(workspace, stage)
    assert len(str(found.value).splitlines()) == 4
    with pytest.raises(InputsError, match=shared):
        run(workspace, inputs)
    assert not (workspace / layout.DRAWN).exists()


def test_a_killed_search_goes_on_and_what_it_finds_is_drawn_and_compared(
    project, language_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = {"address": language_model.address, "model": "small", "wordings": 2}
    workspace = project(tune={**SEARCH, "parts": ["wording", "strength", "guidance"], "writer": writer})
    language_model.answers = ['["{prompt}, in focus", "a toy", "a sharp {prompt}"]']  # it is asked once
    run(workspace, inputs, prepare, prior, train, select)
    kept = set((workspace / layout.DRAWN).iterdir())
    real, drawn = RecipeSampler.draw, []

    def noted(self, requests, *rest):
        for request, picture in zip(requests, real(self, requests, *rest), strict=True):
            drawn.append((self.recipe.digest, request.prompt, request.seed))
            yield picture
            if len(drawn) == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(RecipeSampler, "draw", noted)
    with pytest.raises(KeyboardInterrupt):
        run(workspace, tune)
    assert not (workspace / layout.TUNED).exists()
    run(workspace, tune)
    assert len(drawn) == len(set(drawn)) > 5
    record = read_json(workspace / layout.SEARCH)
    assert [found["prompts"] for found in record["rounds"]] == [1, 2, 4]
    tried = {trial["digest"] for found in record["rounds"] for trial in found["trials"]}
    assert tried == {Recipe().digest, *(proposal["digest"] for proposal in record["proposals"])}
    by_base = 4
    assert record["pictures"]["drawn"] == len(drawn) + by_base <= record["pictures"]["planned"] <= SEARCH["pictures"]
    assert record["chosen"]["digest"] in tried
    assert len(read_table(workspace / layout.TRIALS)) == sum(len(found["trials"]) for found in record["rounds"])
    assert set((workspace / layout.DRAWN).iterdir()) == kept  # the base's drawings are for the other stages, too
    written = record["writer"]
    assert written["templates"] == ["{prompt}, in focus", "a sharp {prompt}"]
    assert written["refused"][0]["template"] == "a toy" and written["answer"].startswith("[")
    assert (record["proposals"][0]["by"], record["proposals"][0]["words"]) == ("small", "{prompt}, in focus")
    assert not (workspace / layout.WORDINGS).exists()

    write_json(workspace / layout.RECIPE, {"strength": 0.5})
    run(workspace, sample, evaluate)
    found = read_json(workspace / layout.EVALUATION)["recipe"]
    assert found["recipe"] == {"strength": 0.5}
    assert [gain["metric"] for gain in found["gains"]][:3] == ["merit", "likeness", "fidelity"]
    assert found["search"]["suite"]["digest"] == record["suite"]["digest"]
    assert {row["model"] for row in read_jsonl(workspace / layout.SAMPLES_INDEX)} == {"tuned", "base", "recipe"}
    page = (workspace / layout.REPORT_PAGE).read_text()
    assert found["sentence"] in unescape(page) and "strength 0.5" in page

    write_json(workspace / layout.RECIPE, {})
    run(workspace, sample, evaluate)
    page = unescape((workspace / layout.REPORT_PAGE).read_text())
    assert "The search kept the default recipe: " in page and "seeds 41, " in page


def test_shared_prompts_and_seeds_and_a_small_budget_are_told_before_anything_runs(project) -> None:
    workspace = project(tune={**SEARCH, "suite": "thesis", "seeds": [31], "pictures": 2})
    problems = "\n".join(check_run(workspace, load_params(workspace / layout.PARAMS)))
    assert "thesis (tune.suite) and thesis (sample.suite) share 12 prompts" in problems
    assert "select.seeds and tune.seeds share 31" in problems
    assert "tune.pictures: 2 are too few" in problems
    with pytest.raises(UserError, match=r"select\.seeds and tune\.seeds share"):
        run(workspace, inputs)


def test_a_search_with_nothing_to_try_is_told_before_anything_runs(project) -> None:
    workspace = project(tune={**SEARCH, "parts": ["avoid"]}, subject={"animal": None}, gates={"animal": None})
    problems = check_run(workspace, load_params(workspace / layout.PARAMS))
    assert any(problem.startswith("tune.parts: avoid changes nothing here") for problem in problems)
    run(workspace, inputs, prepare)
    with pytest.raises(UserError, match="avoid changes nothing here"):
        run(workspace, tune)


def test_the_recipe_of_params_is_drawn_beside_the_default_and_stands_in_the_report(project, tiny_scorer: Path) -> None:
    workspace = project(sample={"seeds": [1]})
    run(workspace, inputs, prepare, prior, train, select)
    file = workspace / layout.PARAMS
    values = yaml.safe_load(file.read_text())
    values["recipe"] = {"strength": 0.5, "negative": "blurry"}
    file.write_text(yaml.safe_dump(values))
    run(workspace, tune, sample, evaluate)
    assert read_json(workspace / layout.RECIPE) == {"strength": 0.5, "negative": "blurry"}
    found = read_json(workspace / layout.EVALUATION)["recipe"]
    assert found["given"] and found["adopted"] == (not found["newly_failed"])
    assert found["sentence"].startswith("The recipe of params.yaml")
    page = unescape((workspace / layout.REPORT_PAGE).read_text())
    assert found["sentence"] in page and "Searched on prompts" not in page

    plain = read_json(workspace / layout.EVALUATION)
    assert "second_opinion" not in plain
    values["report"] = {"judge": str(other_clip(tiny_scorer, workspace / "other")), "revision": None}
    file.write_text(yaml.safe_dump(values))
    run(workspace, evaluate)
    judged = read_json(workspace / layout.EVALUATION)
    opinion = judged.pop("second_opinion")
    assert judged == plain  # it changes no figure, gate or verdict
    models, gain = opinion["models"], opinion["gain"]
    assert models.keys() == {"base", "tuned", "recipe"}
    assert gain["value"] == pytest.approx(models["recipe"]["value"] - models["tuned"]["value"], abs=2e-4)
    assert gain["low"] <= gain["value"] <= gain["high"]
    page = unescape((workspace / layout.REPORT_PAGE).read_text())
    assert f"{gain['value']:.4f} ({gain['low']:.4f} to {gain['high']:.4f})" in page
    values["report"]["judge"] = values["evaluate"]["scorer"]
    file.write_text(yaml.safe_dump(values))
    assert "decides already" in "\n".join(check_run(workspace, load_params(file)))
    with pytest.raises(UserError, match="one of the judges that decide"):
        run(workspace, evaluate)


def other_clip(clip: Path, folder: Path) -> Path:
    """Another CLIP of the same kind."""
    shutil.copytree(clip, folder)
    weights = folder / "model.safetensors"
    tensors = {name: tensor * 1.1 if "weight" in name else tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    return folder


@pytest.mark.parametrize("stage", ["select", "tune"])
def test_no_search_and_no_selection_can_ask_the_judge_that_decides_nothing(stage: str) -> None:
    asked = closure(ROOT / "pipeline" / "stages" / f"{stage}.py") | closure(ROOT / "pipeline/evaluation/gates.py")
    assert asked.isdisjoint({"pipeline/evaluation/second_opinion.py", "pipeline/base/report_judge.py"})
    assert "pipeline/evaluation/second_opinion.py" in closure(ROOT / "pipeline" / "stages" / "evaluate.py")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"strenght": 0.5}, "did you mean strength"),
        ({"control": {"kind": "edges"}}, "need what a run does not have"),
        ({"adapters": [{"model": "models:/a/1"}]}, "need what a run does not have"),
    ],
)
def test_a_recipe_that_a_run_cannot_use_is_told_before_anything_runs(project, recipe: dict, words: str) -> None:
    workspace = project()
    file = workspace / layout.PARAMS
    values = {**yaml.safe_load(file.read_text()), "recipe": recipe}
    file.write_text(yaml.safe_dump(values))
    assert words in "\n".join(check_run(workspace, load_params(file)))
    with pytest.raises(UserError, match=words):
        run(workspace, tune)
    file.write_text(yaml.safe_dump({**values, "tune": SEARCH}))
    with pytest.raises(ParamsError, match="leave one of the two out"):
        load_params(file)
