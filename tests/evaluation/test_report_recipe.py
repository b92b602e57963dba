from pipeline.evaluation.report_recipe import kept_default, second_section

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
    assert found is not None and found["rows"] == [("base", "0.5000"), ("tuned, default recipe", "0.5000")]
