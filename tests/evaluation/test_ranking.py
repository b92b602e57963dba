"""Settings that are known to be better or not, put in order."""

from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.comparison import NotComparable
from pipeline.evaluation.ranking import rank, table_rows
from tests.evaluation.test_comparison import evaluation

OTHERS = dict.fromkeys(("success", "prompt_fidelity", "class_likeness", "copied"), "not measured")
PREPARED = {"heldout": {"prepared": "p" * 64}}
EMPTY = {**evaluation(), "missing": OTHERS, "verdict": {"promotable": True}, "photos": PREPARED}


def judged(seed: int, level: float, **shift: float) -> dict[str, Any]:
    """An evaluation where the share `level` of the subject's pictures succeed, spread over the prompts."""
    found = {**evaluation(seed, **shift), "photos": PREPARED}
    rows = [row for row in found["pictures"] if row["kind"] == "subject"]
    for index, row in enumerate(rows):
        row["success"] = (index * 7 % len(rows)) < level * len(rows)
    found["verdict"] = {"promotable": level > 0.6}
    return found


def near(rng: np.random.Generator, level: float) -> dict[str, Any]:
    """Nothing but likeness, about `level` with a deviation of 0.02: twelve prompts with three pictures each."""
    rows = [
        {"model": "tuned", "kind": "subject", "group": "scene", "prompt_id": f"p{prompt:02d}", "seed": seed}
        for prompt in range(12)
        for seed in (1, 2, 3)
    ]
    return {**EMPTY, "pictures": [{**row, "identity_heldout": level + rng.normal(0, 0.02)} for row in rows]}


def test_a_clear_winner_is_named_and_the_others_are_behind() -> None:
    found = rank(
        {
            "lora": [judged(seed, 0.4 + seed / 50) for seed in range(5)],
            "full": [judged(seed, 0.85 + seed / 50) for seed in range(5)],
        }
    )
    assert found["first"] == "full"
    assert found["sentence"].startswith("full is best for this subject: success 0.9")
    gap = found["differences"]["lora"]
    assert gap["differs"] and gap["high"] < -0.2 and gap["p"] < 0.01
    assert [row["fit"] for row in found["rows"]] == [5, 0]
    assert not found["cautions"]


def test_equal_settings_cannot_be_told_apart() -> None:
    same = [judged(1, 0.5), judged(2, 0.5)]
    found = rank({"one": same, "other": same, "third": same})
    assert all(gap["p"] == 1.0 and not gap["differs"] for gap in found["differences"].values())
    assert "its lead over the others is within the uncertainty" in found["sentence"]


def test_trainings_that_differ_widen_the_interval() -> None:
    steady = rank({"a": [judged(1, 0.6), judged(2, 0.6)], "b": [judged(3, 0.3)]})
    wild = rank({"a": [judged(1, 0.9), judged(2, 0.3)], "b": [judged(3, 0.3)]})

    def width(found: dict[str, Any]) -> float:
        (figure,) = [row["figures"]["success"] for row in found["rows"] if row["setting"] == "a"]
        return figure["high"] - figure["low"]

    assert width(wild) > 1.3 * width(steady)


def test_a_single_training_is_said_to_be_one_and_shows_no_setting_to_be_better() -> None:
    found = rank({"a": [judged(1, 0.9)], "b": [judged(2, 0.1), judged(3, 0.12)]})
    assert "trained once" in found["cautions"][0]
    assert (found["differences"]["b"]["p"], found["differences"]["b"]["differs"]) == (1.0, False)
    assert found["sentence"].startswith("a came out first") and "is best" not in found["sentence"]


@pytest.mark.parametrize(("trainings", "cautions"), [(2, 1), (4, 1), (5, 0)])
def test_fewer_than_five_trainings_are_said_to_be_few(trainings: int, cautions: int) -> None:
    found = rank({title: [judged(seed, 0.5) for seed in range(trainings)] for title in "ab"})
    assert len(found["cautions"]) == cautions
    assert all(f"trained {trainings} times" in caution for caution in found["cautions"])


@pytest.mark.parametrize(("settings", "trainings"), [(2, 2), (2, 3), (3, 3), (2, 5)])
def test_of_equal_settings_whose_trainings_differ_one_in_twenty_at_most_is_called_behind(
    settings: int, trainings: int
) -> None:
    rng, tries, alarms = np.random.default_rng(1), 200, 0
    for _ in range(tries):
        levels = rng.normal(0.5, 0.1, (settings, trainings))  # trainings differ more than prompts do
        found = rank({str(at): [near(rng, level) for level in row] for at, row in enumerate(levels)}, 200)
        alarms += any(gap["differs"] for gap in found["differences"].values())
    assert alarms <= 0.05 * tries + 2 * np.sqrt(0.05 * 0.95 * tries)  # and what chance adds to so many tries


def test_three_trainings_are_enough_for_a_large_lead() -> None:
    rng = np.random.default_rng(1)
    settings = {str(level): [near(rng, rng.normal(level, 0.05)) for _ in range(3)] for level in (0.3, 0.7)}
    assert rank(settings)["differences"]["0.3"]["differs"]


def test_settings_without_a_copy_may_still_copy_now_and_then() -> None:
    rows = rank({title: [judged(1, 0.6), judged(2, 0.5)] for title in "ab"})["rows"]
    assert all(row["figures"]["copied"]["value"] == 0 for row in rows)
    assert all(row["figures"]["copied"]["high"] > 0.04 for row in rows)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_settings_with_the_same_hits_may_still_differ_by_what_their_shares_leave_open(level: float) -> None:
    gap = rank({title: [judged(1, level), judged(2, level)] for title in "ab"})["differences"]["b"]
    assert gap["value"] == 0 and gap["low"] < -0.04 and gap["high"] > 0.04 and not gap["differs"]


@pytest.mark.parametrize(("level", "low", "high"), [(0.0, 0.0, 0.04), (1.0, 0.96, 1.0)])
def test_a_setting_where_all_or_none_of_the_pictures_succeed_is_not_sure_to_do_so_always(
    level: float, low: float, high: float
) -> None:
    row, _ = rank({title: [judged(1, level), judged(2, level)] for title in "ab"})["rows"]
    figure = row["figures"]["success"]
    assert figure["low"] <= low and figure["high"] >= high and figure["high"] - figure["low"] > 0.04


def test_one_prompt_that_succeeds_in_one_setting_and_fails_in_the_other_shows_none_to_be_behind() -> None:
    few = {title: [judged(1, level), judged(2, level)] for title, level in (("a", 1.0), ("b", 0.0))}
    for one in [one for trainings in few.values() for one in trainings]:
        first = min(row["prompt_id"] for row in one["pictures"] if row["kind"] == "subject")
        one["pictures"] = [row for row in one["pictures"] if row["kind"] != "subject" or row["prompt_id"] == first]
    gap = rank(few)["differences"]["b"]
    assert gap["value"] == -1 and gap["high"] > 0 and not gap["differs"]
    many = {title: [judged(1, level), judged(2, level)] for title, level in (("a", 1.0), ("b", 0.0))}
    gap = rank(many)["differences"]["b"]
    assert gap["low"] == -1 and -1 < gap["high"] < -0.8 and gap["differs"]


def test_settings_in_between_are_sorted_and_named() -> None:
    levels = {"x": 0.1, "y": 0.91, "z": 0.93}
    found = rank({title: [judged(n, level + n / 50) for n in range(3)] for title, level in levels.items()})
    assert [row["setting"] for row in found["rows"]] == ["z", "y", "x"]
    assert "its lead over y is within the uncertainty, its lead over the others is not" in found["sentence"]


def test_the_same_seed_gives_the_same_table() -> None:
    settings = {"a": [judged(1, 0.6), judged(5, 0.5)], "b": [judged(2, 0.3)]}
    assert rank(settings) == rank(settings)
    first, second = table_rows(rank(settings))
    assert (first["setting"], first["trainings"], first["all gates passed"]) == ("a", "2", "0 of 2")
    assert first["against the first"] == "the first" and second["against the first"].startswith("-0.2")
    assert first["success"].startswith("0.56 (") and set(first) == set(second)
    assert {"likeness", "prompt_fidelity", "class_likeness", "copied"} <= set(first)


def test_settings_that_were_judged_otherwise_are_refused() -> None:
    other = judged(2, 0.3)
    other["suite"] = {**other["suite"], "digest": "f" * 64}
    with pytest.raises(NotComparable, match=r"b was judged in another way than the others: suite"):
        rank({"a": [judged(1, 0.6)], "b": [other]})
    with pytest.raises(NotComparable, match="no training of b was judged"):
        rank({"a": [judged(1, 0.6)], "b": []})
    with pytest.raises(NotComparable, match="needs two settings"):
        rank({"a": [judged(1, 0.6)]})


def test_settings_judged_by_photos_that_were_prepared_in_two_ways_are_refused() -> None:
    one, other = (
        {**judged(seed, 0.6), "photos": {"heldout": {"prepared": digit}}} for seed, digit in ((1, "c"), (2, "p"))
    )
    with pytest.raises(NotComparable, match="held-out photos as they were prepared"):
        rank({"a": [one], "b": [other]})
    old = {**judged(2, 0.3), "photos": {}}
    assert any("how the photos were prepared" in line for line in rank({"a": [one], "b": [old]})["cautions"])


def test_without_success_likeness_decides() -> None:
    settings = {"a": [judged(1, 0.6)], "b": [judged(2, 0.3, likeness=0.2)]}
    for (found,) in settings.values():
        found["missing"] |= {"success": "no yardstick", "likeness": "no yardstick"}
    found = rank(settings)
    assert (found["metric"], found["first"]) == ("likeness", "b")
    assert "success" not in found["rows"][0]["figures"]
    assert "highest mean likeness" in found["rule"] and "success" not in found["rule"]
    assert any("success was not measured" in caution for caution in found["cautions"])
    measured = rank({"a": [judged(1, 0.6)], "b": [judged(2, 0.3)]})
    assert "highest mean success" in measured["rule"] and not any("likeness" in line for line in measured["cautions"])


def test_settings_with_lines_of_their_own_count_copies_by_the_lowest() -> None:
    settings = {"a": [judged(1, 0.6, copies=4)], "b": [judged(1, 0.6, copies=4)]}
    settings["b"][0]["real_photos"] = {"copy_level": 0.97}
    for row in settings["b"][0]["pictures"]:
        row["copied"] = False
    first, second = (row["figures"]["copied"]["value"] for row in rank(settings)["rows"])
    assert first == second > 0.3


def test_success_by_photos_of_their_own_does_not_decide() -> None:
    settings = {"a": [judged(1, 0.9)], "b": [judged(2, 0.3, likeness=0.2)]}
    for digit, (found,) in zip("ab", settings.values(), strict=True):
        found["photos"] = {"train": {"digest": digit * 64}}
    assert (rank(settings)["metric"], rank(settings)["first"]) == ("likeness", "b")
