from dataclasses import replace

import pytest

from pipeline.evaluation.selection import Judged, choose, gates_in_words, summarise


def candidate(step: int, merit: float, error: float = 0.01, failed: tuple[str, ...] = ()) -> Judged:
    return Judged(step, merit, error, merit, 1.0, failed)


def test_the_earliest_within_one_standard_error_of_the_best_passes_on() -> None:
    found = [candidate(100, 0.40), candidate(200, 0.495), candidate(300, 0.50), candidate(400, 0.48)]
    assert choose(found).step == 200
    assert choose([candidate(100, 0.4895), *found[1:]]).step == 200


def test_gates_come_before_merit_unless_nobody_passes_them() -> None:
    found = [candidate(100, 0.30), candidate(200, 0.50, failed=("copies",))]
    assert choose(found).step == 100
    assert choose([candidate(100, 0.30, failed=("likeness",)), found[1]]).step == 200
    with pytest.raises(ValueError, match="no candidate"):
        choose([])


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
    assert found.error > 0
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


def test_a_gate_that_was_not_measured_excludes_nobody() -> None:
    assert choose([replace(candidate(100, 0.5), missing=("caption_copies",)), candidate(200, 0.4)]).step == 100
