"""The benchmarks of training measure what they say."""

import json
import os
from pathlib import Path

import pytest

from benchmarks import planted, plants, recipes, stages, threads
from benchmarks.ideal import composition
from benchmarks.training import Work, official_images, whole_batches
from pipeline.base.resolve import resolve_base
from pipeline.evaluation.suite import load_suite
from pipeline.layout import RECIPE
from pipeline.params import Base, dump_params, flat_params


def work(folder: Path, photos: int, classes: int = 0) -> Work:
    for name, count in (("photos", photos), ("classes", classes)):
        (folder / name).mkdir()
        for number in range(count):
            (folder / name / f"{number}.jpg").touch()
    return Work(
        "", str(folder / "photos"), str(folder / "classes") if classes else "", 64, 8, 30, "bf16", "adamw", False
    )


def test_the_official_script_is_credited_with_the_photos_that_its_loader_hands_out(tmp_path: Path) -> None:
    found = work(tmp_path, photos=15)  # batches of 8 and 7 in turns
    assert [official_images(found, step, step + 1) for step in range(4)] == [8, 7, 8, 7]
    assert (official_images(found, 3, 30), whole_batches(found, 3, 30)) == (202, 216)


def test_with_class_images_a_pass_is_as_long_as_there_are_more_of(tmp_path: Path) -> None:
    assert official_images(work(tmp_path, photos=15, classes=32), 0, 8) == 64


@pytest.mark.parametrize("load", [0.0, 99.0])
@pytest.mark.parametrize("setting", threads.SETTINGS)
def test_threads_wait_as_the_setting_says_however_busy_the_machine_is(setting: str, load: float, monkeypatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load,) * 3)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in threads.SETTINGS[setting].items():
        monkeypatch.setenv(name, value)
    seen: list[str | None] = []
    monkeypatch.setattr(threads, "ours", lambda _: seen.append(os.environ.get("OMP_WAIT_POLICY")))
    threads.train(json.dumps(vars(Work("", "", "", 64, 8, 30, "bf16", "adamw", False))))
    assert seen == [threads.SETTINGS[setting].get("OMP_WAIT_POLICY")]


def test_a_p_value_among_several_recipes_is_followed_by_the_one_that_counts_them(tmp_path: Path) -> None:
    def row(p: float) -> dict:
        merit = {"metric": "merit", "value": 0.04, "low": 0.0, "high": 0.08, "p": p}
        return {"gains": [merit], **dict.fromkeys(("likeness", "fidelity", "success", "independent", "animal"), 0.5)}

    (tmp_path / "planted").mkdir()
    dial = {"default": row(1.0), "strength 0.6": row(0.051), "strength 0.4": row(0.029)}
    (tmp_path / "planted" / "dial.json").write_text(json.dumps(dial))
    (tmp_path / "planted" / "avoid.json").write_text(json.dumps({"default": row(1.0), "avoid": row(0.029)}))
    lines = recipes.table(tmp_path).splitlines()
    assert [line.split("), ")[1].strip(" |") for line in lines if "p 0.0" in line] == [
        "p 0.051 (p 0.058 by Holm)", "p 0.029 (p 0.058 by Holm)", "p 0.029",
    ]  # fmt: skip


def test_a_recipe_that_a_search_with_other_settings_found_is_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root, searched = Path(recipes.__file__).parents[1], []
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())

    def tune(*_) -> None:
        searched.append(recipes.BUDGET)
        (tmp_path / RECIPE).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / RECIPE).write_text("{}")

    class Stop(Exception):
        pass

    def stop(*_) -> None:
        raise Stop

    monkeypatch.setattr("pipeline.stages.tune.run", tune)
    monkeypatch.setattr("pipeline.stages.sample.run", stop)
    monkeypatch.setattr("pipeline.lineage.digests.content_digest", lambda _: "c" * 64)
    for budget in (140, 140, 200):
        monkeypatch.setattr(recipes, "BUDGET", budget)
        with pytest.raises(Stop):
            recipes.search()
    monkeypatch.setattr(recipes, "PRECISION", "fp32")
    with pytest.raises(Stop):
        recipes.search()
    assert searched == [140, 200, 200]


def record_of(folder: Path, base: str, params: dict) -> Path:
    folder.mkdir(parents=True)
    (folder / "lineage.json").write_text(json.dumps({"format": 1, "base": {"digest": base}, "params": params}))
    return folder


def test_a_model_of_another_base_or_of_other_parameters_is_not_measured(tmp_path: Path) -> None:
    base = resolve_base(Base(model="pocket")).digest
    stages.refuse_other(record_of(tmp_path / "own", base, {"train": {"steps": 3}}), "pocket", {"train": {"steps": 3}})
    with pytest.raises(SystemExit, match=r"old comes from a training with another base"):
        stages.refuse_other(record_of(tmp_path / "old", "0" * 64, {}), "pocket")
    with pytest.raises(SystemExit, match=r"longer comes from a training with another train and base"):
        stages.refuse_other(
            record_of(tmp_path / "longer", "0" * 64, {"train": {"steps": 4}}), "pocket", {"train": {"steps": 3}}
        )


CONSTANT = {"train.learning_rate", "train.schedule"}
PLANTED_BY = {
    "memorised": {"train.steps", "train.batch", "train.plain_captions", "train.augment.places", *CONSTANT},
    "forgotten": {"train.learning_rate"},
    "style-blind": {"train.plain_captions", "train.augment.places", *CONSTANT},
    "unstable": {"train.steps", "train.token.learn"},
}
WITHOUT_CLASS_IMAGES = {"prior.images", "train.prior.weight"}


@pytest.mark.parametrize("name", PLANTED_BY)
def test_a_planted_model_differs_from_the_good_one_in_what_makes_its_fault(name: str) -> None:
    plant = plants.PLANTS[name]
    good, faulty = (
        flat_params(dump_params(plants.params_of("mysks", 1, one))) for one in (plants.PLANTS["good"], plant)
    )
    differ = {key for key in good | faulty if good.get(key) != faulty.get(key)}
    assert differ == PLANTED_BY[name] | {"train.save_every"} | (set() if plant.prior else WITHOUT_CLASS_IMAGES)
    if "three times the learning rate" in plant.made_by:
        rates = [float(values["train.learning_rate"]) for values in (good, faulty)]
        assert rates[1] == pytest.approx(3 * rates[0])


def test_checkpoints_of_both_toys_are_judged_where_theirs_or_no_training_is_behind_them() -> None:
    swapped = plants.Case(plants.PLANTS["swapped"], "mysks", 2)
    assert swapped.trained == plants.Case(plants.PLANTS["good"], "tarlo", 2)
    assert plants.Case(plants.PLANTS["untouched base"], "mysks", 2).trained is None
    trained = {case.trained.name for case in plants.cases() if case.trained}
    assert trained <= {case.name for case in plants.cases() if case.trained == case}


@pytest.mark.parametrize("changed", ["tuned", "base", "judges", "settings"])
def test_an_evaluation_of_anything_else_is_not_counted(changed: str, tmp_path: Path) -> None:
    case = plants.Case(plants.PLANTS["untouched base"], "mysks", 1)
    made_of, path = planted.digests_of(case, tmp_path), planted.evaluation_file(tmp_path, case)
    path.parent.mkdir()
    path.write_text(json.dumps({"sources": made_of}))
    assert planted.judged(case, tmp_path) == {"sources": made_of}
    path.write_text(json.dumps({"sources": {**made_of, changed: "0" * 64}}))
    with pytest.raises(SystemExit, match=r"untouched-base-mysks-1 is not judged as it is"):
        planted.judged(case, tmp_path)


def test_a_judge_or_a_line_that_changes_makes_an_evaluation_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = plants.Case(plants.PLANTS["untouched base"], "mysks", 1)
    before = planted.digests_of(case, tmp_path)
    monkeypatch.setattr(planted, "content_digest", lambda folder: f"another {folder.name}")
    assert {name for name, digest in planted.digests_of(case, tmp_path).items() if digest != before[name]} == {"judges"}
    monkeypatch.undo()
    params = case.params
    stricter = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"copies_above": 0.5})})
    monkeypatch.setattr(plants.Case, "params", stricter)
    assert {name for name, digest in planted.digests_of(case, tmp_path).items() if digest != before[name]} == {
        "settings"
    }


def test_every_prompt_of_the_suite_is_composed_as_it_asks() -> None:
    subject = plants.params_of("mysks", 1).subject
    prompts = {p.text: composition(p) for p in load_suite("pocket", subject).prompts if p.kind == "subject"}
    assert None not in prompts.values()
    what = prompts["a photo of mysks plush toy wearing a red scarf in the snow"]
    assert (what.scene, what.style, what.accessory) == ("snow", "photo", "red scarf")
