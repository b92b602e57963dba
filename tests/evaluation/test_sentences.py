"""Sentences of the report and of the model card against the figures that stand beside them."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.report_inputs import sentence
from pipeline.registry.card import MOST, model_card

small = st.floats(-0.01, 0.01).map(lambda value: round(value, 4))


def row(metric: str, figures: tuple[float, float, float], prompts: int) -> dict[str, Any]:
    low, value, high = sorted(figures)
    found = {"metric": metric, "model": "difference", "group": "all", "value": value, "low": low, "high": high}
    return found | {"prompts": prompts, "pictures": 2 * prompts}


@given(st.tuples(small, small, small), st.tuples(small, small, small), st.integers(1, 3), st.booleans())
def test_the_report_names_a_direction_only_where_the_shown_interval_excludes_zero(
    likeness: tuple[float, float, float], fidelity: tuple[float, float, float], prompts: int, held: bool
) -> None:
    metric = "identity_heldout" if held else "identity_train"
    rows = [row(metric, likeness, prompts), row("prompt_fidelity", fidelity, prompts)]
    text = sentence({"metrics": rows, "missing": {} if held else {"identity_heldout": "none"}}, "mysks")
    if prompts < 2:
        assert "too few" in text and "nearer" not in text
        return
    low, high = min(likeness), max(likeness)
    shown = re.search(r"interval ([+-][\d.]+) to ([+-][\d.]+)", text)
    if low == high != 0:
        low = high = 0  # no draw differs from another
        assert shown is None and "no interval known" in text
    else:
        assert shown is not None and [float(part) for part in shown.groups()] == [low, high]
    assert ("nearer" in text) == (low > 0)
    assert ("farther" in text) == (high < 0)
    assert ("no clear difference" in text) == (low <= 0 <= high)
    assert ("held-out photos" in text) == held
    _, middle, _ = sorted(fidelity)
    assert f"({middle:+.4f})" in text
    assert ("less closely" in text) == (max(fidelity) < 0 and min(fidelity) < max(fidelity))
    assert ("more closely" in text) == (min(fidelity) > 0 and min(fidelity) < max(fidelity))


def test_the_card_shows_as_many_digits_as_were_judged_and_every_metric() -> None:
    rows = [row("copied", (0.0499, 0.05004, 0.0501), 3) | {"model": "tuned", "group": group} for group in GROUPS]
    rows += [row("style", (0.1, 0.2, 0.3), 3) | {"group": "style", "model": "tuned"}]
    gate = {"gate": "copies", "verdict": "failed", "value": 0.05004, "low": 0.0499, "high": 0.0501, "threshold": 0.05}
    evaluation = {
        "metrics": rows,
        "gates": [gate | {"direction": "at most", "reason": "it repeats"}],
        "verdict": {"sentence": "Not to be promoted."},
        "suite": {"name": "mine", "digest": "d" * 64},
        "scorer": {"model": "clip", "digest": "c" * 64},
        "identity_encoder": {"model": "dino", "digest": "e" * 64},
    }
    card = model_card("r" * 32, "1", "mysks", LINEAGE, evaluation)
    assert "| copies | failed | 0.0500 | 0.0499 to 0.0501 | at most 0.05 |" in card
    assert "| copied | training captions | 0.0500 | 0.0499 to 0.0501 |  |" in card
    assert "| style | style | 0.2000 | 0.1000 to 0.3000 |  |" in card
    assert "| copied | scene |" not in card
    evaluation["metrics"] = [row("style", (0.2, 0.2, 0.2), 1) | {"model": "tuned"}]
    evaluation["gates"] = [gate | {"direction": "at most", "reason": "", "low": None, "high": None}]
    card = model_card("r" * 32, "1", "mysks", LINEAGE, evaluation)  # of one prompt there is no interval
    assert "| style | all | 0.2000 | no interval known |  |" in card
    assert "| copies | failed | 0.0500 | no interval known | at most 0.05 |" in card
    evaluation["metrics"] = [row("success", (1.0, 1.0, 1.0), 25) | {"model": "tuned"}]  # of an older version
    assert "| success | all | 1.0000 | no interval known |  |" in model_card("r", "1", "mysks", LINEAGE, evaluation)
    evaluation["metrics"] = [row(f"metric {number}", (0.1, 0.2, 0.3), 3) | {"model": "tuned"} for number in range(99)]
    card = model_card("r" * 32, "1", "mysks", LINEAGE, evaluation)
    assert len(card) <= MOST and "figures are in the report" in card and "| copies | failed |" in card
    evaluation["verdict"]["sentence"] = "Not to be promoted: " + "x" * MOST
    assert len(model_card("r" * 32, "1", "mysks", LINEAGE, evaluation)) == MOST


GROUPS = ("all", "training captions", "scene")
LINEAGE: dict[str, Any] = {
    "subject": {"token": "mysks", "class_noun": "toy"},
    "base": {"model": "pocket", "revision": None, "license": "MIT"},
    "photos": {"files": [{"split": "train"}], "dvc_md5": "m"},
    "code": {"commit": None, "clean": None},
    "params": {
        "train": {
            "method": "dreambooth", "steps": 4, "batch": 2, "gradient_accumulation": 1, "learning_rate": 1e-3,
            "optimizer": "adamw", "precision": "fp32", "seed": 1,
        }
    },
    "weights": {"content_digest": "w"},
}  # fmt: skip
