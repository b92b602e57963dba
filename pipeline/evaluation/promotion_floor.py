"""What an evaluation must hold to count as evidence for a promotion, whatever `gates` of params.yaml says.

The verdict is computed again from the recorded figures and thresholds: a tag or a sentence alone proves nothing.
"""

from typing import Any, Literal

from pydantic import ValidationError

from pipeline.evaluation.gates import RULES, judge_gates, overall
from pipeline.evaluation.likeness import likeness_metric
from pipeline.params import Gates

LOOSEST: dict[str, float] = {
    # One gate for each kind of failure, at the loosest threshold at which passing still means something.
    "likeness": 0.2,  # a fifth of the way from the base to real photos; below it the subject is not recognisable
    "copies": 0.1,  # upper bound: at more than one copy in ten pictures the model replays its training photos
    "class_likeness": 0.15,  # above it the class noun alone draws the subject: the class was overwritten
    "subject_free": 0.3,  # CLIP-T of unrelated prompts is about 0.3 in all: more lost than that is everything
    "success": 0.3,  # at less than one picture in three, it is of no use
}
LOOSEST_SETTINGS: dict[str, tuple[Literal["most", "least"], float]] = {
    # The lines of `evaluate` that the figures behind these gates are counted by; null draws them by the photos.
    "copies_above": ("most", 0.95),  # nearer than that are the bytes of a photo, and hardly a picture that is drawn
    "success_way": ("least", 0.2),  # as for the gate likeness
    "success_fidelity": ("least", 0.5),  # half of the base's fidelity: unrelated pictures have about as much
}
LINES = {  # where an evaluation keeps the line itself, whoever drew it
    "copies_above": ("real_photos", "copy_level"),
    "success_way": ("thresholds", "identity"),
    "success_fidelity": ("thresholds", "prompt_fidelity"),
}
SEEN = "No photo was held out: likeness was judged on the photos that it was trained on."
LEAST_PROMPTS = 10  # subject prompts: intervals are resampled over prompts, and are too narrow for fewer
LEAST_SEEDS = 2  # pictures of each prompt: with one, chance and model cannot be told apart
LEAST_DRAWS = 1000  # of the bootstrap: with a few, the bound that a gate counts is a matter of chance


def evidence_objections(evaluation: dict[str, Any], content_digest: str) -> list[str]:
    """What keeps an `evaluation.json` from being evidence that the model with this content digest is fit.

    Empty where the gates, computed again from its figures, pass and the floor (`LOOSEST`, `LOOSEST_SETTINGS`,
    `LEAST_PROMPTS`, `LEAST_SEEDS`, `LEAST_DRAWS`) holds.
    """
    return [
        *_binding(evaluation, content_digest),
        *sample_objections(evaluation),
        *_gates(evaluation),
        *_floor(evaluation),
    ]


def final_verdict(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The verdict of an evaluation by its gates and by the floor: `promotable` is what a promotion will accept.

    Where no photo was held out, the sentence says so.
    """
    found = overall(evaluation["gates"], [*sample_objections(evaluation), *_floor(evaluation)])
    if likeness_metric(evaluation) == "identity_train" and thresholds(evaluation).get("likeness") is not None:
        found["sentence"] += f" {SEEN}"
    return found


def loosened(evaluation: dict[str, Any], against: dict[str, Any]) -> list[str]:
    """What is looser than in the evaluation `against`, one sentence each: gates that are off or whose threshold is
    looser, and settings of `evaluate` by which more passes.

    Between a number and a line that the photos draw (null), the lines themselves are compared as they are on record.
    """
    found = []
    gates = thresholds(evaluation)
    for name, limit in thresholds(against).items():
        threshold = gates.get(name)
        if limit is None or name not in RULES:
            continue
        if threshold is None:
            found.append(f"gate {name} is off, but was on ({limit:g})")
        elif _looser(name, threshold, limit):
            found.append(f"gate {name} was loosened from {limit:g} to {threshold:g}")
    return found + [line for name in LOOSEST_SETTINGS if (line := _loosened_setting(name, evaluation, against))]


def _loosened_setting(name: str, evaluation: dict[str, Any], against: dict[str, Any]) -> str | None:
    """A sentence where more passes by a setting of `evaluate` than in `against`, or where that cannot be told."""
    before, now = ((one.get("settings") or {}).get(name, "unknown") for one in (against, evaluation))
    if "unknown" in (before, now) or before == now:  # older versions keep none
        return None
    if before is not None and now is not None:
        return f"evaluate.{name} was loosened from {before:g} to {now:g}" if _beyond(name, now, before) else None
    section, line = LINES[name]
    old, new = ((one.get(section) or {}).get(line) for one in (against, evaluation))
    changed = " to ".join("null" if value is None else f"{value:g}" for value in (before, now))
    if old is None or new is None:
        return f"evaluate.{name} was changed from {changed}: whether more passes by it is not on record"
    if not _beyond(name, new, old):
        return None
    return f"evaluate.{name} was changed from {changed}, which loosened its line from {old:.4g} to {new:.4g}"


def thresholds(evaluation: dict[str, Any]) -> dict[str, float | None]:
    """The recorded threshold of each gate; None where it was off."""
    return {str(row["gate"]): row["threshold"] for row in evaluation["gates"]}


def _binding(evaluation: dict[str, Any], content_digest: str) -> list[str]:
    judged = (evaluation.get("model") or {}).get("content_digest")
    if judged is None:
        return ["evaluation.json does not say which model it judged: run `dvc repro evaluate register` again"]
    if judged != content_digest:
        return [f"evaluation.json judged content {str(judged)[:16]}, this version is content {content_digest[:16]}"]
    return []


def sample_objections(evaluation: dict[str, Any]) -> list[str]:
    """What an evaluation lacks in prompts (`LEAST_PROMPTS`), seeds (`LEAST_SEEDS`) and bootstrap draws (`LEAST_DRAWS`).

    Each is a sentence without its full stop; empty where there are enough of all.
    """
    drawn = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    seeds_of: dict[Any, set[Any]] = {}
    for row in drawn:
        seeds_of.setdefault(row["prompt_id"], set()).add(row["seed"])
    found = []
    if len(seeds_of) < LEAST_PROMPTS:
        count = "1 prompt" if len(seeds_of) == 1 else f"{len(seeds_of)} prompts"
        found.append(f"it was judged on {count} of the subject, at least {LEAST_PROMPTS} are needed")
    fewest = min((len(seeds) for seeds in seeds_of.values()), default=0)
    if fewest < LEAST_SEEDS:
        count = "1 seed" if fewest == 1 else f"{fewest} seeds"
        found.append(f"a prompt was drawn with {count}, at least {LEAST_SEEDS} are needed (sample.seeds)")
    draws = (evaluation.get("settings") or {}).get("bootstrap")  # older versions keep no settings
    if draws is not None and not (isinstance(draws, int) and draws >= LEAST_DRAWS):
        count = "1 draw" if draws == 1 else f"{draws} draws"
        found.append(f"its intervals come from {count}, at least {LEAST_DRAWS} are needed (evaluate.bootstrap)")
    return found


def _gates(evaluation: dict[str, Any]) -> list[str]:
    try:
        limits = Gates(**{name: thresholds(evaluation).get(name) for name in Gates.model_fields})
        again = judge_gates(evaluation, limits)
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        return [f"evaluation.json cannot be judged again: {str(error).splitlines()[0]}"]
    said = {row["gate"]: row["verdict"] for row in evaluation["gates"]}
    found = [
        f"gate {row['gate']}: evaluation.json says {said[row['gate']]}, its own figures say {row['verdict']}"
        for row in again
        if row["gate"] in said and said[row["gate"]] != row["verdict"]
    ]
    verdict = overall(again)
    return found if verdict["promotable"] else [str(verdict["sentence"]), *found]


def _floor(evaluation: dict[str, Any]) -> list[str]:
    found = []
    limits = thresholds(evaluation)
    for name, loosest in LOOSEST.items():
        threshold = limits.get(name)
        if threshold is None:
            found.append(f"gate {name} is off; a promotion needs it")
        elif _looser(name, threshold, loosest):
            found.append(f"gate {name} is set to {threshold:g}; {loosest:g} is the loosest that counts")
    for name, value in _settings(evaluation).items():
        loosest = LOOSEST_SETTINGS[name][1]
        if _beyond(name, value, loosest):
            found.append(f"evaluate.{name} is {value:g}; {loosest:g} is the loosest that counts")
    return found


def _settings(evaluation: dict[str, Any]) -> dict[str, float]:
    """The recorded numbers of `LOOSEST_SETTINGS`; older versions keep none, and null is no number."""
    recorded = evaluation.get("settings") or {}
    return {name: recorded[name] for name in LOOSEST_SETTINGS if recorded.get(name) is not None}


def _beyond(name: str, value: float, than: float) -> bool:
    """Whether more passes by this value of a setting than by another."""
    return value > than if LOOSEST_SETTINGS[name][0] == "most" else value < than


def _looser(name: str, threshold: float, than: float) -> bool:
    return threshold > than if RULES[name].most else threshold < than
