"""Which candidate is selected: gates first, then likeness times fidelity, then the earliest of equals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.statistics import Resamples, paired_gap

RULE = (
    "candidates that fail no gate by value come first (one that is measured for another candidate and not for this one "
    "counts as failed, one that is measured for none fails nobody); of the mean product of likeness and fidelity, the "
    "earliest within one standard error of the best, picture by picture on the same noise"
)


@dataclass(frozen=True)
class Judged:
    """A candidate's figures on the choosing suite; `error` is the standard error of `merit` over prompts and seeds.

    It is the candidate's own, for the curve: candidates are compared by the error of their difference. `scores` are
    likeness x fidelity, float64 [prompts, seeds]. `failed` and `missing` are gates that it fails, and those that are on
    but could not be measured.
    """

    step: int
    merit: float
    error: float
    likeness: float
    fidelity: float
    scores: np.ndarray = field(repr=False)
    failed: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def row(self) -> dict[str, Any]:
        """The figures as plain values, without `scores`."""
        return {name: value for name, value in vars(self).items() if name != "scores"}


def gates_in_words(failed: Sequence[str], missing: Sequence[str]) -> str:
    """'copies; not measured: caption_copies', with 'none' where no gate failed."""
    unmeasured = f"; not measured: {', '.join(missing)}" if missing else ""
    return (", ".join(failed) or "none") + unmeasured


def summarise(step: int, evaluation: dict[str, Any], gates: Sequence[dict[str, Any]], draws: int, seed: int) -> Judged:
    """The figures of one candidate, from its evaluation (`judge`) and its gates."""
    name = likeness_metric(evaluation)
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    prompts: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: (row["prompt_id"], row["seed"])):
        prompts.setdefault(row["prompt_id"], []).append((row[name], row["prompt_fidelity"]))
    table = np.array(list(prompts.values()), float)  # [prompts, seeds, 2]
    product = np.clip(table, 0, None).prod(axis=2)
    error = float(Resamples(product.shape[0], product.shape[1], draws, seed).means(product).std())
    return Judged(
        step=step,
        merit=float(product.mean()),
        error=error,
        likeness=float(table[..., 0].mean()),
        fidelity=float(table[..., 1].mean()),
        scores=product,
        failed=tuple(gate["gate"] for gate in gates if gate["verdict"] == "failed"),
        missing=tuple(gate["gate"] for gate in gates if gate["verdict"] == "missing"),
    )


def choose(candidates: Sequence[Judged], draws: int, seed: int) -> Judged:
    """The selected candidate, by `RULE`; among those that all fail a gate, the rest of the rule decides.

    Args:
        candidates: judged on the same prompts and noise.
        draws, seed: of the bootstrap behind the standard errors of differences.

    Raises:
        ValueError: there are no candidates.
    """
    unmeasured = set.intersection(*(set(candidate.missing) for candidate in candidates)) if candidates else set()
    eligible = [one for one in candidates if not one.failed and unmeasured.issuperset(one.missing)] or list(candidates)
    if not eligible:
        raise ValueError("there is no candidate to choose")
    best = max(eligible, key=lambda candidate: candidate.merit)
    near = []
    for candidate in eligible:
        gap, error = paired_gap(best.scores, candidate.scores, draws, seed)
        if gap <= error:
            near.append(candidate)
    return min(near, key=lambda candidate: candidate.step)
