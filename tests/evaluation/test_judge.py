from pathlib import Path

import pytest
import torch

from pipeline.evaluation.judge import Drawn, judge
from pipeline.evaluation.report import find_metric, sentence
from pipeline.params import Evaluate

SETTINGS = Evaluate(scorer="x", revision=None, identity="scorer", bootstrap=100, seed=1)
VECTORS = {
    "photo1": [1.0, 0.0], "photo2": [0.8, 0.6], "held": [0.6, 0.8],
    "tuned1": [0.8, 0.6], "tuned2": [1.0, 0.0], "base1": [0.0, 1.0], "base2": [0.0, 1.0],
    "a toy": [0.6, 0.8],
}  # fmt: skip


class Plane:
    """A backbone whose vectors are written down above."""

    def pictures(self, files):
        return torch.tensor([VECTORS[file.stem] for file in files])

    def texts(self, texts):
        return torch.tensor([VECTORS[text] for text in texts])


def drawn() -> list[Drawn]:
    return [
        Drawn(Path(f"{model}{seed}.png"), model, "subject", "p01", "light", "a toy", seed)
        for model in ("tuned", "base")
        for seed in (1, 2)
    ]


def test_figures_are_the_mean_cosines() -> None:
    found = judge(drawn(), [Path("photo1"), Path("photo2")], [Path("held")], Plane(), SETTINGS)
    # tuned1: (0.8 + 1.0) / 2, tuned2: (1.0 + 0.8) / 2; base: (0 + 0.6) / 2
    assert find_metric(found, "identity_train", "tuned")["value"] == pytest.approx(0.9)
    assert find_metric(found, "identity_train", "base")["value"] == pytest.approx(0.3)
    assert find_metric(found, "identity_train", "difference")["value"] == pytest.approx(0.6)
    # held: tuned1 0.48 + 0.48, tuned2 0.6; base 0.8
    assert find_metric(found, "identity_heldout", "tuned")["value"] == pytest.approx(0.78)
    # prompt: tuned1 0.96, tuned2 0.6; base 0.8
    assert find_metric(found, "prompt_fidelity", "tuned", "light")["value"] == pytest.approx(0.78)
    assert find_metric(found, "prompt_fidelity", "base")["value"] == pytest.approx(0.8)
    assert found["real_photos"] == {"identity_train": 0.8, "identity_heldout": pytest.approx((0.6 + 0.96) / 2)}


def test_without_held_out_photos_their_figure_is_missing_not_zero() -> None:
    found = judge(drawn(), [Path("photo1")], [], Plane(), SETTINGS)
    assert "identity_heldout" in found["missing"]
    assert not [row for row in found["metrics"] if row["metric"] == "identity_heldout"]
    assert "identity_train" not in found["real_photos"]
    assert "training photos" in sentence(found, "mysks")


def test_probes_do_not_count_for_the_subject() -> None:
    probe = [Drawn(Path(f"{model}1.png"), model, "probe", "q01", "class", "a toy", 1) for model in ("base", "tuned")]
    with_probe = judge([*drawn(), *probe], [Path("photo1")], [], Plane(), SETTINGS)
    assert with_probe["metrics"] == judge(drawn(), [Path("photo1")], [], Plane(), SETTINGS)["metrics"]
    assert len(with_probe["pictures"]) == 6


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.1, 0.3, "nearer"), (-0.3, -0.1, "farther"), (-0.1, 0.1, "do not tell")]
)
def test_the_sentence_claims_only_what_the_interval_supports(low: float, high: float, words: str) -> None:
    rows = [
        {"metric": metric, "model": "difference", "group": "all", "value": (low + high) / 2, "low": low, "high": high}
        for metric in ("identity_heldout", "prompt_fidelity")
    ]
    assert words in sentence({"metrics": rows, "missing": {}}, "mysks")
