"""What a judge thinks of the report's pictures that nothing was chosen by: neither search, selection nor gates ask it.

Whatever is optimised against judges gets better by them; a judge that was never asked says whether it got better.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from pipeline.errors import UserError
from pipeline.evaluation.aspect_classifier import Judge, judge_pictures, named_in
from pipeline.evaluation.backbones import Clip
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.statistics import Resamples, level, paired_difference, recorded_figure
from pipeline.files import digest_file, digest_value, read_json
from pipeline.params import Evaluate

WEIGHTS, PHRASES = "judge.safetensors", "phrases.json"
SIDE = 64  # pixels that the classifier was trained on


class NotIndependent(UserError):
    """The further judge is one of those that decide."""


class SecondJudge(Protocol):
    """A judge with a figure for each picture; None where the prompt names nothing that it knows."""

    digest: str
    figure: str

    def scores(self, drawn: Sequence[DrawnPicture]) -> list[float | None]: ...


class SeenAsAsked:
    """The classifier beside the embedded base."""

    figure = "share of the scenes and styles that prompts name which a classifier sees in the pictures"

    def __init__(self, folder: Path):
        self.judge, self.phrases = Judge.load(folder / WEIGHTS), read_json(folder / PHRASES)
        self.digest = digest_value([digest_file(folder / name) for name in (WEIGHTS, PHRASES)])

    def scores(self, drawn: Sequence[DrawnPicture]) -> list[float | None]:
        """For each picture the share of what its prompt names that is seen."""
        found: list[float | None] = []
        for item, seen in zip(drawn, judge_pictures(self.judge, _pixels([item.path for item in drawn])), strict=True):
            asked = {aspect: named_in(item.twin, known) for aspect, known in self.phrases.items()}
            hits = [getattr(seen, aspect) == name for aspect, name in asked.items() if name is not None]
            found.append(float(np.mean(hits)) if hits else None)
        return found


class SecondClip:
    """A CLIP."""

    figure = "cosine of another CLIP's embeddings, picture against its prompt without the token"

    def __init__(self, folder: Path):
        self.clip = Clip(folder)
        self.digest = self.clip.digest

    def scores(self, drawn: Sequence[DrawnPicture]) -> list[float | None]:
        """For each picture the cosine to its prompt."""
        pictures, texts = self.clip.pictures([item.path for item in drawn]), self.clip.texts([i.twin for i in drawn])
        return [float(one @ other) for one, other in zip(pictures, texts, strict=True)]


def open_second_judge(folder: Path) -> SecondJudge:
    """The judge in a folder: a classifier, or a CLIP."""
    return SeenAsAsked(folder) if (folder / WEIGHTS).is_file() else SecondClip(folder)


def second_opinion(
    judge: SecondJudge, drawn: Sequence[DrawnPicture], deciding: Sequence[str], settings: Evaluate
) -> dict[str, Any]:
    """What the judge thinks of the subject's pictures.

    Args:
        drawn: pictures of the models 'tuned' and 'base', and of 'recipe' where there are some.
        deciding: digests of the judges that decide.

    Returns:
        `digest`, `figure` in words, `models` (mean with its 95 % interval for each model; none where the judge knows no
        prompt), and `gain` (recipe minus default, prompt by prompt and seed by seed; None without a recipe). `low` and
        `high` are None where no interval is known: the judge knows one prompt alone, or gives all pictures the same.

    Raises:
        NotIndependent: it is one of the judges that decide.
    """
    if judge.digest in deciding:
        raise NotIndependent("report.judge is one of the judges that decide (evaluate); name another one, or null")
    subject = [item for item in drawn if item.kind == "subject"]
    scored = dict(zip([_place(item) for item in subject], judge.scores(subject), strict=True))
    models = [name for name in ("base", "tuned", "recipe") if any(place[0] == name for place in scored)]
    places = sorted({place[1:] for place, value in scored.items() if value is not None})
    prompts, seeds = sorted({prompt for prompt, _ in places}), sorted({seed for _, seed in places})
    if not places:
        return {"digest": judge.digest, "figure": judge.figure, "models": {}, "gain": None}
    tables = {
        name: np.array([[scored[name, prompt, seed] for seed in seeds] for prompt in prompts], np.float64)
        for name in models
    }
    resamples = Resamples(len(prompts), len(seeds), settings.bootstrap, settings.seed)
    gain = None
    if "recipe" in tables:
        gain = asdict(recorded_figure(paired_difference(tables["tuned"], tables["recipe"], resamples)))
    by_model = {name: asdict(recorded_figure(level(table, resamples))) for name, table in tables.items()}
    return {"digest": judge.digest, "figure": judge.figure, "models": by_model, "gain": gain}


def _place(item: DrawnPicture) -> tuple[str, str, int]:
    return item.model, item.prompt_id, item.seed


def _pixels(files: Sequence[Path]) -> torch.Tensor:
    """Pictures as the classifier takes them: float32 [n, 3, SIDE, SIDE] in -1..1."""
    rows = []
    for file in files:
        with Image.open(file) as picture:
            rows.append(np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1
