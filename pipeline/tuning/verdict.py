"""Is a model better drawn with another recipe? Paired over the report's prompts and seeds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pipeline.errors import joined
from pipeline.evaluation.gates import shortfalls
from pipeline.evaluation.promotion_floor import sample_objections
from pipeline.evaluation.statistics import Resamples, paired_difference, recorded_figure, sign_flip_test
from pipeline.sampling.recipe import Recipe
from pipeline.tuning.trial import newly_failed, picture_scores

LEVEL = 0.05
RULE = (
    "adopted: merit (likeness x fidelity) is better by the sign-flip test (p < 0.05) and its 95 % interval excludes 0, "
    "it rests on as many prompts, seeds and draws as a promotion needs, and no gate fails, or cannot be measured, that "
    "the default recipe passes, or fails by less"
)
GIVEN = (
    "the recipe of params.yaml becomes the model's own unless a gate fails, or cannot be measured, that the default "
    "recipe passes, or fails by less"
)
TITLES = {
    "merit": "likeness x fidelity",
    "likeness": "likeness",
    "fidelity": "fidelity to the prompt",
    "success": "success",
}


@dataclass(frozen=True)
class Gain:
    """A figure by the default recipe and by the searched one, and their difference with its 95 % interval.

    `low` and `high` are None where no interval is known: it rests on one prompt, or all pictures differ alike.
    """

    metric: str
    title: str
    default: float
    searched: float
    value: float
    low: float | None
    high: float | None
    p: float
    verdict: Literal["better", "worse", "no difference shown"]


def compare_recipe(
    recipe: Recipe, default: dict[str, Any], searched: dict[str, Any], search: dict[str, Any]
) -> dict[str, Any]:
    """The section `recipe` of an evaluation.

    Args:
        default, searched: evaluations of the same model, prompts, seeds and judges, with their `gates`.
        search: what the stage `tune` recorded; without pictures the recipe was given in params.yaml.

    Returns:
        `recipe`, its `digest`, `gains` (one `Gain` a figure), `gates` (by this recipe), `newly_failed` (also those that
        the default fails by less), `adopted`, `given` (and not searched), `sentence`, `rule`, `metrics` (of this
        recipe) and `search` (suite, pictures, rule).
    """
    settings = default["settings"]
    gains = paired_gains(default, searched, int(settings["bootstrap"]), int(settings["seed"]))
    failed = [shortfalls(evaluation["gates"], ("failed", "missing")) for evaluation in (default, searched)]
    newly = newly_failed(failed[1], failed[0])
    merit = next(gain for gain in gains if gain.metric == "merit")
    given = not search["pictures"]["drawn"]
    thin = [] if given else sample_objections(searched)
    adopted = (given or merit.verdict == "better") and not newly and not thin
    lost = _lost(newly, failed[0])
    return {
        "recipe": recipe.changed,
        "digest": recipe.digest,
        "gains": [asdict(gain) for gain in gains],
        "gates": searched["gates"],
        "newly_failed": newly,
        "adopted": adopted,
        "given": given,
        "sentence": _given_sentence(merit, lost) if given else _sentence(merit, lost, thin),
        "rule": GIVEN if given else RULE,
        "metrics": searched["metrics"],
        "search": {name: search.get(name) for name in ("suite", "pictures", "rule", "content_digest")},
    }


def paired_gains(default: dict[str, Any], searched: dict[str, Any], draws: int, seed: int) -> list[Gain]:
    """The difference of every figure, searched minus default, prompt by prompt and seed by seed."""
    tables = [_tables(evaluation) for evaluation in (default, searched)]
    found = []
    for name, title in TITLES.items():
        if name in tables[0] and name in tables[1]:
            gap = tables[1][name] - tables[0][name]
            resamples = Resamples(gap.shape[0], gap.shape[1], draws, seed)
            estimate = paired_difference(tables[0][name], tables[1][name], resamples)
            p = sign_flip_test(gap.mean(axis=1), draws, seed)
            written = recorded_figure(estimate)
            sure = written.low is not None and p < LEVEL and (estimate.low > 0 or estimate.high < 0)
            verdict: Literal["better", "worse", "no difference shown"] = "no difference shown"
            if sure:
                verdict = "better" if estimate.value > 0 else "worse"
            found.append(
                Gain(
                    metric=name,
                    title=title,
                    default=round(float(tables[0][name].mean()), 4),
                    searched=round(float(tables[1][name].mean()), 4),
                    value=written.value,
                    low=written.low,
                    high=written.high,
                    p=round(p, 4),
                    verdict=verdict,
                )
            )
    return found


def _tables(evaluation: dict[str, Any]) -> dict[str, np.ndarray]:
    pairs, success = picture_scores(evaluation)
    found = {
        "merit": np.clip(pairs, 0, None).prod(axis=2),
        "likeness": pairs[..., 0],
        "fidelity": pairs[..., 1],
    }
    return found if success is None else {**found, "success": success}


def _lost(newly: list[str], by_default: Mapping[str, float]) -> str:
    """'copies would fail, style would fail by more': what the recipe loses of the gates; '' where it is nothing."""
    groups = {
        "would fail": [gate for gate in newly if gate not in by_default],
        "would fail by more": [gate for gate in newly if gate in by_default],
    }
    return ", ".join(f"{joined(gates)} {what}" for what, gates in groups.items() if gates)


def _figures(merit: Gain) -> str:
    gap = f"{merit.value:+.3f}"
    if merit.low is not None and merit.high is not None:
        gap += f" ({merit.low:+.3f} to {merit.high:+.3f})"
    return f"likeness x fidelity {merit.default:.3f} to {merit.searched:.3f}, {gap}"


def _given_sentence(merit: Gain, lost: str) -> str:
    figures = f"{_figures(merit)}: {merit.verdict}"
    if lost:
        return f"The recipe of params.yaml does not become the model's own: {lost} ({figures})."
    return f"The recipe of params.yaml becomes the model's own: {figures}."


def _sentence(merit: Gain, lost: str, thin: list[str]) -> str:
    figures = _figures(merit)
    if lost:
        return f"The searched recipe is not adopted: {lost} ({figures})."
    if merit.verdict == "worse":
        return f"The searched recipe is worse on the report's prompts and is not adopted: {figures}."
    if thin:
        return f"The searched recipe is not adopted: {'; '.join(thin)} ({figures})."
    if merit.verdict == "better":
        return f"The searched recipe is better and becomes the model's own: {figures}."
    return f"The searched recipe is not shown to be better on the report's prompts and is not adopted: {figures}."
