"""Why a gate failed, as far as the run's own facts tell, and which parameter to change: advice, not a verdict."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import counted, joined
from pipeline.evaluation.remedies import remedy
from pipeline.evaluation.run_facts import RunFacts
from pipeline.evaluation.statistics import WORST, Z, fewest_of
from pipeline.evaluation.suite import COMPLEX

FEW_PHOTOS = 5
TOKEN_ALONE = "textual-inversion"  # the method that uses no class images
PICTURES_OF = {"tuned": "its pictures", "base": "the base's"}
ONLY_THE_TOKEN = (
    "only the token's embedding was trained, which class images do not guard",
    "lower train.token.learning_rate or train.steps",
)


def advise(evaluation: dict[str, Any], facts: RunFacts) -> list[dict[str, str]]:
    """For each gate that failed or is missing its name, the likely `cause` and the `change` to make."""
    found = []
    for gate in evaluation["gates"]:
        if gate["verdict"] == "missing":
            cause, change = gate["reason"], remedy(gate["gate"], gate["reason"])
        elif gate["verdict"] == "failed" and _unsure(gate):
            cause, change = _few(gate, evaluation, facts)
        elif gate["verdict"] == "failed":
            cause, change = CAUSES[gate["gate"]](evaluation, facts)
        else:
            continue
        found.append({"gate": gate["gate"], "cause": cause, "change": change})
    return found


def _unsure(gate: dict[str, Any]) -> bool:
    """Whether the value itself holds, so that only the interval is too wide."""
    if gate["bound"] not in ("low", "high"):
        return False
    value, limit = float(gate["value"]), float(gate["threshold"])
    return value <= limit if gate["direction"] == "at most" else value >= limit


def _few(gate: dict[str, Any], evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    drawn = {(row["prompt_id"], row["seed"]) for row in evaluation["pictures"] if _counted(gate, row)}
    prompts = len({prompt for prompt, _ in drawn})
    cause = (
        f"the figure itself holds; the interval over {counted(len(drawn), 'picture')} of "
        f"{counted(prompts, 'prompt')} is too wide"
    )
    seeds = counted(len({seed for _, seed in drawn}), "seed")
    change = f"draw more: a suite with more prompts (sample.suite), or more than {seeds} (sample.seeds)"
    limit = float(gate["threshold"])
    if gate["gate"] == "copies" and not gate["value"] and 0 < limit < 1:
        least = math.ceil(Z * Z * (1 - limit) / limit)
        change += (
            f"; {limit:.2%} needs {counted(least, 'picture')} without a copy, more where the seeds of a "
            "prompt look alike"
        )
    return cause, change


def _counted(gate: dict[str, Any], row: dict[str, Any]) -> bool:
    if row["model"] != "tuned":
        return False
    if gate["gate"] == "class_likeness":
        return bool((row["kind"], row["group"]) == ("probe", "class"))
    return bool(row["kind"] == "subject")


def _undertrained(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    if facts.trained < FEW_PHOTOS:
        return (
            f"it was trained on {counted(facts.trained, 'photo')} only",
            f"add photos of the subject in other places ({FEW_PHOTOS} or more)",
        )
    cause = f"perhaps it was trained too little: {counted(facts.step, 'step')}, each photo {_seen(facts)}"
    if facts.step == facts.steps:
        return f"{cause}, and the last step was selected", "raise train.steps or train.learning_rate"
    change = "raise train.learning_rate, or look at train.token.start_from"
    return f"step {facts.step} of {facts.steps} was selected; {cause}", change


def _memorised(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    cause = f"each of {counted(facts.trained, 'training photo')} was {_seen(facts)}"
    if risen := _risen(facts):
        lowest, loss, end = risen
        cause += f"; the loss on held-out photos was lowest at step {lowest} ({loss:.4f}) and is {end:.4f} at step "
        cause += f"{facts.step}"
    change = "lower train.steps or train.learning_rate"
    if facts.candidates < 2:
        change += ", keep candidates to choose from (train.save_every)"
    return cause, f"{change}, or add photos"


def _forgot(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    if facts.method == TOKEN_ALONE:
        return ONLY_THE_TOKEN
    if not facts.prior_images or not facts.prior_weight:
        return "no class images protect what the base knew", "set prior.images to 80 or more, and train.prior.weight"
    return (
        f"training moved the class in spite of {counted(facts.prior_images, 'class image')} of weight "
        f"{facts.prior_weight:g}",
        "raise train.prior.weight or prior.images, or lower train.learning_rate or train.steps",
    )


def _styles_mixed(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    if facts.method == TOKEN_ALONE:
        return ONLY_THE_TOKEN
    if not facts.prior_images or not facts.prior_weight:
        return (
            "no class images keep the styles of the base",
            "set prior.images, with prompts of all styles (prior.prompts)",
        )
    return (
        "perhaps the photos' look was learned as part of the subject",
        "name place, light and kind of picture in the captions, and add styles to prior.prompts",
    )


def _animal(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    rows = {row["model"]: row["value"] for row in evaluation["metrics"] if row["metric"] == "animal"}
    shares = [f"{rows[model]:.0%} of {whose}" for model, whose in PICTURES_OF.items() if model in rows]
    cause = f"{joined(shares) if shares else 'more pictures than of the base'} are read as the animal ({facts.animal})"
    words = set((facts.animal or "").lower().split()) & set(facts.start_from.lower().split())
    if words and facts.token_learned:
        return (
            f"{cause}; train.token.start_from names the animal ({', '.join(sorted(words))})",
            "start from words that describe the toy",
        )
    start = "start the token from words of the toy (train.token.start_from)"
    if not facts.token_learned:
        start = "learn a token that starts from words of the toy (train.token.learn, train.token.start_from)"
    return cause, start + ("" if facts.method == TOKEN_ALONE else ", or name toys in prior.prompts")


def _unreliable(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    return _failing(_of_subject(evaluation), "", evaluation, facts)


def _unreliable_at_worst(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    """The same of the prompts that the gate `worst_success` looks at."""
    prompts: dict[str, list[bool]] = {}
    for row in _of_subject(evaluation):
        prompts.setdefault(row["prompt_id"], []).append(not any(_faults(row, evaluation)))
    ranked = sorted(prompts, key=lambda prompt: sum(prompts[prompt]) / len(prompts[prompt]))
    worst = ranked[: fewest_of(len(ranked), WORST)]
    rows = [row for row in _of_subject(evaluation) if row["prompt_id"] in worst]
    which = " of the worst prompt" if len(worst) == 1 else f" of the worst {len(worst)} prompts"
    return _failing(rows, which, evaluation, facts)


def _unreliable_where_complex(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    """The same of the prompts that the gate `complex` looks at."""
    rows = [row for row in _of_subject(evaluation) if row["group"] == COMPLEX]
    return _failing(rows, " of the prompts with several factors", evaluation, facts)


def _of_subject(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]


def _faults(row: dict[str, Any], evaluation: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a picture does not show the subject, and whether it does not follow its prompt."""
    limits = evaluation["thresholds"]
    return row["identity"] < limits["identity"], row["prompt_fidelity"] < limits["prompt_fidelity"]


def _failing(
    rows: Sequence[dict[str, Any]], which: str, evaluation: dict[str, Any], facts: RunFacts
) -> tuple[str, str]:
    faults = [_faults(row, evaluation) for row in rows]
    unlike, astray = sum(one for one, _ in faults), sum(other for _, other in faults)
    pictures = f"{counted(len(rows), 'picture')}{which}"
    cause = f"of {pictures} {unlike} do not show the subject, {astray} do not follow the prompt"
    if unlike >= astray:
        return cause, _undertrained(evaluation, facts)[1]
    return cause, "lower train.steps or train.learning_rate, and name in the captions what else is in the photos"


def _forms(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    alone, both = facts.named_alone, facts.trained - facts.named_alone
    cause = f"of {counted(facts.trained, 'training caption')} {alone} name the subject by its token alone"
    if facts.elsewhere:
        cause += ", and none of those of its pictures in other places"
    cause += f"; train.plain_captions is {facts.plain_captions:g}"
    if facts.elsewhere or alone < both:
        return cause, "write the token alone in more captions, or raise train.plain_captions"
    if alone > both:
        return cause, "write the token with its class noun in more captions, or raise train.plain_captions"
    return cause, "raise train.plain_captions"


def _wordings(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    return (
        "paraphrases of one meaning do not succeed alike",
        "caption the photos in more than one wording, or search a recipe (tune.pictures)",
    )


def _stubborn(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    free = evaluation["control"]["free"]["value"]
    cause = f"without the adapter the same drawings agree with the shapes by {free:.2f}"
    return cause, "raise sample.control.scale, name another control adapter, or train for fewer steps (train.steps)"


def _costly(evaluation: dict[str, Any], facts: RunFacts) -> tuple[str, str]:
    scale = evaluation["control"]["scale"]
    return f"the adapter counts by {scale:g}", "lower sample.control.scale, or name another control adapter"


CAUSES: dict[str, Callable[[dict[str, Any], RunFacts], tuple[str, str]]] = {
    "likeness": _undertrained,
    "copies": _memorised,
    "caption_copies": _memorised,
    "train_gap": _memorised,
    "diversity": _memorised,
    "class_likeness": _forgot,
    "class_as_subject": _forgot,
    "subject_free": _forgot,
    "style": _styles_mixed,
    "style_leak": _styles_mixed,
    "animal": _animal,
    "success": _unreliable,
    "worst_success": _unreliable_at_worst,
    "name_forms": _forms,
    "wording": _wordings,
    "complex": _unreliable_where_complex,
    "control": _stubborn,
    "control_cost": _costly,
}


def _risen(facts: RunFacts) -> tuple[int, float, float] | None:
    """Step and loss where the loss on held-out photos was lowest, and the loss at the chosen step, where it rose."""
    known = [(step, loss) for step, loss in facts.validation if step <= facts.step]
    if not known:
        return None
    lowest, loss = min(known, key=lambda row: row[1])
    return (lowest, loss, known[-1][1]) if known[-1][1] > loss else None


def _seen(facts: RunFacts) -> str:
    """How often a photo was seen, and how often of these as it is."""
    told = f"seen about {_times(facts.views)}"
    other = ["in other places"] * bool(facts.elsewhere) + ["in other views"] * (facts.shown > 1)
    if not other:
        return told
    which = "one with a mask " if facts.elsewhere and facts.masked < facts.trained else ""
    return f"{told} ({which}about {_times(facts.views_as_it_is)} as it is, else {joined(other)})"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
