"""Success where prompts are hard: on several factors at once, and over the wordings of one meaning."""

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics import Line, Reading, Table
from pipeline.evaluation.reasons import NO_WORDING, ONE_SEED_OF_WORDINGS
from pipeline.evaluation.statistics import interval
from pipeline.evaluation.suite import COMPLEX, said_again


def hard_prompts(table: Table, subject: Sequence[str], success: Reading) -> list[Line]:
    """The figures `complex` and `wording`, each where the suite has prompts for it; `wording` needs two seeds and a
    picture that succeeds, too.

    Args:
        subject: ids of the subject's prompts.
        success: 1 for a picture that shows what was asked for, else 0.
    """
    found: list[Line] = []
    if prompts := [prompt for prompt in subject if table.prompts[prompt].group == COMPLEX]:
        found += table.pair("complex", COMPLEX, prompts, success)
    meanings = said_again([(table.prompts[prompt].group, table.prompts[prompt].form, prompt) for prompt in subject])
    if not meanings:
        table.scores.missing["wording"] = "the suite says nothing in several wordings that name the subject alike"
    elif len(table.seeds) < 2:
        table.scores.missing["wording"] = ONE_SEED_OF_WORDINGS
    elif not any(table.table("tuned", prompts, success).any() for prompts in meanings):
        table.scores.missing["wording"] = NO_WORDING
    else:
        for model in ("tuned", "base"):
            parts = np.array([[wording_variance(table.table(model, prompts, success))] for prompts in meanings])
            draws = table.resamples(*parts.shape).means(parts)
            found.append(Line("wording", model, "all", interval(float(spread(parts.mean())), spread(draws), [parts])))
    return found


def wording_variance(hits: np.ndarray) -> float:
    """How far the success rates of paraphrases lie apart: their variance beyond that of the seeds, 0 in the mean where
    all of them succeed alike.

    The variance component between groups of a one-way layout (Searle, Casella and McCulloch 1992, section 3.6): the
    variance of the means, less the variance within a wording over the seeds. By chance it is negative as often as
    positive; cut off at 0 its mean would show a spread where there is none.

    Args:
        hits: success by paraphrase and seed, [2 or more, 2 or more].
    """
    between = float(hits.mean(axis=1).var(ddof=1))
    return between - float(hits.var(axis=1, ddof=1).mean()) / hits.shape[1]


def spread(variance: np.ndarray) -> np.ndarray:
    """Standard deviations of variances, float64 of any shape; of negative ones with their sign."""
    return np.asarray(np.sign(variance) * np.sqrt(np.abs(variance)))
