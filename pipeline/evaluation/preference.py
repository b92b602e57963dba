"""What people prefer: blind choices between two pictures of one prompt and seed, counted and tested."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.evaluation.comparison import LEVEL, PRIMARY, reading, unlike
from pipeline.evaluation.statistics import wilson

Side = Literal["version", "against"]
Picked = Literal["version", "against", "none"]
BASE = "base"
FIGURES = ("likeness", "prompt_fidelity")  # that say something of a single picture


class Choice(BaseModel):
    """One answer. `against` is 'base' or another version's reference; `seed` is that of the suite, `noise` the one that
    both pictures start from; `left` is what was shown on the left.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: str
    by: str = Field(min_length=1, max_length=100)
    version: str
    against: str
    prompt_id: str
    prompt: str
    seed: int
    noise: int | None = None  # the seed that draws both again; choices of older versions have none
    left: Side
    chosen: Picked
    pictures: dict[Side, str]  # sha256 of each file
    sitting: str

    @property
    def pair(self) -> tuple[str, int]:
        """Prompt and seed."""
        return self.prompt_id, self.seed


@dataclass(frozen=True)
class Agreement:
    """In how many prompts a figure names the preferred picture more often than the other one; 'as often' is left out.

    `total` are the prompts that are left, `low` and `high` Wilson's interval of their share.
    """

    title: str
    hits: int
    total: int
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """Choices between a version and `against`.

    `choices` counts answers by side. `prompts` counts prompts by the side that got more answers ('none': as many);
    `share`, `low` and `high` are the version's part of the decided prompts with Wilson's interval, `p` is that of the
    two-sided sign test on them; None where no prompt was decided.
    """

    against: str
    people: dict[str, int]
    choices: dict[Picked, int]
    prompts: dict[Picked, int]
    share: float | None
    low: float | None
    high: float | None
    p: float | None
    agreement: list[Agreement]
    not_compared: list[str]
    newest: str

    @property
    def sentence(self) -> str:
        """The result in words."""
        other = "the base" if self.against == BASE else self.against
        count = sum(self.choices.values())
        said = f"{count} blind choice{'s' if count != 1 else ''} between it and {other}"
        if self.share is None or self.p is None:
            return f"{said}: as many for either side in every prompt"
        decided = self.prompts["version"] + self.prompts["against"]
        test = f"{self.prompts['version']} of {decided} decided prompts are for it, sign test p = {self.p:.3f}"
        if self.p >= LEVEL:
            return f"{said} show no preference ({test})"
        return f"{said} prefer {'it' if self.share > 0.5 else other} ({test})"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "sentence": self.sentence}


def tally(choices: Sequence[Choice], evaluations: Mapping[Side, dict[str, Any] | None]) -> Tally:
    """Count the choices between one version and one other side.

    Pictures of one prompt are alike, and so are two people's answers about one pair: prompts are what is counted as
    independent in test and interval. Of several answers of a person about a pair the first one counts.

    Args:
        choices: not empty, all about the same two sides.
        evaluations: what judged the version, and what judged the other version (the base: None).
    """
    counted = _first_of_each(choices)
    votes: dict[Picked, int] = {"version": 0, "against": 0, "none": 0}
    people: dict[str, int] = {}
    net: dict[str, int] = {}
    for choice in counted:
        votes[choice.chosen] += 1
        people[choice.by] = people.get(choice.by, 0) + 1
        net[choice.prompt_id] = net.get(choice.prompt_id, 0) + {"version": 1, "against": -1, "none": 0}[choice.chosen]
    prompts: dict[Picked, int] = {
        "version": sum(value > 0 for value in net.values()),
        "against": sum(value < 0 for value in net.values()),
        "none": sum(value == 0 for value in net.values()),
    }
    decided = prompts["version"] + prompts["against"]
    low, high = wilson(prompts["version"], decided) if decided else (None, None)
    agreement, not_compared = _agreement(counted, evaluations)
    return Tally(
        against=choices[0].against,
        people=people,
        choices=votes,
        prompts=prompts,
        share=prompts["version"] / decided if decided else None,
        low=low,
        high=high,
        p=sign_test(prompts["version"], prompts["against"]) if decided else None,
        agreement=agreement,
        not_compared=not_compared,
        newest=max(choice.at for choice in counted),
    )


def sign_test(more: int, less: int) -> float:
    """p-value of the exact two-sided sign test (Dixon and Mood 1946): twice the smaller tail of a fair coin, at most 1.

    Raises:
        ValueError: there are no trials.
    """
    trials = more + less
    if trials < 1:
        raise ValueError("a sign test needs at least one trial")
    tail = sum(comb(trials, hits) for hits in range(min(more, less) + 1))
    return min(1.0, 2 * tail / 2**trials)


def _first_of_each(choices: Sequence[Choice]) -> list[Choice]:
    first: dict[tuple[str, str, int], Choice] = {}
    for choice in sorted(choices, key=lambda choice: choice.at):
        first.setdefault((choice.by.casefold(), *choice.pair), choice)
    return list(first.values())


def _agreement(
    choices: Sequence[Choice], evaluations: Mapping[Side, dict[str, Any] | None]
) -> tuple[list[Agreement], list[str]]:
    """How often each figure names the preferred picture, and why one cannot be asked."""
    ours = evaluations["version"]
    base = choices[0].against == BASE
    theirs = ours if base else evaluations["against"]
    if ours is None or theirs is None:
        return [], ["one of the two was not judged"]
    if not base and (reasons := unlike(theirs, ours)):
        return [], [f"the two were judged in different ways: {line}" for line in reasons]
    found, missing = [], []
    for name in FIGURES:
        read = reading(name, [theirs, ours])
        if read is None:
            missing.append(f"{PRIMARY[name].title} was not measured")
            continue
        scores: dict[Side, dict[tuple[str, int], Any]] = {
            "version": _rows(ours, "tuned"),
            "against": _rows(theirs, "base" if base else "tuned"),
        }
        net: dict[str, int] = {}
        for choice in choices:
            rows = {side: table[choice.pair] for side, table in scores.items() if choice.pair in table}
            if choice.chosen == "none" or len(rows) < 2:
                continue
            if any(row["sha256"] != choice.pictures[side] for side, row in rows.items()):
                continue  # drawn or judged anew since
            gap = read(rows["version"]) - read(rows["against"])
            if gap:
                agrees = (gap > 0) == (choice.chosen == "version")
                net[choice.prompt_id] = net.get(choice.prompt_id, 0) + (1 if agrees else -1)
        hits, total = sum(value > 0 for value in net.values()), sum(value != 0 for value in net.values())
        if total:
            found.append(Agreement(PRIMARY[name].title, hits, total, *wilson(hits, total)))
    return found, missing


def _rows(evaluation: dict[str, Any], model: str) -> dict[tuple[str, int], Any]:
    return {(row["prompt_id"], row["seed"]): row for row in evaluation["pictures"] if row["model"] == model}
