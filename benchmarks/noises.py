"""How far do the seeds of a suite move all its prompts together? `python -m benchmarks.noises EVALUATION...`.

Each argument is a `reports/evaluation.json`. Of a score with a value for every prompt and seed, the two-way analysis of
variance with random effects (Searle, Casella and McCulloch 1992, chapter 4) tells three parts apart: prompts, seeds,
and the rest. An interval over prompts, with seeds drawn within them, counts the first and the last. Printed are, by
figure: the mean of each seed, the standard deviation between the seeds, the F statistic that there is none (about 1 by
chance), and the standard error of the mean with the seeds' part and as the bootstrap of the evaluation has it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.statistics import Resamples
from pipeline.files import read_json

DRAWS = 4000


def score_tables(evaluation: dict[str, Any]) -> dict[str, np.ndarray]:
    """Scores of the subject's pictures, float64 [prompts, seeds]: tuned, and tuned minus base on the same noise."""
    rows = [row for row in evaluation["pictures"] if row["kind"] == "subject"]
    by = {(row["model"], row["prompt_id"], row["seed"]): row for row in rows}
    prompts, seeds = sorted({row["prompt_id"] for row in rows}), sorted({row["seed"] for row in rows})
    found = {}
    for name in (likeness_metric(evaluation), "success", "prompt_fidelity"):
        if any(row.get(name) is None for row in rows):
            continue
        tuned, base = (
            np.array([[float(by[model, prompt, seed][name]) for seed in seeds] for prompt in prompts])
            for model in ("tuned", "base")
        )
        found |= {name: tuned, f"{name}, tuned - base": tuned - base}
    return found


def parts(table: np.ndarray) -> dict[str, Any]:
    """The parts of the variance of scores [prompts, seeds], two or more of both."""
    prompts, seeds = table.shape
    mean, by_prompt, by_seed = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = ((table - by_prompt[:, None] - by_seed + mean) ** 2).sum() / ((prompts - 1) * (seeds - 1))
    between = prompts * by_seed.var(ddof=1)
    of_seeds = max(0.0, (between - rest) / prompts)
    of_prompts = max(0.0, (seeds * by_prompt.var(ddof=1) - rest) / seeds)
    error = np.sqrt(of_prompts / prompts + of_seeds / seeds + rest / (prompts * seeds))
    return {
        "mean": float(mean),
        "by_seed": [round(float(value), 3) for value in by_seed],
        "sd_between_seeds": float(np.sqrt(of_seeds)),
        "f": float(between / rest) if rest > 0 else None,
        "standard_error": float(error),
        "standard_error_bootstrap": float(Resamples(prompts, seeds, DRAWS, 1).means(table).std()),
    }


def main() -> None:
    """Print the parts of each evaluation as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluations", type=Path, nargs="+", metavar="EVALUATION")
    for path in parser.parse_args().evaluations:
        found = {name: parts(table) for name, table in score_tables(read_json(path)).items()}
        rounded = {
            name: {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            for name, row in found.items()
        }
        print(json.dumps({"evaluation": str(path), **rounded}, indent=2))


if __name__ == "__main__":
    main()
