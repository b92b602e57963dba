"""How wide a search is, by its budget of pictures."""

import math
from dataclasses import dataclass

SHARES = (0.25, 0.5, 1.0)  # of the suite's prompts, by round
KEPT = 3  # one in so many goes on


@dataclass(frozen=True)
class Plan:
    """How many pictures each round draws with one recipe, and how many recipes it begins with; the default is extra."""

    prompts: tuple[int, ...]
    seeds: int
    singles: int
    pairs: int

    @property
    def pictures(self) -> int:
        """All pictures: of the default and the base on the whole suite, and of every recipe in its rounds."""
        at = [count * self.seeds for count in self.prompts]
        second, third = kept(self.singles), kept(kept(self.singles) + self.pairs)
        grown = second * (at[1] - at[0]) + self.pairs * at[1] + third * (at[2] - at[1])
        return 2 * at[2] + self.singles * at[0] + grown


def kept(count: int) -> int:
    """How many of the recipes of a round go on."""
    return math.ceil(count / KEPT)


def make_plan(prompts: int, seeds: int, pictures: int, singles: int) -> Plan | None:
    """The widest search within a number of pictures, at most with `singles` single changes; None: not even one.

    Pairs come first: of all numbers of single changes the largest that leaves pictures for half as many pairs as single
    changes go on (or more, where there are pictures for them). Without pairs is what no such number fits.
    """
    at = _by_round(prompts)
    for count in range(singles, 0, -1):
        going = kept(count)
        for combined in range(going, math.ceil(going / 2) - 1, -1) if going > 1 else ():  # one alone makes no pair
            found = Plan(at, seeds, count, combined)
            if found.pictures <= pictures:
                return found
    alone = (Plan(at, seeds, count, 0) for count in range(singles, 0, -1))
    return next((found for found in alone if found.pictures <= pictures), None)


def fewest_pictures(prompts: int, seeds: int) -> int:
    """What the smallest search over a suite draws: the default and one other recipe."""
    return Plan(_by_round(prompts), seeds, 1, 0).pictures


def _by_round(prompts: int) -> tuple[int, ...]:
    return tuple(min(prompts, max(1, math.ceil(share * prompts))) for share in SHARES)
