"""Blind choices, counted by hand."""

from typing import Any

import pytest
from scipy.stats import binomtest

from pipeline.evaluation.preference import Choice, sign_test, tally
from pipeline.evaluation.statistics import wilson
from tests.evaluation.test_comparison import evaluation as compared


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


def judged(likeness: dict[str, float]) -> dict[str, Any]:
    """An evaluation of three seeds a prompt, with the given likeness of the tuned model, and 0.5 of the base."""
    rows = [
        {
            "model": model,
            "prompt_id": prompt,
            "seed": seed,
            "sha256": sha256,
            "identity_heldout": value if model == "tuned" else 0.5,
            "prompt_fidelity": 0.5,
        }
        for prompt, value in likeness.items()
        for seed in (1, 2, 3)
        for model, sha256 in (("tuned", "a"), ("base", "b"))
    ]
    return {"missing": {}, "pictures": rows}


def test_a_figure_agrees_by_prompts_since_people_and_seeds_of_one_prompt_are_alike() -> None:
    prompts = {f"p{at}": 0.6 if at < 8 else 0.4 for at in range(10)}
    choices = [
        choice(prompt, seed, "version", by=person) for prompt in prompts for seed in (1, 2, 3) for person in "ABC"
    ]
    evaluation = judged(prompts)
    (found,) = tally(choices, {"version": evaluation, "against": None}).agreement  # fidelity names neither picture
    assert (found.hits, found.total) == (8, 10)
    assert (found.low, found.high) == wilson(8, 10)
    split = [choice("p0", seed, said) for seed, said in ((1, "version"), (2, "against"))]
    assert tally(split, {"version": evaluation, "against": None}).agreement == []


@pytest.mark.parametrize(
    ("wins", "losses", "words"),
    [(6, 0, "prefer it"), (0, 6, "prefer the base"), (5, 0, "no preference"), (0, 0, "as many for either side")],
)
def test_a_preference_is_claimed_only_where_the_test_shows_one(wins: int, losses: int, words: str) -> None:
    chosen = ["version"] * wins + ["against"] * losses + ["none"]
    found = tally([choice(f"p{at}", 1, one) for at, one in enumerate(chosen)], {"version": None, "against": None})
    assert words in found.sentence


def test_answers_about_pictures_that_were_drawn_anew_since_do_not_keep_a_new_answer_out() -> None:
    older = choice("p0", 1, "against", at=1).model_copy(update={"pictures": {"version": "x", "against": "b"}})
    choices = [older, choice("p0", 1, "version", at=2)]
    found = tally(choices, {"version": judged({"p0": 0.6}), "against": None})
    assert (found.choices, found.older) == ({"version": 1, "against": 0, "none": 0}, 1)
    assert "1 blind choice between it and the base (1 more, about pictures that were drawn anew since" in found.sentence
    assert found.newest == choices[1].at and found.people == {"Eve": 1}
    alone = tally([older], {"version": judged({"p0": 0.6}), "against": None})
    assert (sum(alone.choices.values()), alone.older, alone.people) == (0, 1, {"Eve": 1})
    assert alone.sentence.startswith("1 blind choice between it and the base, all about pictures that were drawn anew")
    assert (alone.share, alone.p, alone.agreement) == (None, None, [])


def test_where_nobody_can_tell_whether_pictures_were_drawn_anew_every_answer_counts() -> None:
    old = judged({"p0": 0.6})
    for row in old["pictures"]:
        del row["sha256"]
    for evaluation in (None, old):
        found = tally([choice("p0", 1, "version")], {"version": evaluation, "against": None})
        assert (found.choices["version"], found.older, found.agreement) == (1, 0, [])


def test_answers_about_the_other_version_s_former_pictures_do_not_count() -> None:
    ours, theirs = judged({"p0": 0.6}), judged({"p0": 0.4})
    for row in theirs["pictures"]:
        row["sha256"] = "b"
    said = choice("p0", 1, "version", against="models:/mysks/1")
    former = said.model_copy(update={"pictures": {"version": "a", "against": "c"}})
    for one, older in ((said, 0), (former, 1)):
        found = tally([one], {"version": ours | COMPARABLE, "against": theirs | COMPARABLE})
        assert (found.older, sum(found.choices.values())) == (older, 1 - older)


COMPARABLE = {key: value for key, value in compared().items() if key not in ("pictures", "missing")}
