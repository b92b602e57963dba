"""A grid of parameters, and what a comparison of its cells leaves behind."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, counted
from pipeline.evaluation.contact_sheet import draw_sheet
from pipeline.evaluation.ranking import rank, table_rows
from pipeline.files import link_or_copy, read_json, read_jsonl, whole_folder, write_json
from pipeline.layout import EVALUATION, SAMPLES, SAMPLES_INDEX, STATE
from pipeline.registry.lookup import read_evaluation

COMPARISONS = STATE / "comparisons"
BEGUN, TRAINING = "begun.json", "training.json"  # of a comparison, and of each of its trainings
VARIED = ("train.", "prior.")  # other parameters change how settings are judged, or on what
MOST = 200  # trainings


class GridError(UserError):
    """The grid is none that can be compared."""


@dataclass(frozen=True)
class Cell:
    """One setting of the grid."""

    number: int
    title: str
    overrides: dict[str, Any]


def cells_of(grid: Mapping[str, Sequence[Any]], seeds: Sequence[int]) -> list[Cell]:
    """Every combination of the values, numbered from 1.

    Raises:
        GridError: nothing varies, something that must stay the same does, or there are too many trainings; it lists
            all that is wrong with parameters and seeds.
    """
    problems = [f"'{name}' decides how settings are judged" for name in grid if not name.startswith(VARIED)]
    problems += [f"'{name}' has no values" for name, values in grid.items() if not values]
    problems += [f"'{name}' has a value twice in {list(values)}" for name, values in grid.items() if _twice(values)]
    problems += ["the training seed has a field of its own"] * ("train.seed" in grid)
    if not seeds or len(set(seeds)) < len(seeds):
        problems.append(f"the training seeds must differ from each other, found {list(seeds)}")
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise GridError(f"the grid varies parameters of train and prior, each with a list of values:\n{listed}")
    combinations = list(itertools.product(*grid.values()))
    if len(combinations) < 2:
        raise GridError("the grid has a single setting; give a parameter two values or more")
    if len(combinations) * len(seeds) > MOST:
        raise GridError(
            f"{len(combinations)} settings of {counted(len(seeds), 'training')} each are more than {MOST} trainings"
        )
    found = []
    for number, values in enumerate(combinations, 1):
        overrides = dict(zip(grid, values, strict=True))
        short = [f"{name.removeprefix('train.')} {value}" for name, value in overrides.items()]
        found.append(Cell(number, ", ".join(short), overrides))
    return found


def _twice(values: Sequence[Any]) -> bool:
    """Whether two values are the same: 1e-4 and 0.0001 are, and so are '1e-4' and 0.0001."""
    plain = [_number(value) for value in values]
    return any(one == other for one, other in itertools.combinations(plain, 2))


def _number(value: Any) -> Any:
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


def begin(folder: Path, owner: str, commit: str, photos: str | None) -> None:
    """Note in the folder of a comparison which flow run it is of, and what it trains: the commit and the md5 of the
    photos, None for those of the commit.

    Raises:
        GridError: an earlier try of the same flow run began with other photos; or the folder is of another comparison,
            which a retry of that one needs.
    """
    if (folder / BEGUN).is_file() and read_json(folder / BEGUN).get("owner") != owner:
        raise GridError(f"{folder} is of another comparison; choose another name, or remove that folder")
    begun = _begun(folder, owner)
    if "photos" in begun:
        check_photos(begun["photos"], photos)
    write_json(folder / BEGUN, {"owner": owner, "commit": commit, "photos": photos})


def begun_at(folder: Path, owner: str) -> str | None:
    """The commit that an earlier try of the same flow run began at: settings of different code cannot be compared."""
    begun = _begun(folder, owner)
    return str(begun["commit"]) if begun else None


def check_photos(began: str | None, now: str | None) -> None:
    """Refuse photos that are not those that a comparison began with.

    Raises:
        GridError: their md5s differ.
    """
    if now != began:
        raise GridError(
            "the photos changed since this comparison began, and settings that are trained or judged on different "
            "photos cannot be compared: put the photos back and try this run again, or start another comparison"
        )


def _begun(folder: Path, owner: str) -> dict[str, Any]:
    begun = read_json(folder / BEGUN) if (folder / BEGUN).is_file() else {}
    return dict(begun) if begun.get("owner") == owner else {}


def keep_training(folder: Path, workspace: Path, owner: str, registration: Mapping[str, Any]) -> None:
    """Keep what the comparison needs of a training, which may be cleaned away: the judgement and the pictures.

    Args:
        folder: of this training; it gets the paths of the workspace.
        registration: what `register` wrote.
    """
    pictures = [path.relative_to(workspace) for path in tuned_pictures(workspace)]
    with whole_folder(folder) as fresh:
        for path in (EVALUATION, SAMPLES_INDEX, *pictures):
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(workspace / path, fresh / path)
        write_json(fresh / TRAINING, {"owner": owner, "registration": registration})


def kept_training(folder: Path, owner: str) -> dict[str, Any] | None:
    """What the training registered that an earlier try of the same flow run kept in `folder`; None without one."""
    kept = read_json(folder / TRAINING) if (folder / TRAINING).is_file() else {}
    return dict(kept["registration"]) if kept.get("owner") == owner else None


def write_comparison(folder: Path, cells: Sequence[Cell], trainings: Mapping[int, Sequence[Path]]) -> dict[str, Any]:
    """Rank the cells by their trainings' folders; leaves `ranking.json` and `pictures.png` in `folder`.

    A row of the picture is a cell, the first in the ranking on top.

    Raises:
        NotComparable: fewer than two cells came to an end, or they were judged in different ways.
    """
    done = [cell for cell in cells if trainings.get(cell.number)]
    judged = {cell.title: [read_evaluation(one / EVALUATION) for one in trainings[cell.number]] for cell in done}
    ranking = rank(judged)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ranking.json", {**ranking, "table": table_rows(ranking)})
    titles = {row["setting"]: place for place, row in enumerate(ranking["rows"], 1)}
    ordered = sorted(done, key=lambda cell: titles[cell.title])
    sheet = draw_sheet([(f"setting {cell.number}", tuned_pictures(trainings[cell.number][0])) for cell in ordered])
    sheet.save(folder / "pictures.png")
    return ranking


def tuned_pictures(workspace: Path) -> list[Path]:
    """The tuned model's pictures of the subject, a prompt after the other."""
    rows = [row for row in read_jsonl(workspace / SAMPLES_INDEX) if (row["model"], row["kind"]) == ("tuned", "subject")]
    first = min(row["seed"] for row in rows)
    return [workspace / SAMPLES / row["path"] for row in rows if row["seed"] == first]
