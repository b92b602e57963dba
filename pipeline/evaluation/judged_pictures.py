"""The pictures that the stage `sample` drew, checked against the suite and their digests before they are judged."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.suite import Suite, noise_of
from pipeline.files import digest_file, read_jsonl

SHOWN = 5  # problems listed in full
AGAIN = "run the stage sample again: `dvc repro -f sample`"


class SamplesError(UserError):
    """The drawn pictures are not those that should be judged; the message lists what differs."""


def read_judged(
    folder: Path, index: Path, suite: Suite, seeds: Sequence[int], drawn_by: dict[str, str], draw: dict[str, Any]
) -> tuple[list[DrawnPicture], list[str]]:
    """The pictures listed in `index`, and the sha256 of each file's bytes, in the same order.

    Args:
        folder: what the paths in `index` are relative to.
        suite: every prompt of it must be there, with each of `seeds`, once by each key of `drawn_by`.
        drawn_by: digest of what should have drawn, for 'tuned' and 'base', and for 'recipe' where there is one.
        draw: the settings that they should have been drawn with (`Draw.settings`).

    Raises:
        SamplesError: pictures are missing, changed, of other prompts or seeds, or drawn by another model or otherwise.
    """
    if not index.is_file():
        raise SamplesError(f"{index} does not exist; {AGAIN}")
    rows = read_jsonl(index)
    wanted = {
        (model, prompt.id, seed): {name: value for name, value in asdict(prompt).items() if name != "id"}
        for model in drawn_by
        for prompt in suite.prompts
        for seed in seeds
    }
    problems: list[str] = []
    digests: list[str] = []
    found: set[tuple[str, str, int]] = set()
    for row in rows:
        try:
            place = (row["model"], row["prompt_id"], row["seed"])
            path, recorded, drawer = folder / row["path"], row["sha256"], row.get("drawn_by")
        except (KeyError, TypeError):
            raise SamplesError(f"{index} is not a list of drawn pictures; {AGAIN}") from None
        title = f"{row['path']} (prompt {place[1]}, seed {place[2]})"
        if place in found:
            problems.append(f"{title} is listed twice")
        elif place not in wanted:
            problems.append(f"{title} is not in the suite {suite.name} with the seeds {', '.join(map(str, seeds))}")
        elif any(row.get(name) != value for name, value in wanted[place].items()):
            problems.append(f"{title} was drawn for '{row.get('text')}', the suite asks for '{wanted[place]['text']}'")
        elif row.get("noise") != (noise := noise_of(place[1], place[2])):
            problems.append(f"{title} started from noise {row.get('noise', place[2])}, it should be {noise}")
        elif drawer != drawn_by[place[0]]:
            problems.append(f"{title} was not drawn by the {place[0]} model that is judged")
        elif row.get("draw") != draw:
            problems.append(f"{title} was drawn with {row.get('draw')}, sample.draw asks for {draw}")
        found.add(place)
        digests.append(digest_file(path) if path.is_file() else "")
        if not digests[-1]:
            problems.append(f"{title} is missing")
        elif digests[-1] != recorded:
            problems.append(f"{title} was changed after it was drawn")
    lacking = [place for place in wanted if place not in found]
    problems += [f"prompt {prompt}, seed {seed} by the {model} model was not drawn" for model, prompt, seed in lacking]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        listed = "\n".join(f"  {line}" for line in [*problems[:SHOWN], *more])
        raise SamplesError(
            f"{index} does not hold the pictures of the suite {suite.name} as they were drawn; {AGAIN}:\n{listed}"
        )
    return [_picture(folder, row) for row in rows], digests


def _picture(folder: Path, row: dict[str, Any]) -> DrawnPicture:
    values = {field.name: row[field.name] for field in fields(DrawnPicture) if field.name in row}
    return DrawnPicture(**{**values, "path": folder / row["path"]})
