"""The figures `control`: shapes asked for and drawn, and the likeness that following them costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.evaluation.followed import Followed, Following, shapes_in_turn
from pipeline.evaluation.following import DEFINITIONS, edge_agreement, f_measure, judge_following, outline_agreement
from pipeline.evaluation.gates import RULES, judge_gates
from pipeline.evaluation.reasons import NO_CONTROL, NO_SHAPES, NOT_ALIKE, ONE_FOLLOWED
from pipeline.params import Gates

OFF: dict[str, Any] = dict.fromkeys(Gates.model_fields)


def box(left: int, right: int, size: int = 64) -> Image.Image:
    found = Image.new("L", (size, size), 0)
    ImageDraw.Draw(found).rectangle((left, 8, right - 1, 55), fill=255)
    return found


def drawings(folder: Path, count: int = 4) -> list[Followed]:
    """Two shapes by turns; what follows them fills the shape, what follows none is half of it."""
    for name, picture in {"shape": box(16, 48), "path": box(16, 48), "free": box(16, 32)}.items():
        picture.save(folder / f"{name}.png")
    return [
        Followed(folder / "path.png", folder / "free.png", folder / "shape.png", f"images/{at % 2}.png", f"p{at}", 1)
        for at in range(count)
    ]


def judged(
    found: list[Followed],
    agreed: tuple[list[float], list[float]],
    likeness: dict[str, float] | None,
) -> dict[str, Any]:
    following = Following({"kind": "edges", "adapter": "x", "scale": 1.0}, "d" * 64, found)
    near = None if likeness is None else lambda files: np.array([likeness[file.stem] for file in files])
    return judge_following(following, lambda _: agreed, near, 500, 1)


def row(found: dict[str, Any], metric: str) -> dict[str, Any]:
    (one,) = [line for line in found["metrics"] if line["metric"] == metric]
    return one


def test_shapes_take_turns_and_each_has_as_many_prompts() -> None:
    assert shapes_in_turn(["a", "b"], ["1", "2", "3", "4", "5"]) == {"1": "a", "2": "b", "3": "b", "4": "a"}
    assert shapes_in_turn(["a", "b", "c"], ["1", "2"]) == {"1": "a", "2": "b"}
    assert shapes_in_turn([], ["1"]) == {}


def test_edges_agree_where_they_lie_near_each_other() -> None:
    wanted = np.zeros((64, 64), bool)
    wanted[:, 10] = True
    assert f_measure(wanted, wanted) == 1
    assert f_measure(wanted, np.roll(wanted, 1, axis=1)) == 1
    assert f_measure(wanted, np.roll(wanted, 5, axis=1)) == 0
    both = wanted | np.roll(wanted, 30, axis=1)
    assert f_measure(wanted, both) == 1  # what is far from the shape is the scene's
    assert f_measure(wanted, wanted | np.roll(wanted, 4, axis=1)) == pytest.approx(2 / 3)
    assert f_measure(wanted, np.zeros_like(wanted)) == 0


def test_outlines_are_those_of_the_network_and_edges_those_of_canny(tmp_path: Path) -> None:
    found = drawings(tmp_path)
    with_shape, without = outline_agreement(found, lambda pixels: 20 * pixels[:, :1])
    assert with_shape == [1.0] * 4 and without == [0.5] * 4
    agreed, free = edge_agreement(found)
    assert len(agreed) == len(free) == 4 and agreed[0] > free[0]


def test_the_gates_judge_agreement_and_what_it_costs(tmp_path: Path) -> None:
    agreed = [0.8, 0.6, 0.7, 0.5]
    found = judged(drawings(tmp_path), (agreed, [0.4] * 4), {"path": 0.45, "free": 0.5})
    assert row(found, "control")["value"] == pytest.approx(0.65)
    assert row(found, "control")["prompts"] == 4 and row(found, "control")["pictures"] == 4
    assert row(found, "control_cost")["value"] == pytest.approx(0.1)
    assert found["control"]["free"]["value"] == 0.4 and found["control"]["gained"]["value"] == pytest.approx(0.25)
    assert found["missing"] == {} and set(found["definitions"]) == set(DEFINITIONS)
    for limits, verdicts in (
        ({"control": 0.65, "control_cost": 0.1}, ["passed", "passed"]),
        ({"control": 0.66, "control_cost": 0.09}, ["failed", "failed"]),
    ):
        evaluation = {"metrics": found["metrics"], "missing": found["missing"]}
        gates = {gate["gate"]: gate for gate in judge_gates(evaluation, Gates(**{**OFF, **limits}))}
        assert [gates[name]["verdict"] for name in limits] == verdicts
    assert {name for name, rule in RULES.items() if rule.failure == "control"} == {"control", "control_cost"}


@pytest.mark.parametrize(
    ("likeness", "count", "missing"),
    [
        (None, 4, {"control_cost": "no photo was held out (prepare.heldout is 0)"}),
        ({"path": 0.1, "free": -0.1}, 4, {"control_cost": NOT_ALIKE}),
        ({"path": 0.4, "free": 0.5}, 0, dict.fromkeys(DEFINITIONS, NO_SHAPES)),
        ({"path": 0.4, "free": 0.5}, 1, dict.fromkeys(DEFINITIONS, ONE_FOLLOWED)),
    ],
)
def test_what_cannot_be_measured_is_missing_with_its_reason(
    tmp_path: Path, likeness: dict[str, float] | None, count: int, missing: dict[str, str]
) -> None:
    found = judged(drawings(tmp_path, count), ([0.5] * count, [0.4] * count), likeness)
    assert found["missing"] == missing
    assert {line["metric"] for line in found["metrics"]} == set(DEFINITIONS) - set(missing)


def test_drawings_that_follow_the_shape_without_the_subject_cost_likeness_and_the_definition_says_so(
    tmp_path: Path,
) -> None:
    found = judged(drawings(tmp_path), ([1.0] * 4, [0.4] * 4), {"path": 0.05, "free": 0.5})
    assert row(found, "control")["value"] == 1 and row(found, "control_cost")["value"] == pytest.approx(0.9)
    assert "does not ask whether the subject is there" in found["definitions"]["control"]


def test_without_control_both_gates_are_missing_and_say_so() -> None:
    found = judge_following(None, None, None, 100, 1)
    gates = judge_gates({"metrics": [], "missing": found["missing"]}, Gates(**{**OFF, "control": 0.6}))
    (gate,) = [gate for gate in gates if gate["gate"] == "control"]
    assert (gate["verdict"], gate["reason"]) == ("missing", NO_CONTROL)


def test_a_likeness_lost_has_an_interval_that_draws_shapes(tmp_path: Path) -> None:
    found = drawings(tmp_path, 8)
    lost = iter([np.array([0.4, 0.5] * 4), np.array([0.5] * 8)])
    following = Following({"kind": "edges", "adapter": "x", "scale": 1.0}, "d" * 64, found)
    rows = judge_following(following, lambda _: ([0.5] * 8, [0.4] * 8), lambda _: next(lost), 2000, 1)
    cost = row(rows, "control_cost")
    assert cost["value"] == pytest.approx(0.1)
    assert cost["low"] == pytest.approx(0, abs=1e-6) and cost["high"] == pytest.approx(0.2)
