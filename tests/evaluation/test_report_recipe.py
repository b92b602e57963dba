from types import SimpleNamespace

from pipeline.evaluation.report_facts import _rows
from pipeline.evaluation.report_recipe import kept_default, recipe_section, second_section
from pipeline.evaluation.suite import load_suite
from pipeline.params import Subject

SEARCH = {
    "suite": {"name": "pocket-tuning", "digest": "ab" * 32, "seeds": [51, 52]},
    "pictures": {"planned": 140, "drawn": 136},
}


def test_a_search_that_kept_the_default_is_told_with_what_it_looked_at() -> None:
    found = kept_default({"search_without_result": SEARCH})
    assert found == (
        "The search kept the default recipe: pocket-tuning (abababababababab), seeds 51, 52, 136 pictures."
    )
    assert kept_default({}) == ""


def test_a_judge_that_knows_nothing_of_the_prompts_is_in_the_report_without_rows() -> None:
    opinion = {"model": "base", "figure": "share of the scenes", "models": {}, "gain": None}
    found = second_section({"second_opinion": opinion})
    assert found is not None and found["rows"] == [] and found["name"] == "base"
    assert "no figures here" in found["nothing"] and "Name another judge" in found["nothing"]
    assert second_section({}) is None


def test_a_judge_that_knows_one_prompt_has_no_interval() -> None:
    one = {"value": 0.5, "low": None, "high": None}
    opinion = {"model": "base", "figure": "x", "models": {"base": one, "tuned": one}, "gain": None}
    found = second_section({"second_opinion": opinion})
    assert found is not None and found["rows"] == [
        ("base", "0.5000 (no interval known)"),
        ("tuned, default recipe", "0.5000 (no interval known)"),
    ]


def test_the_pictures_of_a_recipe_name_the_seeds_that_draw_them_again() -> None:
    subject = Subject(name="mysks", token="mysks", class_noun="plush toy", animal="wild boar")
    recipe = {"recipe": {"strength": 0.8}, "digest": "r" * 64, "given": True, "sentence": "", "rule": "", "search": {}}
    evaluation = {"recipe": recipe | {"gains": [], "gates": []}, "missing": {}}
    sample = SimpleNamespace(seeds=[11, 12])
    given = SimpleNamespace(
        evaluation=evaluation, suite=load_suite("pocket", subject), params=SimpleNamespace(sample=sample)
    )
    found = recipe_section(given)  # type: ignore[arg-type]
    assert found is not None
    above = {picture["file"]: picture["seed"] for row in _rows(given, "subject") for picture in row["pictures"]}  # type: ignore[arg-type]
    shown = [picture for row in found["rows"] for picture in row["pictures"]]
    assert shown and all(noise == above[_by_default(file)] for file, noise in ((p["file"], p["seed"]) for p in shown))
    assert all(picture["seed"] not in sample.seeds for picture in shown)


def _by_default(file: str) -> str:
    return file.replace("recipe/", "tuned/")
