"""What people prefer: blind choices between two pictures of one prompt and seed, counted and tested."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import counted
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

    @property
    def asked(self) -> tuple[str, int, str | None, str | None]:
        """What the answer is about: prompt, seed, and the digests of the version's picture and the other one."""
        return asked(self.pair, self.pictures)


def asked(pair: tuple[str, int], pictures: Mapping[Side, str]) -> tuple[str, int, str | None, str | None]:
    """What a person is asked about: a pair whose pictures were drawn anew is another one."""
    return *pair, pictures.get("version"), pictures.get("against")


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
    """Choices between a version and `against`, about the pictures that they were judged by.

    `older` counts answers about pictures that were drawn anew since, or are not asked for any more: nothing else does,
    but for `people` and `newest` where there are no others.
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
    older: int = 0

    @property
    def sentence(self) -> str:
        """The result in words."""
        other = "the base" if self.against == BASE else self.against
        count = sum(self.choices.values())
        said = f"{counted(count or self.older, 'blind choice')} between it and {other}"
        if not count:
            return f"{said}, all about pictures that were drawn anew since: none is counted"
        if self.older:
            said += f" ({self.older} more, about pictures that were drawn anew since, not counted)"
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
    independent in test and interval. Of several answers of a person about the same pictures the first one counts.
    Answers about other pictures than those of the evaluations do not count; where there is no evaluation, or one of an
    older version that names no digests of pictures, nobody can tell, and all do.

    Args:
        choices: not empty, all about the same two sides.
        evaluations: what judged the version, and what judged the other version (the base: None).
    """
    first = _first_of_each(choices)
    shown = {side: _shown(evaluation, side, choices[0].against) for side, evaluation in _judged(choices, evaluations)}
    current = [choice for choice in first if all(_is_of(choice, side, rows) for side, rows in shown.items())]
    votes: dict[Picked, int] = {"version": 0, "against": 0, "none": 0}
    people: dict[str, int] = {}
    net: dict[str, int] = {}
    for choice in current or first:
        people[choice.by] = people.get(choice.by, 0) + 1
    for choice in current:
        votes[choice.chosen] += 1
        net[choice.prompt_id] = net.get(choice.prompt_id, 0) + {"version": 1, "against": -1, "none": 0}[choice.chosen]
    prompts: dict[Picked, int] = {
        "version": sum(value > 0 for value in net.values()),
        "against": sum(value < 0 for value in net.values()),
        "none": sum(value == 0 for value in net.values()),
    }
    decided = prompts["version"] + prompts["against"]
    low, high = wilson(prompts["version"], decided) if decided else (None, None)
    agreement, not_compared = _agreement(choices[0].against, current, evaluations)
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
        newest=max(choice.at for choice in current or first),
        older=len(first) - len(current),
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
    first: dict[tuple[Any, ...], Choice] = {}
    for choice in sorted(choices, key=lambda choice: choice.at):
        first.setdefault((choice.by.casefold(), *choice.asked), choice)
    return list(first.values())


def _judged(
    choices: Sequence[Choice], evaluations: Mapping[Side, dict[str, Any] | None]
) -> list[tuple[Side, dict[str, Any]]]:
    """The sides with the evaluation that their pictures stand in; nothing of one that has none."""
    ours = evaluations["version"]
    theirs = ours if choices[0].against == BASE else evaluations["against"]
    sides: list[tuple[Side, dict[str, Any] | None]] = [("version", ours), ("against", theirs)]
    return [(side, evaluation) for side, evaluation in sides if evaluation is not None]


def _shown(evaluation: dict[str, Any], side: Side, against: str) -> dict[tuple[str, int], Any]:
    """The rows of a side's pictures."""
    return _rows(evaluation, "base" if (side, against) == ("against", BASE) else "tuned")


def _is_of(choice: Choice, side: Side, rows: Mapping[tuple[str, int], Any]) -> bool:
    """Whether an answer is about a picture that is judged now; pictures without a digest may be any."""
    if choice.pair not in rows:
        return False
    digest = rows[choice.pair].get("sha256")
    return digest is None or digest == choice.pictures.get(side)


def _agreement(
    against: str, choices: Sequence[Choice], evaluations: Mapping[Side, dict[str, Any] | None]
) -> tuple[list[Agreement], list[str]]:
    """How often each figure names the preferred picture, and why one cannot be asked."""
    ours, base = evaluations["version"], against == BASE
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
            "version": _shown(ours, "version", against),
            "against": _shown(theirs, "against", against),
        }
        net: dict[str, int] = {}
        for choice in choices:
            rows = {side: table[choice.pair] for side, table in scores.items() if choice.pair in table}
            if choice.chosen == "none" or len(rows) < 2:
                continue
            if any(row.get("sha256") != choice.pictures.get(side) for side, row in rows.items()):
                continue  # of an older version, whose rows name no digests
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
