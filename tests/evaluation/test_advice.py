"""Advice is true of the figures and of the run that it speaks of."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.advice import CAUSES, advise
from pipeline.evaluation.gates import RULES, judge_gates
from pipeline.evaluation.reasons import (
    COPIES_OF_ONE_SCENE,
    NO_BASE_FIGURE,
    NO_CAPTIONS,
    NO_COPY_DETECTOR,
    NO_HELDOUT,
    NO_STYLES,
    NO_WAY,
    NO_WORDING,
    NOT_ALIKE,
    ONE_FOLLOWED,
    ONE_SCENE,
    ONE_SEED,
    ONE_SEED_OF_WORDINGS,
    ONE_STYLE,
)
from pipeline.evaluation.remedies import RERUN
from pipeline.evaluation.run_facts import RunFacts, run_facts
from pipeline.evaluation.statistics import wilson
from pipeline.params import Gates, dump_params, load_params
from tests.workspace import ROOT

figure = st.floats(-1, 1).map(lambda value: round(value, 4))
losses = st.lists(st.floats(0.01, 1), max_size=5).map(
    lambda found: tuple((100 * (at + 1), loss) for at, loss in enumerate(found))
)
facts_of_a_run = st.builds(
    RunFacts,
    trained=st.integers(1, 40),
    step=st.integers(1, 5).map(lambda at: 100 * at),
    steps=st.just(500),
    batch=st.integers(1, 16),
    candidates=st.integers(0, 6),
    prior_images=st.integers(0, 200),
    prior_weight=st.floats(0, 2),
    plain_captions=st.floats(0, 1),
    token_learned=st.booleans(),
    start_from=st.sampled_from(["striped brown pig", "wild boar", "toy"]),
    animal=st.sampled_from(["wild boar", "pig"]),
    method=st.sampled_from(["dreambooth", "dreambooth-lora", "textual-inversion"]),
    validation=losses,
    named_alone=st.just(0),
    masked=st.integers(0, 3),
    places=st.integers(0, 16),
    shown=st.integers(1, 8),
)


@st.composite
def evaluations(draw: st.DrawFn) -> dict[str, Any]:
    """Random figures of every gate, or none, and the pictures that they would come from."""
    prompts, seeds = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    rows, missing = [], {}
    for name, rule in RULES.items():
        if draw(st.integers(0, 5)) == 0:
            missing[rule.metric] = f"nobody measured {name}"
            continue
        low, value, high = sorted(draw(st.tuples(figure, figure, figure)))
        if rule.metric == "copied":
            hits = draw(st.integers(0, prompts * seeds))
            value, (low, high) = hits / (prompts * seeds), wilson(hits, prompts * seeds)
        row = {"metric": rule.metric, "model": rule.model, "group": rule.group or "all", "value": value}
        rows.append(row | {"low": low, "high": high, "prompts": prompts, "pictures": prompts * seeds})
    pictures = [
        {
            "model": "tuned",
            "kind": kind,
            "group": "class" if kind == "probe" else "complex" if prompt % 2 else "scene",
            "prompt_id": f"{kind}{prompt}",
            "seed": seed,
            "identity": draw(figure),
            "prompt_fidelity": draw(figure),
        }
        for kind in ("subject", "probe")
        for prompt in range(prompts)
        for seed in range(seeds)
    ]
    control = {"scale": draw(figure), "free": {"value": draw(figure)}}
    found = {"metrics": rows, "missing": missing, "pictures": pictures, "control": control}
    found["thresholds"] = {"identity": draw(figure), "prompt_fidelity": draw(figure)}
    limits = Gates(**{name: draw(st.none() | figure) for name in RULES})
    return {**found, "gates": judge_gates(found, limits)}


def of_the_gate(gate: str, evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures that a gate on success looks at: up to ten prompts have one worst prompt."""
    subject, limits = [row for row in evaluation["pictures"] if row["kind"] == "subject"], evaluation["thresholds"]
    if gate == "complex":
        return [row for row in subject if row["group"] == "complex"]
    if gate == "success":
        return subject
    hits: dict[str, int] = {}
    for row in subject:
        hit = all(row[name] >= limits[name] for name in ("identity", "prompt_fidelity"))
        hits[row["prompt_id"]] = hits.get(row["prompt_id"], 0) + hit
    worst = min(hits, key=lambda prompt: hits[prompt])
    return [row for row in subject if row["prompt_id"] == worst]


@given(evaluations(), facts_of_a_run)
def test_every_gate_that_did_not_pass_gets_advice_that_is_true(evaluation: dict[str, Any], facts: RunFacts) -> None:
    gates = {gate["gate"]: gate for gate in evaluation["gates"] if gate["verdict"] in ("failed", "missing")}
    advice = {line["gate"]: line for line in advise(evaluation, facts)}
    assert advice.keys() == gates.keys()
    subject = [row for row in evaluation["pictures"] if row["kind"] == "subject"]
    for name, line in advice.items():
        gate, cause = gates[name], line["cause"]
        if gate["verdict"] == "missing":
            assert (cause, line["change"]) == (gate["reason"], RERUN[name])
            continue
        value, limit, most = gate["value"], gate["threshold"], gate["direction"] == "at most"
        holds = value <= limit if most else value >= limit
        by_bound = gate["bound"] in ("low", "high") and holds
        assert ("the figure itself holds" in cause) == by_bound
        if by_bound:
            assert f"{len(subject)} pictures" in cause
            seeds = len({row["seed"] for row in subject})
            assert f"more than {seeds} seed{'s' * (seeds != 1)} " in line["change"]
            assert "train." not in line["change"]  # nothing is wrong with the training
        if "class images do not guard" in cause:
            assert facts.method == "textual-inversion"
        if "prior." in line["change"]:
            assert facts.method != "textual-inversion"
        if "class images of weight" in cause:
            assert facts.prior_images and facts.prior_weight
        if "no class images" in cause:
            assert not (facts.prior_images and facts.prior_weight)
        if found := re.search(r"seen about (once|\d+ times)", cause):
            assert found[1] in ("once", f"{round(facts.step * facts.batch / facts.trained)} times")
            assert ("as it is" in cause) == (facts.shown > 1 or bool(facts.masked and facts.places))
        if found := re.search(r"lowest at step (\d+) \(([\d.]+)\) and is ([\d.]+) at step", cause):
            known = dict(facts.validation)
            assert min(loss for step, loss in known.items() if step <= facts.step) == known[int(found[1])]
            assert float(found[3]) >= float(found[2])
        if found := re.search(r"of (\d+) pictures?\D* (\d+) do not show the subject, (\d+) do not follow", cause):
            limits, counted = evaluation["thresholds"], of_the_gate(name, evaluation)
            unlike = sum(row["identity"] < limits["identity"] for row in counted)
            astray = sum(row["prompt_fidelity"] < limits["prompt_fidelity"] for row in counted)
            assert [int(part) for part in found.groups()] == [len(counted), unlike, astray]
        if found := re.search(r"agree with the shapes by (-?[\d.]+)", cause):
            assert float(found[1]) == pytest.approx(evaluation["control"]["free"]["value"], abs=0.005001)
        if "names the animal" in cause:
            assert facts.token_learned and set(str(facts.animal).split()) & set(facts.start_from.split())


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.1, 0.3])
def test_the_number_of_pictures_without_a_copy_that_a_limit_needs_is_the_least_one(limit: float) -> None:
    low, high = wilson(0, 4)
    row = {"metric": "copied", "model": "tuned", "group": "all", "value": 0.0, "low": low, "high": high}
    found = {"metrics": [row | {"prompts": 2, "pictures": 4}], "missing": {}, "pictures": [], "thresholds": {}}
    found["gates"] = judge_gates(found, Gates(**{**dict.fromkeys(RULES), "copies": limit}))
    (line,) = advise(found, run_of_the_demo())
    needed = int(re.search(r"needs (\d+) pictures", line["change"])[1])  # type: ignore[index]
    assert wilson(0, needed)[1] <= limit < wilson(0, needed - 1)[1]


def run_of_the_demo() -> RunFacts:
    selection = {"step": 420, "candidates": [{"step": 140, "failed": ["likeness"]}, {"step": 420, "failed": []}]}
    curve = [{"step": 10.0}, {"step": 80.0, "validation_loss": 0.2}, {"step": 90.0, "validation_loss": 0.2}]
    curve += [{"step": 160.0, "validation_loss": 0.25}]
    return run_facts(RECORD, selection, curve)


RECORD = {
    "params": dump_params(load_params(ROOT / "profiles" / "pocket.yaml")),
    "photos": {
        "files": [
            {
                "split": "train",
                "mask": f"masks/{at}.png",
                "caption": f"a photo of mysks{' plush toy' * (at > 2)} in the rain",
            }
            for at in range(12)
        ]
        + [{"split": "heldout", "mask": None, "caption": "mysks"}]
    },
    "prior": {"places": 24},
    "training": {"steps": 560},
}


def test_the_facts_of_a_run_come_from_its_record() -> None:
    facts = run_of_the_demo()
    assert (facts.trained, facts.step, facts.steps, facts.batch, facts.candidates) == (12, 420, 560, 8, 2)
    assert (facts.views, facts.named_alone, facts.masked, facts.elsewhere) == (280, 3, 12, 16)
    assert facts.validation == ((80, 0.2), (160, 0.25))


def test_every_gate_has_its_cause_and_its_remedy() -> None:
    assert CAUSES.keys() == RERUN.keys() == RULES.keys() == Gates.model_fields.keys()


@pytest.mark.parametrize(
    ("gate", "reason", "words"),
    [
        ("class_as_subject", NO_WAY, "success_way to null"),
        ("name_forms", NO_WAY, "success_way to null"),
        ("class_as_subject", "the suite has no prompts for it", "probes of the class"),
        ("success", ONE_SCENE, "photos of other scenes"),
        ("complex", ONE_SCENE, "photos of other scenes"),
        ("copies", COPIES_OF_ONE_SCENE, "evaluate.copies_above"),
        ("copies", NO_COPY_DETECTOR, "name a copy detector"),
        ("caption_copies", NO_CAPTIONS, "a suite that draws training captions"),
        ("diversity", ONE_SEED, "two seeds"),
        ("control", ONE_FOLLOWED, "two prompts of the subject"),
        ("style", ONE_STYLE, "two styles"),
        ("style_leak", NO_STYLES, "two styles"),
        ("wording", NO_WORDING, "raise success first"),
        ("wording", ONE_SEED_OF_WORDINGS, "two seeds"),
        ("control_cost", NOT_ALIKE, "raise likeness first"),
        ("control_cost", NO_HELDOUT, "hold photos out"),
        ("train_gap", NO_HELDOUT, "hold photos out"),
        ("diversity", NO_BASE_FIGURE, "another judge in evaluate.perceptual"),
        ("style", NO_BASE_FIGURE, "styles which the base can draw"),
        ("likeness", "an interval needs at least 2 prompts, found 1", "more prompts"),
    ],
)
def test_a_gate_without_a_measurement_is_told_what_helps_against_its_reason(gate: str, reason: str, words: str) -> None:
    (told,) = advise({"gates": [{"gate": gate, "verdict": "missing", "reason": reason}]}, run_of_the_demo())
    assert told["cause"] == reason and words in told["change"]
    for fulfilled in FULFILLED.get(reason, ()):  # or there would be another reason
        assert fulfilled not in told["change"]
    if reason == ONE_SCENE:  # with which success is counted by photos either way
        assert "success_way" not in told["change"]


@pytest.mark.parametrize("gate", ["likeness", "success", "worst_success"])
def test_what_misses_a_way_from_the_base_to_the_photos_is_not_told_to_take_it(gate: str) -> None:
    missing = {"gate": gate, "verdict": "missing", "reason": NO_WAY}
    (told,) = advise({"gates": [missing]}, run_of_the_demo())
    (usual,) = advise({"gates": [missing | {"reason": "photos of one scene"}]}, run_of_the_demo())
    assert told["cause"] == NO_WAY and told["change"] != usual["change"]
    assert ("success_way to null" in told["change"]) == (gate != "likeness")


FULFILLED = {
    NO_WORDING: ("sample.suite", "sample.seeds"),
    NOT_ALIKE: ("sample.control", "prepare.heldout"),
    NO_HELDOUT: ("sample.control",),
    NO_CAPTIONS: ("evaluate.copies",),
    NO_BASE_FIGURE: ("sample.seeds",),
}


def failed(gate: str, facts: RunFacts, metrics: list[dict[str, Any]] | None = None) -> str:
    """The cause that is told of a gate that failed by its value."""
    line = {"gate": gate, "verdict": "failed", "bound": "value"}
    (told,) = advise({"gates": [line], "metrics": metrics or [], "pictures": []}, facts)
    return told["cause"]


def test_how_often_a_photo_was_seen_tells_apart_what_was_shown_in_other_places_and_views() -> None:
    facts = replace(run_of_the_demo(), validation=())
    start = "each of 12 training photos was seen about 280 times"
    assert failed("diversity", facts) == f"{start} (about 16 times as it is, else in other places)"
    some = replace(facts, masked=5, shown=4)
    assert (
        failed("diversity", some)
        == f"{start} (one with a mask about 4 times as it is, else in other places and in other views)"
    )
    assert failed("diversity", replace(facts, masked=0)) == start


def test_how_often_a_picture_is_read_as_the_animal_is_measured_and_not_guessed() -> None:
    rows = [
        {"metric": "animal", "model": model, "group": "all", "value": at}
        for model, at in (("tuned", 0.42), ("base", 0.1))
    ]
    facts = replace(run_of_the_demo(), start_from="toy", animal="wild boar", token_learned=True)
    assert (
        failed("animal", facts, rows) == "42% of its pictures and 10% of the base's are read as the animal (wild boar)"
    )
    assert failed("animal", replace(facts, start_from="a boar"), rows).endswith("start_from names the animal (boar)")


@pytest.mark.parametrize(
    ("alone", "places", "change"), [(3, 0, "token alone"), (9, 0, "class noun"), (9, 16, "token alone")]
)
def test_captions_are_called_uneven_by_what_they_are(alone: int, places: int, change: str) -> None:
    facts = replace(run_of_the_demo(), named_alone=alone, places=places)
    gate = {"gate": "name_forms", "verdict": "failed", "bound": "size"}
    (told,) = advise({"gates": [gate], "metrics": [], "pictures": []}, facts)
    assert told["cause"].startswith(f"of 12 training captions {alone} name the subject by its token alone")
    assert ("in other places" in told["cause"]) == bool(places) and change in told["change"]
