"""Is one checkpoint better than another? Paired over the same prompts and seeds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pipeline.errors import UserError, joined
from pipeline.evaluation.known_interval import FEWEST, has_interval
from pipeline.evaluation.likeness import likeness_metric
from pipeline.evaluation.recorded_noise import recorded_noise
from pipeline.evaluation.statistics import (
    Estimate,
    Resamples,
    clustered_share,
    holm,
    interval,
    share_difference,
    sign_flip_test,
)
from pipeline.evaluation.suite import noise_of
from pipeline.files import digest_value

Decision = Literal["better", "worse", "no decision"]
LEVEL = 0.05  # of the tests, after Holm's correction
RULE = (
    "better: in no primary metric can it be worse than the margin (95 % interval), copies did not rise by more than "
    "one point in the pictures either, and in one metric it is better (sign-flip test, Holm, p < 0.05, and the "
    "interval excludes 0); worse: in one it is worse by the same test, and better in none; no decision where a "
    "primary metric was not measured in both"
)


class NotComparable(UserError):
    """The two were judged in different ways; the message lists them."""


@dataclass(frozen=True)
class Primary:
    """A metric that decides: which pictures it is read from, its direction, and how much of a loss is tolerable.

    The interval must exclude a loss beyond `margin`; the pictures themselves may show none beyond `seen` (None: any
    that the interval allows).
    """

    title: str
    kind: str
    group: str | None
    higher: bool
    margin: float
    seen: float | None = None


PRIMARY = {
    "likeness": Primary("likeness to the held-out photos", "subject", None, True, 0.02),
    "prompt_fidelity": Primary("fidelity to the prompt", "subject", None, True, 0.01),
    "class_likeness": Primary("likeness of the class alone (PRES)", "probe", "class", False, 0.02),
    # A few dozen pictures without a copy do not exclude a rise by a few points, but one by ten: what the gate asks too.
    "copied": Primary("share of copies", "subject", None, False, 0.1, seen=0.01),
}


@dataclass(frozen=True)
class Difference:
    """Second minus first, paired by prompt and seed; `p` is adjusted by Holm; `prompts` are the single differences.

    `low` and `high` are None where there is no interval (`has_interval`).
    """

    metric: str
    title: str
    value: float
    low: float | None
    high: float | None
    p: float
    margin: float
    verdict: Literal["better", "worse", "not worse", "no decision"]
    prompts: dict[str, float]


def compare(first: dict[str, Any], second: dict[str, Any], draws: int = 10000, seed: int = 1) -> dict[str, Any]:
    """Is the second evaluation's checkpoint better than the first's?

    Args:
        first, second: what `reports/evaluation.json` holds.
        draws: bootstrap draws and random sign patterns.

    Returns:
        `decision`, `sentence`, `rule`, `differences` (one `Difference` a metric), `missing` (what was not compared:
        any of it leaves no decision), `cautions` (what nobody can know of how they were judged).

    Raises:
        NotComparable: other suite, seeds, sampling, judges or held-out photos, or these prepared in other ways; or
            other training photos while none is held out.
    """
    if reasons := unlike(first, second):
        raise NotComparable(
            "these two cannot be compared, they were judged in different ways:\n"
            + "\n".join(f"  {line}" for line in reasons)
            + "\njudge both with the same parameters, then compare again"
        )
    tables: dict[str, tuple[list[str], np.ndarray]] = {}
    estimates: dict[str, Estimate] = {}
    missing = {}
    for name, metric in PRIMARY.items():
        read = reading(name, [first, second])
        gap = read and _differences(metric, read, first, second)
        if read and gap:
            tables[name] = gap
            shares = [_share(metric, read, evaluation) for evaluation in (first, second)] if name == "copied" else []
            estimates[name] = share_difference(*shares) if shares else _estimate(gap[1], draws, seed)
        else:
            known = {**second["missing"], **first["missing"]}
            missing[name] = known.get(name, "it was not measured in both on the same prompts and seeds")
    adjusted = holm({name: sign_flip_test(table.mean(axis=1), draws, seed) for name, (_, table) in tables.items()})
    found = [_difference(name, *tables[name], estimates[name], adjusted[name]) for name in tables]
    decision, sentence = _decide(found, [PRIMARY[name].title for name in missing])
    return {
        "decision": decision,
        "sentence": sentence,
        "rule": RULE,
        "differences": [asdict(difference) for difference in found],
        "missing": missing,
        "cautions": cautions([first, second]),
    }


def unlike(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What was different in how two checkpoints were judged; empty where their figures can be compared."""
    apart = judged_apart(first, second)
    reasons = [f"{title}: {short(one)} and {short(other)}" for title, (one, other) in apart.items()]
    if NONE_HELD_OUT in (first["heldout"], second["heldout"]):
        trained = [_photos(evaluation, "train") for evaluation in (first, second)]
        if trained[0] is None or trained[0] != trained[1]:
            named = " and ".join(short(digest or "unknown") for digest in trained)
            reasons.append(f"training photos: {named}, and there is no held-out set that both could be judged on")
    return reasons


def judged_apart(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two checkpoints were judged with or on, as (first, second), by the titles of `LIKE` in which they differ."""
    found = {title: (read(first), read(second)) for title, read in LIKE.items()}
    if not all("prompts" in evaluation["suite"] for evaluation in (first, second)):
        found["suite"] = first["suite"]["digest"], second["suite"]["digest"]
    split, prepared = _prepared(first, second)
    if None not in prepared:
        found[f"{SPLITS[split]} as they were prepared"] = prepared
    return {title: pair for title, pair in found.items() if pair[0] != pair[1]}


def cautions(evaluations: Sequence[dict[str, Any]]) -> list[str]:
    """What nobody can know of how checkpoints were judged, a sentence each without its full stop.

    Evaluations of older versions do not say how photos were prepared: they are compared all the same.
    """
    if any(None in _prepared(evaluations[0], other)[1] for other in evaluations[1:]):
        return ["an evaluation of an older version does not say how the photos were prepared (prepare.crop)"]
    return []


def _prepared(first: dict[str, Any], second: dict[str, Any]) -> tuple[str, tuple[str | None, str | None]]:
    """The photos that likeness is measured against, `heldout` or `train`, and digests of their prepared pictures.

    Those of other photos are other pictures anyway: then both are ''.
    """
    split = "train" if NONE_HELD_OUT in (first["heldout"], second["heldout"]) else "heldout"
    others = first["heldout"] != second["heldout"]
    if others or (split == "train" and _photos(first, split) != _photos(second, split)):
        return split, ("", "")
    return split, (_photos(first, split, "prepared"), _photos(second, split, "prepared"))


def _asked_of_all(evaluation: dict[str, Any]) -> str:
    """Digest of the suite without the training captions, which follow the photos and are in no primary metric.

    Evaluations of older versions keep no prompts: theirs is the digest of the whole suite.
    """
    suite = evaluation["suite"]
    if "prompts" not in suite:
        return str(suite["digest"])
    prompts = [prompt for prompt in suite["prompts"] if prompt["kind"] != "caption"]
    return digest_value({"prompts": prompts, "styles": suite.get("styles", {})})


def _noises(evaluation: dict[str, Any]) -> str:
    """Which noises the prompts started from, in words or as a digest."""
    found = {(row["prompt_id"], row["seed"]): recorded_noise(row) for row in evaluation["pictures"]}
    if all(noise == noise_of(*place) for place, noise in found.items()):
        return "each prompt its own"
    if all(noise == seed for (_, seed), noise in found.items()):
        return "all prompts the same"
    return digest_value(sorted(found.items()))


def _photos(evaluation: dict[str, Any], split: str, name: Literal["digest", "prepared"] = "digest") -> str | None:
    """Digest of the photos of a split, or of the pictures that were made of them; None in older evaluations."""
    found: dict[str, Any] = evaluation.get("photos", {}).get(split, {})
    return found.get(name)


LIKE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "suite": _asked_of_all,
    "seeds": lambda evaluation: evaluation["suite"]["seeds"],
    "noises": _noises,
    "sampling": lambda evaluation: evaluation["draw"],
    "size in pixels": lambda evaluation: evaluation["size"],
    "CLIP": lambda evaluation: evaluation["scorer"]["digest"],
    "identity encoder": lambda evaluation: evaluation["identity_encoder"]["digest"],
    "copy detector": lambda evaluation: (evaluation["copy_detector"] or {}).get("digest"),
    "held-out photos": lambda evaluation: evaluation["heldout"],
    "evaluate.copies_above": lambda evaluation: evaluation.get("settings", {}).get("copies_above"),
}
NONE_HELD_OUT = digest_value([])
SPLITS = {"heldout": "held-out photos", "train": "training photos"}


def reading(name: str, evaluations: Sequence[dict[str, Any]]) -> Callable[[dict[str, Any]], float] | None:
    """How a metric is read from a row of `pictures`, alike for all `evaluations`; None where none is known.

    Models that were trained on different photos are compared by what they share: likeness of the class is then that
    to the held-out photos, and a copy is what lies above the lowest of their lines (`real_photos.copy_level`, which
    follows the training photos where `evaluate.copies_above` is null). Success, told by all photos, is then not known.
    Likeness is that of the pictures themselves: it is known also where the way from the base to the photos is not.
    """
    if name != "likeness" and any(name in evaluation["missing"] for evaluation in evaluations):
        return None
    same_photos = _same_photos(evaluations)
    if name == "likeness" or (name == "class_likeness" and not same_photos):
        metric = likeness_metric(evaluations[0])
        return lambda row: row[metric]
    if name == "class_likeness":
        return lambda row: row["identity_train"]
    if name == "copied":
        return _read_copies(evaluations)
    if name == "success" and not same_photos:
        return None
    return lambda row: row[name]


def _same_photos(evaluations: Sequence[dict[str, Any]]) -> bool:
    """Whether models were trained on the same photos, prepared alike as far as the evaluations say."""
    prepared = {_photos(evaluation, "train", "prepared") for evaluation in evaluations} - {None}
    return len({_photos(evaluation, "train") for evaluation in evaluations}) == 1 and len(prepared) < 2


def _read_copies(evaluations: Sequence[dict[str, Any]]) -> Callable[[dict[str, Any]], float] | None:
    if any("copy" in evaluation["missing"] for evaluation in evaluations):
        return None
    lines = {evaluation["real_photos"].get("copy_level") for evaluation in evaluations}
    if len(lines) == 1:
        return lambda row: float(row["copied"])
    if None in lines:
        return None
    lowest = min(lines)
    return lambda row: float(row["copy"] > lowest)


def _differences(
    metric: Primary, read: Callable[[dict[str, Any]], float], first: dict[str, Any], second: dict[str, Any]
) -> tuple[list[str], np.ndarray] | None:
    """Names of prompts and float64 [prompts, seeds], second minus first."""
    found = [_scores(metric, read, evaluation) for evaluation in (first, second)]
    if not found[0] or found[0].keys() != found[1].keys():
        return None
    prompts = sorted({prompt for prompt, _ in found[0]})
    seeds = sorted({seed for _, seed in found[0]})
    gap = [[found[1][prompt, seed] - found[0][prompt, seed] for seed in seeds] for prompt in prompts]
    return prompts, np.array(gap, float)


def score_table(
    metric: Primary, read: Callable[[dict[str, Any]], float], evaluation: dict[str, Any]
) -> np.ndarray | None:
    """The tuned model's scores, float64 [prompts, seeds], both in order; None where it has no such picture."""
    found = _scores(metric, read, evaluation)
    prompts, seeds = sorted({prompt for prompt, _ in found}), sorted({seed for _, seed in found})
    return np.array([[found[prompt, seed] for seed in seeds] for prompt in prompts], float) if found else None


def _scores(
    metric: Primary, read: Callable[[dict[str, Any]], float], evaluation: dict[str, Any]
) -> dict[tuple[str, int], float]:
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", metric.kind)]
    return {(row["prompt_id"], row["seed"]): read(row) for row in rows if metric.group in (None, row["group"])}


def _share(metric: Primary, read: Callable[[dict[str, Any]], float], evaluation: dict[str, Any]) -> Estimate:
    """The share of the tuned model's pictures that count as copies, with an interval that has a width at 0 too."""
    hits, nearness = (score_table(metric, way, evaluation) for way in (read, lambda row: row["copy"]))
    if hits is None or nearness is None:
        raise ValueError("a share needs at least one picture")
    return clustered_share(hits, nearness)


def _estimate(table: np.ndarray, draws: int, seed: int) -> Estimate:
    return interval(float(table.mean()), Resamples(table.shape[0], table.shape[1], draws, seed).means(table), [table])


def _difference(name: str, prompts: list[str], table: np.ndarray, estimate: Estimate, p: float) -> Difference:
    metric = PRIMARY[name]
    gain, worst = (estimate.value, estimate.low) if metric.higher else (-estimate.value, -estimate.high)
    seen = metric.seen is None or gain >= -metric.seen
    verdict: Literal["better", "worse", "not worse", "no decision"]
    excludes_zero = estimate.low > 0 or estimate.high < 0
    known = has_interval({"metric": name, "model": "difference", **asdict(estimate)})
    if p < LEVEL and gain != 0 and excludes_zero and known and len(table) >= FEWEST:
        verdict = "better" if gain > 0 else "worse"
    else:
        enough = known and len(table) >= FEWEST
        verdict = "not worse" if worst >= -metric.margin and seen and enough else "no decision"
    singles = {prompt: round(float(value), 4) for prompt, value in zip(prompts, table.mean(axis=1), strict=True)}
    low, high = (estimate.low, estimate.high) if known else (None, None)
    return Difference(name, metric.title, estimate.value, low, high, p, metric.margin, verdict, singles)


def _rose(difference: Difference) -> bool:
    """Whether what was seen in the pictures alone, and not what it leaves possible, stands in the way."""
    high = difference.high
    return PRIMARY[difference.metric].seen is not None and high is not None and high <= difference.margin


def _decide(differences: list[Difference], missing: list[str]) -> tuple[Decision, str]:
    if missing:
        return (
            "no decision",
            f"No decision: {joined(missing)} {'was' if len(missing) == 1 else 'were'} not measured in both.",
        )
    by = {
        kind: [difference.title for difference in differences if difference.verdict == kind]
        for kind in ("better", "worse", "no decision")
    }
    if by["worse"] and by["better"]:
        return "no decision", f"No decision: better in {joined(by['better'])}, but worse in {joined(by['worse'])}."
    if by["worse"]:
        return "worse", f"Worse: in {joined(by['worse'])}, and better in nothing."
    if by["no decision"]:
        rose = [one.title for one in differences if one.title in by["no decision"] and _rose(one)]
        open_ = [title for title in by["no decision"] if title not in rose]
        parts = [f"in {joined(open_)} the figures do not rule out a loss beyond the margin"] if open_ else []
        parts += [f"{joined(rose)} rose by more than one point in the pictures that were drawn"] if rose else []
        return "no decision", f"No decision: {'; '.join(parts)}."
    if by["better"]:
        return "better", f"Better: in {joined(by['better'])}, and in nothing worse than the margin."
    return (
        "no decision",
        "No decision: the figures show no difference between the two that the tests and intervals confirm.",
    )


def short(value: Any) -> str:
    """A value as messages show it: of a digest the first 16 digits."""
    return value[:16] if isinstance(value, str) and len(value) == 64 else str(value)
