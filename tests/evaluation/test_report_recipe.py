from pipeline.evaluation.report_recipe import kept_default

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
