"""Successive halving over recipes: many on few prompts, the best on more, the last ones on the whole suite.

Jamieson and Talwalkar 2016, arXiv 1502.07943. All recipes of a round see the same prompts and noise, and a round's
prompts are among those of the next, so that nothing is drawn twice. Pairs of good single changes join in the second
round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.errors import counted
from pipeline.evaluation.suite import Suite, part_of
from pipeline.sampling.recipe import Recipe
from pipeline.tuning.plan import Plan, kept
from pipeline.tuning.space import Proposal, pairs
from pipeline.tuning.trial import Trial, choose, order


@dataclass(frozen=True)
class Round:
    """What a round tried, in the order of `order`."""

    number: int
    suite: Suite
    trials: list[Trial]


@dataclass(frozen=True)
class Outcome:
    """The rounds, everything proposed on the way, and the choice."""

    rounds: list[Round]
    proposals: list[Proposal]
    default: Trial
    chosen: Trial


def search(
    suite: Suite,
    plan: Plan,
    singles: Sequence[Proposal],
    attempt: Callable[[Recipe, Suite], Trial],
    draws: int,
    seed: int,
    told: Callable[[str], None] = print,
) -> Outcome:
    """Run the rounds of a plan.

    Args:
        singles: single changes, the first `plan.singles` of them are tried.
        attempt: draws a part of the suite with a recipe and judges it.
        draws: bootstrap draws behind the standard errors.
        told: takes a line about each round.
    """
    proposals = list(singles[: plan.singles])
    recipes = [proposal.recipe for proposal in proposals]
    rounds: list[Round] = []
    default = None
    for number, count in enumerate(plan.prompts, start=1):
        part = part_of(suite, count)
        default = attempt(Recipe(), part)
        trials = [default, *(attempt(recipe, part) for recipe in recipes)]
        ranked = order(trials, default)
        rounds.append(Round(number, part, ranked))
        others = [trial.recipe for trial in ranked if trial.recipe.changed]
        recipes = others[: kept(len(others))]
        if number == 1:
            joined = pairs(recipes, [proposal.recipe for proposal in proposals])[: plan.pairs]
            proposals += joined
            recipes += [proposal.recipe for proposal in joined]
        told(
            f"round {number} of {len(plan.prompts)}: {counted(len(trials), 'recipe')} on "
            f"{counted(count, 'prompt')}, best merit "
            f"{ranked[0].merit:.4f}, default {default.merit:.4f}"
        )
    assert default is not None
    return Outcome(rounds, proposals, default, choose(rounds[-1].trials, default, draws, seed))
