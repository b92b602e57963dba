from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.selection import Judged, choose, gates_in_words, reason, sample_gates, summarise

DRAWS = 500, 1
NOISE = np.random.default_rng(2).normal(0, 0.05, (2, 12, 2))  # what is hard for all, and what is one candidate's own


def candidate(step: int, merit: float, own: float = 0.0, failed: tuple[str, ...] = ()) -> Judged:
    noise = NOISE[0] - NOISE[0].mean() + own * (NOISE[1] - NOISE[1].mean())
    return Judged(step, merit, 0.01, merit, 1.0, merit + noise, failed)


def test_the_earliest_within_one_standard_error_of_the_best_passes_on() -> None:
    best = candidate(300, 0.50)
    assert choose([candidate(100, 0.40, own=1), candidate(200, 0.495, own=1), best], *DRAWS).step == 200
    assert choose([candidate(100, 0.48, own=1), candidate(200, 0.495, own=1), best], *DRAWS).step == 200
    assert choose([candidate(400, 0.495, own=1), best], *DRAWS).step == 300


def test_what_is_hard_for_all_candidates_hides_no_difference_between_them() -> None:
    assert choose([candidate(100, 0.495), candidate(200, 0.50)], *DRAWS).step == 200
    assert choose([candidate(100, 0.5), candidate(200, 0.5)], *DRAWS).step == 100


def test_gates_come_before_merit_unless_nobody_passes_them() -> None:
    found = [candidate(100, 0.30), candidate(200, 0.50, failed=("copies",))]
    assert choose(found, *DRAWS).step == 100
    assert choose([candidate(100, 0.30, failed=("likeness",)), found[1]], *DRAWS).step == 200
    with pytest.raises(ValueError, match="no candidate"):
        choose([], *DRAWS)


def test_of_candidates_that_all_fail_a_gate_those_that_fail_the_fewest_come_first() -> None:
    worse = candidate(300, 0.60, failed=("copies", "style"))
    found = [candidate(100, 0.30, failed=("likeness",)), candidate(200, 0.50, failed=("copies",)), worse]
    assert choose(found, *DRAWS).step == 200
    assert choose([found[0], worse], *DRAWS).step == 100
    unmeasured = replace(candidate(50, 0.70, failed=("copies",)), missing=("wording",))  # counts as failed, too
    assert choose([unmeasured, *found], *DRAWS).step == 200


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        (
            [candidate(200, 0.495, own=1), candidate(300, 0.5)],
            "2 of 2 candidates fail no gate by value; of these step 300 has the highest likeness x fidelity (0.500), "
            "and step 200 (0.495) is the earliest within one standard error of that",
        ),
        (
            [candidate(100, 0.3), candidate(300, 0.5), candidate(400, 0.6, failed=("copies",))],
            "2 of 3 candidates fail no gate by value; of these it has the highest likeness x fidelity (0.500), and "
            "none before it is within one standard error of that",
        ),
        ([candidate(300, 0.5), candidate(400, 0.6, failed=("copies",))], "1 of 2 candidates fails no gate by value"),
        (
            [candidate(300, 0.5, failed=("copies",)), candidate(400, 0.6, failed=("copies", "style"))],
            "every candidate fails a gate by value, and 1 of 2 candidates fails the fewest, 1",
        ),
    ],
)
def test_the_reason_names_the_gates_then_the_merit_then_the_standard_error(
    candidates: list[Judged], words: str
) -> None:
    assert reason(candidates, choose(candidates, *DRAWS)) == words


def test_gates_that_a_candidate_fails_are_said_to_be_those_of_a_sample_and_not_the_verdict() -> None:
    words = sample_gates(candidate(100, 0.5, failed=("copies",)), 40)
    assert words == (
        "gates failed by value on the choosing suite's 40 pictures (a sample; the stage evaluate gives the verdict): "
        "copies"
    )


def test_merit_is_the_mean_product_and_negative_cosines_count_as_nothing() -> None:
    rows = [
        {"model": model, "kind": "subject", "prompt_id": prompt, "seed": seed, "identity_heldout": identity,
         "prompt_fidelity": fidelity}
        for model, prompt, seed, identity, fidelity in (
            ("tuned", "p1", 1, 0.5, 0.8), ("tuned", "p1", 2, 1.0, 0.6), ("tuned", "p2", 1, -0.5, 0.8),
            ("tuned", "p2", 2, 0.5, 0.4), ("base", "p1", 1, 9.0, 9.0),
        )
    ]  # fmt: skip
    gates = [{"gate": "copies", "verdict": "failed"}, {"gate": "style", "verdict": "missing"}]
    found = summarise(7, {"missing": {}, "pictures": rows}, gates, 200, 1)
    assert found.merit == pytest.approx((0.4 + 0.6 + 0.0 + 0.2) / 4)
    assert found.likeness == pytest.approx((0.5 + 1.0 - 0.5 + 0.5) / 4)
    assert found.fidelity == pytest.approx((0.8 + 0.6 + 0.8 + 0.4) / 4)
    assert found.error > 0 and found.scores == pytest.approx(np.array([[0.4, 0.6], [0.0, 0.2]]))
    assert "scores" not in found.row and found.row["merit"] == found.merit
    assert (found.step, found.failed, found.missing) == (7, ("copies",), ("style",))


@pytest.mark.parametrize(
    ("failed", "missing", "words"),
    [
        ([], [], "none"),
        (["copies", "style"], [], "copies, style"),
        ([], ["caption_copies"], "none; not measured: caption_copies"),
        (["style"], ["animal", "caption_copies"], "style; not measured: animal, caption_copies"),
    ],
)
def test_a_gate_that_was_not_measured_is_not_called_passed(failed: list[str], missing: list[str], words: str) -> None:
    assert gates_in_words(failed, missing) == words


def test_a_gate_that_was_measured_for_nobody_excludes_nobody() -> None:
    found = [replace(candidate(step, merit), missing=("caption_copies",)) for step, merit in ((100, 0.5), (200, 0.4))]
    assert choose(found, *DRAWS).step == 100


def test_a_candidate_that_breaks_every_wording_does_not_escape_the_gate_that_milder_ones_are_asked() -> None:
    broken, good = replace(candidate(100, 0.5), missing=("wording",)), candidate(200, 0.4)
    assert choose([broken, good], *DRAWS).step == 200
    assert choose([broken, replace(good, failed=("wording",))], *DRAWS).step == 100  # all fail it: merit decides
