"""Blind choices, counted by hand."""

import pytest
from scipy.stats import binomtest

from pipeline.evaluation.preference import Choice, sign_test, tally


def choice(prompt: str, seed: int, chosen: str, by: str = "Eve", at: int = 0, against: str = "base") -> Choice:
    return Choice(
        at=f"2026-01-01T00:00:{at:02d}.0Z",
        by=by,
        version="models:/mysks/2",
        against=against,
        prompt_id=prompt,
        prompt=prompt,
        seed=seed,
        left="version",
        chosen=chosen,
        pictures={"version": "a", "against": "b"},
        sitting="s",
    )


@pytest.mark.parametrize(("more", "less"), [(1, 0), (5, 0), (9, 1), (7, 7), (0, 6), (30, 12)])
def test_the_sign_test_is_the_exact_one(more: int, less: int) -> None:
    assert sign_test(more, less) == pytest.approx(binomtest(more, more + less).pvalue)


def test_prompts_are_counted_by_the_side_with_more_answers() -> None:
    found = tally(
        [
            choice("p1", 1, "version"),
            choice("p1", 2, "version"),
            choice("p1", 3, "against"),
            choice("p2", 1, "against"),
            choice("p2", 2, "none"),
            choice("p3", 1, "version"),
            choice("p3", 1, "against", by="Adam"),
        ],
        {"version": None, "against": None},
    )
    assert found.choices == {"version": 3, "against": 3, "none": 1}
    assert found.prompts == {"version": 1, "against": 1, "none": 1}
    assert found.people == {"Eve": 6, "Adam": 1}
    assert (found.share, found.p) == (0.5, 1.0)
    assert found.not_compared == ["one of the two was not judged"]


def test_of_several_answers_of_a_person_about_a_pair_the_first_counts() -> None:
    answers = [
        choice("p1", 1, "version", at=1),
        choice("p1", 1, "against", at=2),
        choice("p1", 1, "against", by="eve", at=3),
    ]
    for order in (answers, answers[::-1]):
        found = tally(order, {"version": None, "against": None})
        assert found.choices == {"version": 1, "against": 0, "none": 0}


@pytest.mark.parametrize(
    ("wins", "losses", "words"),
    [(6, 0, "prefer it"), (0, 6, "prefer the base"), (5, 0, "no preference"), (0, 0, "as many for either side")],
)
def test_a_preference_is_claimed_only_where_the_test_shows_one(wins: int, losses: int, words: str) -> None:
    chosen = ["version"] * wins + ["against"] * losses + ["none"]
    found = tally([choice(f"p{at}", 1, one) for at, one in enumerate(chosen)], {"version": None, "against": None})
    assert words in found.sentence
