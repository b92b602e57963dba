"""Sittings: pairs of pictures that one person is shown blind, in which order, and on which side."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

from pipeline.evaluation.preference import Side

LONGEST = 20  # pairs of one sitting
KEPT = 50  # sittings that are open at the same time


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt, and one noise, that of the seed `noise`; `seed` is the suite's, `left` is the side
    that is shown on the left.
    """

    prompt_id: str
    prompt: str
    seed: int
    files: dict[Side, Path]
    left: Side
    noise: int

    def shown(self, place: str) -> Path:
        """The picture on the left or on the right."""
        side: Side = self.left if place == "left" else "against" if self.left == "version" else "version"
        return self.files[side]


@dataclass
class Sitting:
    """One person's sitting; `at` is the place of the pair that is shown."""

    key: str
    by: str
    version: str
    against: str
    pairs: list[Pair]
    photos: list[Path]
    at: int = 0


@dataclass
class Sittings:
    """The open sittings of a studio; the one used longest ago is forgotten when there are too many."""

    open: dict[str, Sitting] = field(default_factory=dict)

    def begin(self, by: str, version: str, against: str, pairs: list[Pair], photos: list[Path]) -> Sitting:
        """A new sitting under a name that nobody can guess."""
        sitting = Sitting(secrets.token_urlsafe(12), by, version, against, pairs, photos)
        self.open[sitting.key] = sitting
        while len(self.open) > KEPT:
            self.open.pop(next(iter(self.open)))
        return sitting

    def find(self, key: str) -> Sitting | None:
        """The open sitting of this key, which counts as used now."""
        sitting = self.open.pop(key, None)
        if sitting is not None:
            self.open[key] = sitting
        return sitting


def draw_order(places: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Some of the given prompts and seeds in random order: every prompt once before any comes again."""
    chance = SystemRandom()
    mixed = list(places)
    chance.shuffle(mixed)
    turns: dict[str, int] = {}
    ranked = []
    for prompt, seed in mixed:
        turns[prompt] = turns.get(prompt, 0) + 1
        ranked.append((turns[prompt], (prompt, seed)))
    chosen = [place for _, place in sorted(ranked, key=lambda found: found[0])[:LONGEST]]
    chance.shuffle(chosen)
    return chosen


def either_side() -> Side:
    """Which side is shown on the left, by chance."""
    return secrets.choice(("version", "against"))
