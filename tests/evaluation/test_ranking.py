"""Settings that are known to be better or not, put in order."""

from typing import Any

import pytest

from pipeline.evaluation.comparison import NotComparable
from pipeline.evaluation.ranking import rank, table_rows
from tests.evaluation.test_comparison import evaluation


def judged(seed: int, level: float, **shift: float) -> dict[str, Any]:
    """An evaluation where the share `level` of the subject's pictures succeed, spread over the prompts."""
    found = evaluation(seed, **shift)
    rows = [row for row in found["pictures"] if row["kind"] == "subject"]
    for index, row in enumerate(rows):
        row["success"] = (index * 7 % len(rows)) < level * len(rows)
    found["verdict"] = {"promotable": level > 0.6}
    return found


def test_a_clear_winner_is_named_and_the_others_are_behind() -> None:
    found = rank({"lora": [judged(1, 0.4), judged(2, 0.42)], "full": [judged(3, 0.9), judged(4, 0.92)]})
    assert found["best"] == "full"
    assert found["sentence"].startswith("full is best for this subject: success 0.9")
    gap = found["differences"]["lora"]
    assert gap["differs"] and gap["high"] < -0.25 and gap["p"] < 0.01
    assert [row["fit"] for row in found["rows"]] == [2, 0]
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


def test_a_single_training_is_said_to_be_one() -> None:
    found = rank({"a": [judged(1, 0.6)], "b": [judged(2, 0.3)]})
    assert "trained once each" in found["cautions"][0]


def test_settings_in_between_are_sorted_and_named() -> None:
    settings = {title: [judged(n, level)] for n, (title, level) in enumerate({"x": 0.1, "y": 0.93, "z": 0.95}.items())}
    found = rank(settings)
    assert [row["setting"] for row in found["rows"]] == ["z", "y", "x"]
    assert "its lead over y is within the uncertainty, its lead over the others is not" in found["sentence"]


def test_the_same_seed_gives_the_same_table() -> None:
    settings = {"a": [judged(1, 0.6), judged(5, 0.5)], "b": [judged(2, 0.3)]}
    assert rank(settings) == rank(settings)
    first, second = table_rows(rank(settings))
    assert (first["setting"], first["trainings"], first["all gates passed"]) == ("a", "2", "0 of 2")
    assert first["against the best"] == "the best" and second["against the best"].startswith("-0.2")
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


def test_without_success_likeness_decides() -> None:
    settings = {"a": [judged(1, 0.6)], "b": [judged(2, 0.3, likeness=0.2)]}
    for (found,) in settings.values():
        found["missing"]["success"] = "no yardstick"
    found = rank(settings)
    assert (found["metric"], found["best"]) == ("likeness", "b")
    assert "success" not in found["rows"][0]["figures"]


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
    assert (rank(settings)["metric"], rank(settings)["best"]) == ("likeness", "b")
