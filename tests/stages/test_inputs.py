"""Files and folders that parameters name are inputs by content: real DVC, the real graph, stages that only count."""

import shutil
from pathlib import Path

import pytest
import yaml

from pipeline import layout
from pipeline.base.named_paths import digest_path, path_parameters
from pipeline.errors import UserError
from pipeline.evaluation.suite import BUILT_IN
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.stages import prior
from pipeline.stages.inputs import run
from tests.workspace import ROOT, dvc, equip


def executed(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def names(stage: dict, *kinds: str) -> list[str]:
    return [out if isinstance(out, str) else next(iter(out)) for kind in kinds for out in stage.get(kind, [])]


def stages_that_count(folder: Path) -> None:
    """The graph of dvc.yaml, with commands that write nothing but the time: what they make is always new."""
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    needed = {dep for stage in graph["stages"].values() for dep in names(stage, "deps")}
    for name, stage in graph["stages"].items():
        if name == "inputs":
            continue
        made = names(stage, "outs", "metrics", "plots")
        files = [file for out in made for file in ({dep for dep in needed if dep.startswith(f"{out}/")} or {out})]
        stage["cmd"] = [f"mkdir -p $(dirname {file}) && date +%N > {file}" for file in files]
    (folder / "dvc.yaml").unlink()
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph["stages"]}))


def test_an_edited_file_runs_the_stages_that_depend_on_it_and_no_others(
    project, tiny_base: Path, tiny_scorer: Path
) -> None:
    folder = project(sample={"suite": "mine.yaml"}, base={"model": "./base"}, evaluate={"scorer": "judge"})
    shutil.copytree(tiny_base, folder / "base")
    shutil.copytree(tiny_scorer, folder / "judge")
    shutil.copy(BUILT_IN / "thesis.yaml", folder / "mine.yaml")
    workspace = equip(folder)
    stages_that_count(workspace)
    assert executed(dvc(workspace, "repro"))[:2] == ["inputs", "prepare"]
    assert "up to date" in dvc(workspace, "status")

    with (folder / "mine.yaml").open("a") as file:
        file.write("# a remark\n")
    assert executed(dvc(workspace, "repro")) == ["inputs", "sample", "evaluate", "register"]
    settings = folder / "judge" / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace("0.5, 0.5, 0.5", "0.4, 0.5, 0.5"))
    assert executed(dvc(workspace, "repro")) == ["select", "tune", "sample", "evaluate", "register"]
    (folder / "base" / "unet" / "config.json").write_text("{}")
    assert executed(dvc(workspace, "repro")) == list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])[1:]
    assert "up to date" in dvc(workspace, "status")
    assert (folder / "base" / "unet" / "config.json").read_text() == "{}"  # links go, what they lead to stays


def test_a_workspace_that_was_moved_keeps_its_links(project, tmp_path: Path) -> None:
    shutil.copy(BUILT_IN / "thesis.yaml", tmp_path / "mine.yaml")
    folder = project(sample={"suite": "mine.yaml"})
    run(folder, load_params(folder / layout.PARAMS))
    entries = {path.name for path in (folder / layout.INPUTS).iterdir()}
    assert entries == {*path_parameters(load_params(folder / layout.PARAMS)), "prior.images", "prior.places"}
    assert (folder / layout.INPUTS / "evaluate.identity").read_text() == "scorer\n"
    shutil.copytree(folder, tmp_path / "elsewhere", symlinks=True, ignore=shutil.ignore_patterns("elsewhere"))
    link = tmp_path / "elsewhere" / layout.INPUTS / "sample.suite"
    assert link.resolve() == tmp_path / "elsewhere" / "mine.yaml"


def test_the_suite_of_a_search_that_is_off_may_be_missing(project) -> None:
    folder = project(tune={"suite": "gone.yaml", "pictures": 0})
    run(folder, load_params(folder / layout.PARAMS))
    assert (folder / layout.INPUTS / "tune.suite").read_text() == "gone.yaml\n"


def test_everything_that_is_missing_is_named_at_once(project) -> None:
    folder = project(
        sample={"suite": "gone.yaml"}, base={"model": "/no/base"}, evaluate={"scorer": "./judge", "copies": "~/none"}
    )
    with pytest.raises(UserError) as error:
        run(folder, load_params(folder / layout.PARAMS))
    for key in ("sample.suite", "base.model", "evaluate.scorer", "evaluate.copies"):
        assert key in str(error.value)
    assert not (folder / layout.INPUTS).exists()


def test_a_folders_digest_follows_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_path(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = digest_path(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, digest_path(tmp_path)}) == 3


@pytest.mark.parametrize(
    "unused", [{"method": "textual-inversion"}, {"prior": {"kind": "images", "weight": 0}}], ids=str
)
def test_class_images_that_no_training_looks_at_are_not_drawn(project, unused: dict, capsys) -> None:
    def entry(changes: dict) -> str:
        folder = project(train=changes)
        run(folder, load_params(folder / layout.PARAMS))
        return (folder / layout.INPUTS / "prior.images").read_text()

    assert entry({}) == entry({"prior": {"kind": "images", "weight": 3}}) == "2\n"  # nothing is drawn anew for a weight
    assert entry(unused) == "0\n"
    folder = project(train=unused)
    prior.run(folder, load_params(folder / layout.PARAMS))
    assert read_json(folder / layout.PRIOR_INDEX)["images"] == []
    assert not list((folder / layout.PRIOR).glob("*.png"))
    assert "no class images are drawn" in capsys.readouterr().out


PLACES = {"images": 3, "prompts": {"on the beach": "an empty beach", "in a forest": "an empty forest"}}


def test_places_that_no_photo_is_put_in_are_not_drawn(project, capsys) -> None:
    def entry(places: int) -> str:
        folder = project(prior={"places": PLACES}, train={"augment": {"places": places}})
        run(folder, load_params(folder / layout.PARAMS))
        return (folder / layout.INPUTS / "prior.places").read_text()

    assert entry(1) == entry(2) == "3\n"
    assert entry(0) == "0\n"
    folder = project(prior={"images": 0, "places": PLACES}, train={"augment": {"places": 0}})
    prior.run(folder, load_params(folder / layout.PARAMS))
    assert read_json(folder / layout.PRIOR_INDEX)["places"] == []
    assert "no places are drawn: train.augment.places is 0" in capsys.readouterr().out
