"""What a search leaves behind: every proposal, every trial, and the choice."""

import time
from collections.abc import Callable
from typing import Any

from pipeline.tuning.halving import Outcome, Round
from pipeline.tuning.plan import Plan
from pipeline.tuning.trial import RULE, Trial, behind, eligible


def search_record(outcome: Outcome, plan: Plan, drawn: int, draws: int, seed: int) -> dict[str, Any]:
    """The search as plain values: `rule`, `pictures`, `proposals`, `rounds`, `last_round` and `chosen`.

    `behind_best` of the last round is counted from the best that could be chosen; what is ahead of it, which a gate
    excludes, has a negative one.

    Args:
        drawn: pictures that this search drew or found drawn, those of the base among them.
    """
    last = outcome.rounds[-1]
    best = max(eligible(last.trials, outcome.default), key=lambda trial: trial.merit)
    names = {proposal.recipe.digest: proposal for proposal in outcome.proposals}
    return {
        "rule": RULE,
        "pictures": {"planned": plan.pictures, "drawn": drawn},
        "proposals": [
            {"recipe": item.recipe.changed, "digest": item.recipe.digest, "by": item.by, "words": item.words}
            for item in outcome.proposals
        ],
        "rounds": [
            {"round": found.number, "prompts": len(found.suite.prompts), "trials": [_row(one) for one in found.trials]}
            for found in outcome.rounds
        ],
        "last_round": [
            {"digest": trial.recipe.digest, "behind_best": round(gap, 5), "standard_error": round(error, 5)}
            for trial in last.trials
            for gap, error in [behind(best, trial, draws, seed)]
        ],
        "chosen": {
            "recipe": outcome.chosen.recipe.changed,
            "digest": outcome.chosen.recipe.digest,
            "words": names[outcome.chosen.recipe.digest].words if outcome.chosen.recipe.changed else "the default",
        },
    }


def trial_table(rounds: list[Round]) -> list[dict[str, float]]:
    """A row for each recipe in each round, the best of a round first, for `dvc plots`.

    `trial` is the recipe's number, the same in all rounds: 0 is the default, the others count in the order in which
    they ended up in the first round that tried them.
    """
    digests = dict.fromkeys(trial.recipe.digest for found in rounds for trial in found.trials if trial.recipe.changed)
    numbers = {digest: number for number, digest in enumerate(digests, start=1)}
    return [
        {
            "trial": numbers.get(trial.recipe.digest, 0),
            "round": found.number,
            "merit": round(trial.merit, 4),
            "likeness": round(trial.likeness, 4),
            "fidelity": round(trial.fidelity, 4),
            "parts": len(trial.parts),
            "gates_failed": len(trial.failed),
        }
        for found in rounds
        for trial in found.trials
    ]


class Progress:
    """Says after each recipe how many pictures are left, and about how long they take."""

    def __init__(self, planned: int, told: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic):
        self.planned, self.told, self.clock = planned, told, clock
        self.began, self.done, self.fresh = clock(), 0, 0

    def add(self, what: str, pictures: int, fresh: int) -> None:
        """Count `pictures` of a recipe, `fresh` of which were drawn now and not found."""
        self.done += pictures
        self.fresh += fresh
        left = ""
        if self.fresh and (missing := self.planned - self.done) > 0:
            left = f", about {_duration((self.clock() - self.began) / self.fresh * missing)} left"
        self.told(f"{what}; {self.done} of {self.planned} pictures{left}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "recipe": trial.recipe.changed,
        "digest": trial.recipe.digest,
        "parts": list(trial.parts),
        "merit": round(trial.merit, 5),
        "likeness": round(trial.likeness, 5),
        "fidelity": round(trial.fidelity, 5),
        "success": None if trial.success is None else round(trial.success, 4),
        "failed": list(trial.failed),
        "missing": list(trial.missing),
    }
