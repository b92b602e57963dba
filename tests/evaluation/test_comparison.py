from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.comparison import PRIMARY, Difference, NotComparable, _decide, compare
from pipeline.evaluation.statistics import wilson
from pipeline.evaluation.suite import load_suite, noise_of
from pipeline.files import digest_value
from pipeline.params import Subject

NOTHING = {"likeness": 0.0, "fidelity": 0.0, "class": 0.0, "copies": 0}


def evaluation(seed: int = 0, **shift: float) -> dict[str, Any]:
    """Twelve prompts and eight of the class, three seeds each, noise of 0.02, figures moved by about `shift`."""
    rng, apart = np.random.default_rng(seed), np.random.default_rng(7)
    rows = []
    whole = NOTHING | shift
    for prompt in range(20):
        for at in (1, 2, 3):
            moved = {name: value * apart.uniform(0.9, 1.1) for name, value in whole.items()}
            moved["copies"] = whole["copies"]
            noise = rng.normal(0, 0.02, 2)
            kind = "subject" if prompt < 12 else "probe"
            rows.append(
                {
                    "model": "tuned",
                    "kind": kind,
                    "group": "scene" if prompt < 12 else "class",
                    "prompt_id": f"{kind[0]}{prompt:02d}",
                    "seed": at,
                    "identity_heldout": 0.5 + moved["likeness"] + noise[0],
                    "identity_train": 0.3 + moved["class"] + noise[0],
                    "prompt_fidelity": 0.7 + moved["fidelity"] + noise[1],
                    "copy": 0.95 if prompt < moved["copies"] else 0.4 + noise[1],
                    "copied": prompt < moved["copies"],
                }
            )
    return {
        "suite": {"name": "pocket", "digest": "a" * 64, "seeds": [1, 2, 3]},
        "draw": {"steps": 12, "scheduler": "ddim", "precision": "fp32"},
        "size": [64, 64],
        "heldout": "b" * 64,
        "scorer": {"digest": "c" * 64},
        "identity_encoder": {"digest": "d" * 64},
        "copy_detector": {"digest": "e" * 64},
        "real_photos": {"identity_heldout": 0.6, "copy_level": 0.85},
        "missing": {},
        "pictures": rows,
    }


def test_a_difference_that_is_equal_in_every_picture_has_no_known_interval_and_decides_nothing() -> None:
    one, other = evaluation(), evaluation()
    for row in other["pictures"]:
        row["identity_heldout"] += 0.08
    found = compare(one, other, 500)
    likeness = found["differences"][0]
    assert found["decision"] == "no decision" and likeness["verdict"] == "no decision"
    assert (likeness["low"], likeness["high"]) == (None, None)


def test_the_same_checkpoint_is_neither_better_nor_worse() -> None:
    found = compare(evaluation(), evaluation(), 2000)
    assert found["decision"] == "no decision"
    assert "show no difference" in found["sentence"]
    assert {row["value"] for row in found["differences"]} == {0.0}
    assert {row["p"] for row in found["differences"]} == {1.0}


@pytest.mark.parametrize(
    ("shift", "decision", "words"),
    [
        ({"likeness": 0.08}, "better", "Better: in likeness"),
        ({"likeness": -0.08}, "worse", "Worse: in likeness"),
        ({"fidelity": -0.08}, "worse", "fidelity"),
        ({"class": 0.08}, "worse", "class alone"),
        ({"class": -0.08}, "better", "class alone"),
        ({"copies": 12}, "worse", "copies"),
        ({"likeness": 0.08, "fidelity": -0.08}, "no decision", "better in likeness"),
        ({"seed": 1, "likeness": 0.001}, "no decision", "No decision"),
    ],
)
def test_a_real_difference_decides(shift: dict[str, Any], decision: str, words: str) -> None:
    found = compare(evaluation(), evaluation(**shift), 2000)
    assert (found["decision"], words in found["sentence"]) == (decision, True), found["sentence"]


def test_a_gain_does_not_excuse_a_loss_that_cannot_be_ruled_out() -> None:
    found = compare(evaluation(0), evaluation(1, likeness=0.08, copies=1), 2000)
    assert found["decision"] == "no decision"
    assert "do not rule out" in found["sentence"]


def test_differences_are_second_minus_first_and_turn_with_the_order() -> None:
    one, other = evaluation(0), evaluation(1, likeness=0.03)
    there, back = compare(one, other, 500), compare(other, one, 500)
    for row, turned in zip(there["differences"], back["differences"], strict=True):
        assert row["value"] == pytest.approx(-turned["value"])
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("suite", "digest"), "f" * 64, "suite: aaaaaaaaaaaaaaaa and ffffffffffffffff"),
        (("suite", "seeds"), [4, 5, 6], "seeds"),
        (("draw", "scheduler"), "dpmpp-2m", "sampling"),
        (("draw", "precision"), "bf16", "sampling"),
        (("scorer", "digest"), "f" * 64, "CLIP"),
        (("identity_encoder", "digest"), "f" * 64, "identity encoder"),
        (("copy_detector",), None, "copy detector"),
        (("heldout",), "f" * 64, "held-out photos"),
        (("size",), [32, 32], "size"),
        (("pictures", 0, "noise"), 7, "noises: all prompts the same and [0-9a-f]{16}"),
    ],
)
def test_what_was_judged_differently_is_refused(place: tuple[str | int, ...], value: Any, words: str) -> None:
    other = deepcopy(evaluation())
    inner = other
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(NotComparable, match=words):
        compare(evaluation(), other)


def prepared(digit: str, split: str = "heldout", **shift: float) -> dict[str, Any]:
    """An evaluation by photos that were prepared in one way; without any held out, the training photos count."""
    found = evaluation(**shift) if split == "heldout" else held_out_none("a" * 64, **shift)
    photos = {**found.get("photos", {}).get(split, {}), "prepared": digit * 64}
    return {**found, "photos": {**found.get("photos", {}), split: photos}}


@pytest.mark.parametrize("split", ["heldout", "train"])
def test_the_same_photos_prepared_in_another_way_are_another_yardstick(split: str) -> None:
    words = {"heldout": "held-out photos as they were prepared", "train": "training photos as they were prepared"}
    with pytest.raises(NotComparable, match=words[split] + ": aaaaaaaaaaaaaaaa and ffffffffffffffff"):
        compare(prepared("a", split), prepared("f", split, likeness=0.08))
    found = compare(prepared("a", split), prepared("a", split, likeness=0.08), 500)
    assert found["differences"] and not found["cautions"]


def test_an_older_evaluation_that_does_not_say_how_photos_were_prepared_is_compared_with_a_caution() -> None:
    for pair in ((prepared("a"), evaluation()), (evaluation(), evaluation())):
        (caution,) = compare(*pair, 500)["cautions"]
        assert "how the photos were prepared" in caution


def test_the_class_is_not_compared_with_training_photos_that_were_prepared_in_two_ways() -> None:
    one, other = (
        prepared("a", **shift) | {"photos": {"train": {"digest": "b" * 64, "prepared": digit * 64}}}
        for digit, shift in (("c", {}), ("d", {"class": 0.3}))
    )
    assert {row["value"] for row in compare(one, other, 500)["differences"]} == {0.0}


def test_pictures_of_older_versions_that_shared_their_noises_are_not_compared_with_others() -> None:
    other = evaluation()
    for row in other["pictures"]:
        row["noise"] = noise_of(row["prompt_id"], row["seed"])
    assert compare(other, deepcopy(other))["decision"] == "no decision"
    with pytest.raises(NotComparable, match="noises: all prompts the same and each prompt its own"):
        compare(evaluation(), other)


def asked(captions: list[str], name: str = "pocket", prompts: bool = True, **shift: float) -> dict[str, Any]:
    """An evaluation on a built-in suite that took some of the `captions`; without `prompts`: of an older version."""
    suite = load_suite(name, Subject(name="mysks", token="mysks", class_noun="plush toy"), captions)
    content = suite.content if prompts else {}
    return evaluation(**shift) | {"suite": {"name": name, "digest": suite.digest, "seeds": [1, 2, 3], **content}}


BEFORE, AFTER = (["mysks plush toy on a table", *more] for more in ([], ["mysks plush toy on a chair"]))


def test_models_of_other_photos_are_compared_although_the_suite_took_other_captions() -> None:
    one, other = asked(BEFORE), asked(AFTER, likeness=0.08)
    assert one["suite"]["digest"] != other["suite"]["digest"]
    assert compare(one, other, 2000)["decision"] == "better"


def test_other_prompts_or_styles_are_another_suite() -> None:
    other = asked(BEFORE)
    other["suite"]["styles"] = {}
    for second in (other, asked(BEFORE, "thesis")):
        with pytest.raises(NotComparable, match="suite: "):
            compare(asked(BEFORE), second)


def test_where_one_names_no_prompts_the_digest_of_the_whole_suite_counts() -> None:
    for old in (True, False):
        assert compare(asked(BEFORE, prompts=old), asked(BEFORE, prompts=not old), 500)["differences"]
        with pytest.raises(NotComparable, match="suite: "):
            compare(asked(BEFORE, prompts=old), asked(AFTER, prompts=not old))


def test_what_one_of_them_lacks_is_told() -> None:
    one, other = evaluation(), evaluation(likeness=0.08)
    for found in (one, other):
        found["missing"]["copy"] = found["missing"]["copied"] = "no copy detector"
    result = compare(one, other, 500)
    assert result["missing"] == {"copied": "no copy detector"}
    assert result["decision"] == "no decision"
    assert result["sentence"] == "No decision: share of copies was not measured in both."
    assert [row["metric"] for row in result["differences"]] == ["likeness", "prompt_fidelity", "class_likeness"]


def test_likeness_of_pictures_is_compared_also_where_the_base_leaves_no_way_to_go() -> None:
    pair = evaluation(), evaluation(likeness=0.08)
    for found in pair:
        found["missing"]["likeness"] = "the base's pictures are as near to the photos"
    assert compare(*pair, 2000)["decision"] == "better"


def test_what_only_the_second_lacks_leaves_no_decision_either() -> None:
    other = evaluation(likeness=0.08)
    other["missing"]["copied"] = "no copy detector"
    assert compare(evaluation(), other, 500)["decision"] == "no decision"


def held_out_none(photos: str | None, **shift: float) -> dict[str, Any]:
    found = evaluation(**shift)
    found["heldout"] = digest_value([])
    found["missing"]["identity_heldout"] = "no photo was held out"
    return found | ({"photos": {"train": {"digest": photos}}} if photos else {})


def test_without_held_out_photos_only_models_of_the_same_training_photos_are_compared() -> None:
    same = compare(held_out_none("a" * 64), held_out_none("a" * 64, likeness=0.08), 500)
    assert [row["metric"] for row in same["differences"]] == [*PRIMARY]
    for other in (held_out_none("f" * 64), held_out_none(None)):
        with pytest.raises(NotComparable, match=r"training photos: aaaaaaaaaaaaaaaa and .* no held-out set"):
            compare(held_out_none("a" * 64), other)


def test_the_class_is_compared_with_photos_that_both_models_share() -> None:
    one, other = evaluation(), evaluation(**{"class": 0.3})
    assert compare(one, other, 500)["decision"] == "worse"
    one["photos"], other["photos"] = ({"train": {"digest": digit * 64}} for digit in "ab")
    assert {row["value"] for row in compare(one, other, 500)["differences"]} == {0.0}


def test_copies_are_counted_by_one_line_although_more_photos_give_a_model_a_higher_one() -> None:
    one, other = evaluation(copies=4), evaluation(copies=4)  # the same pictures
    other["real_photos"]["copy_level"] = 0.97
    for row in other["pictures"]:
        row["copied"] = row["copy"] > 0.97
    for pair in ((one, other), (other, one)):
        copies = next(row for row in compare(*pair, 500)["differences"] if row["metric"] == "copied")
        assert (copies["value"], copies["p"]) == (0.0, 1.0)
    del other["real_photos"]["copy_level"]
    assert "copied" in compare(one, other, 500)["missing"]


def copies_of(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    found = compare(first, second, 500)
    return next(row for row in found["differences"] if row["metric"] == "copied")


def test_pictures_without_a_copy_leave_a_rise_possible_that_their_number_does_not_exclude() -> None:
    row = copies_of(evaluation(), evaluation(likeness=0.08))
    assert (row["value"], row["verdict"]) == (0.0, "not worse")
    assert row["high"] == pytest.approx(wilson(0, 36)[1], abs=0.01) and row["low"] == -row["high"]
    assert row["high"] > 0.09


def test_too_few_pictures_without_a_copy_decide_nothing() -> None:
    pair = evaluation(), evaluation(likeness=0.3)
    for found in pair:
        found["pictures"] = [row for row in found["pictures"] if row["prompt_id"] not in ("s10", "s11")]
    assert copies_of(*pair)["verdict"] == "no decision"
    assert compare(*pair, 500)["decision"] == "no decision"


def test_copies_of_seeds_that_are_alike_are_known_less_well() -> None:
    alike = evaluation()
    for row in alike["pictures"]:
        row["copy"] = int(row["prompt_id"][1:]) / 40
    assert copies_of(alike, alike)["high"] > 2 * copies_of(evaluation(), evaluation())["high"]


def test_a_copy_in_thirty_six_is_more_than_a_point() -> None:
    other = evaluation()
    next(row for row in other["pictures"] if row["kind"] == "subject").update(copy=0.95, copied=True)
    assert copies_of(evaluation(), other)["verdict"] == "no decision"


def test_a_rise_that_was_seen_is_not_called_a_loss_that_cannot_be_ruled_out() -> None:
    rose = Difference("copied", "share of copies", 0.0156, 0.0, 0.055, 1.0, 0.1, "no decision", {})
    open_ = Difference("likeness", "likeness", 0.0, -0.05, 0.05, 1.0, 0.02, "no decision", {})
    assert _decide([rose], []) == (
        "no decision",
        "No decision: share of copies rose by more than one point in the pictures that were drawn.",
    )
    assert "in likeness the figures do not rule out a loss" in _decide([rose, open_], [])[1]
    assert "in share of copies the figures do not rule out" in _decide([replace(rose, high=0.12)], [])[1]


def test_one_prompt_decides_nothing() -> None:
    pair = evaluation(), evaluation(likeness=0.3)
    for found in pair:
        found["pictures"] = [row for row in found["pictures"] if row["prompt_id"] in ("s00", "p12")]
    found = compare(*pair, 500)
    assert found["decision"] == "no decision"
    assert {row["metric"] for row in found["differences"] if row["low"] is not None} == {"copied"}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=6),
    st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=6),
)
def test_no_sentence_says_better_or_worse_where_an_interval_contains_zero(
    likeness: list[float], fidelity: list[float]
) -> None:
    one, other = evaluation(), evaluation()
    for number, row in enumerate(row for row in other["pictures"] if row["kind"] == "subject"):
        row["identity_heldout"] += likeness[number % len(likeness)]
        row["prompt_fidelity"] += fidelity[number % len(fidelity)]
    found = compare(one, other, 200)
    for row in found["differences"]:
        if row["verdict"] in ("better", "worse"):
            assert row["low"] > 0 or row["high"] < 0
    if found["decision"] == "better":
        assert all(row["verdict"] in ("better", "not worse") for row in found["differences"])
    assert found["sentence"].lower().startswith(found["decision"])
