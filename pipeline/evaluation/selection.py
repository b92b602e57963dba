"""Which candidate is selected: the fewest failed gates, then likeness times fidelity, then the earliest of equals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import counted
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.statistics import Resamples, paired_gap

RULE = (
    "candidates that fail the fewest gates by value come first (a gate that is measured for another candidate and not "
    "for this one counts as failed, one that is measured for none fails nobody); of the mean product of likeness and "
    "fidelity, the earliest within one standard error of the best, picture by picture on the same noise"
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


def sample_gates(candidate: Judged, pictures: int) -> str:
    """Which gates a candidate fails on its `pictures` of the choosing suite, and that this is no verdict on it."""
    where = f"by value on the choosing suite's {pictures} pictures"
    failed = gates_in_words(candidate.failed, candidate.missing)
    return f"gates failed {where} (a sample; the stage evaluate gives the verdict): {failed}"


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
    """The selected candidate, by `RULE`.

    Args:
        candidates: judged on the same prompts and noise.
        draws, seed: of the bootstrap behind the standard errors of differences.

    Raises:
        ValueError: there are no candidates.
    """
    eligible, _ = _eligible(candidates)
    best = _best(eligible)
    near = []
    for candidate in eligible:
        gap, error = paired_gap(best.scores, candidate.scores, draws, seed)
        if gap <= error:
            near.append(candidate)
    return min(near, key=lambda candidate: candidate.step)


def reason(candidates: Sequence[Judged], chosen: Judged) -> str:
    """Why `choose` selected `chosen` of `candidates`, in words that follow 'step N is selected:'.

    Raises:
        ValueError: there are no candidates.
    """
    eligible, fewest = _eligible(candidates)
    count = f"{len(eligible)} of {counted(len(candidates), 'candidate')}"
    verb = "fails" if len(eligible) == 1 else "fail"
    if fewest:
        gates = f"every candidate fails a gate by value, and {count} {verb} the fewest, {fewest}"
    else:
        gates = f"{count} {verb} no gate by value"
    if len(eligible) == 1:
        return gates
    best = _best(eligible)
    top = f"the highest likeness x fidelity ({best.merit:.3f})"
    if chosen.step == best.step:
        return f"{gates}; of these it has {top}, and none before it is within one standard error of that"
    within = f"step {chosen.step} ({chosen.merit:.3f}) is the earliest within one standard error of that"
    return f"{gates}; of these step {best.step} has {top}, and {within}"


def _eligible(candidates: Sequence[Judged]) -> tuple[list[Judged], int]:
    """The candidates that fail the fewest gates, in their order, and how many that is; see `RULE`."""
    if not candidates:
        raise ValueError("there is no candidate to choose")
    unmeasured = set.intersection(*(set(candidate.missing) for candidate in candidates))
    counts = [len(candidate.failed) + len(set(candidate.missing) - unmeasured) for candidate in candidates]
    fewest = min(counts)
    return [candidate for candidate, count in zip(candidates, counts, strict=True) if count == fewest], fewest


def _best(candidates: Sequence[Judged]) -> Judged:
    return max(candidates, key=lambda candidate: candidate.merit)
