"""Success where prompts are hard: on several factors at once, and over the wordings of one meaning."""

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics import Line, Reading, Table
from pipeline.evaluation.suite import COMPLEX, is_wording


def hard_prompts(table: Table, subject: Sequence[str], success: Reading) -> list[Line]:
    """The figures `complex` and `wording`, each where the suite has prompts for it.

    Args:
        subject: ids of the subject's prompts.
        success: 1 for a picture that shows what was asked for, else 0.
    """
    found: list[Line] = []
    if prompts := [prompt for prompt in subject if table.prompts[prompt].group == COMPLEX]:
        found += table.pair("complex", COMPLEX, prompts, success)
    groups: dict[str, list[str]] = {}
    for prompt in subject:
        if is_wording(group := table.prompts[prompt].group):
            groups.setdefault(group, []).append(prompt)
    meanings = [prompts for prompts in groups.values() if len(prompts) > 1]
    if meanings:
        tables = [[[wording_spread(table.table(model, p, success))] for p in meanings] for model in ("tuned", "base")]
        found += [
            Line("wording", model, "all", table.estimate(np.array(rows)))
            for model, rows in zip(("tuned", "base"), tables, strict=True)
        ]
    return found


def wording_spread(hits: np.ndarray) -> float:
    """How far the success rates of paraphrases lie apart: their standard deviation beyond that of the seeds.

    The variance component between groups of a one-way layout (Searle, Casella and McCulloch 1992, section 3.6): the
    variance of the means, less the variance within a wording over the seeds; a negative one counts as 0. With one
    seed nothing can be taken off.

    Args:
        hits: success by paraphrase and seed, [2 or more, seeds].
    """
    between = float(hits.mean(axis=1).var(ddof=1))
    seeds = hits.shape[1]
    within = float(hits.var(axis=1, ddof=1).mean()) / seeds if seeds > 1 else 0.0
    return float(np.sqrt(max(0.0, between - within)))
