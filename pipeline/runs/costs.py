"""What a run costs in time, from what its training or the last one has written down; and whether its base is here."""

from functools import reduce
from operator import getitem
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.base.components import weight_files
from pipeline.base.resolve import EMBEDDED, is_path
from pipeline.files import read_json
from pipeline.layout import LINEAGE, TRAINED_MODEL, TRAINING
from pipeline.params import Params, ParamsError, dump_params, parse_recorded
from pipeline.runs.training_now import rows_since

ONE_TO_TELL = (
    *("train.method", "train.batch", "train.gradient_accumulation", "train.processes", "train.precision"),
    *("train.optimizer", "train.compile", "train.gradient_checkpointing", "train.token.learn"),
    *("train.text_encoder.learn", "train.prior.kind", "prepare.size", "base.model"),
)
CONFIGURATIONS = (
    *(f"{part}/config.json" for part in ("unet", "vae", "text_encoder")),
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
)
LAST_ROWS = 5  # of the curve, that tell how fast a training is now


def time_sentence(workspace: Path, params: Params) -> str:
    """How long the training takes, from the last one of this workspace, where it was one of the same kind."""
    try:
        done = read_json(workspace / TRAINING)
        before = read_json(workspace / TRAINED_MODEL / LINEAGE)["params"]
        steps = done["timed_steps"] if "timed_steps" in done else done["steps"] - done["resumed_from"]
        device = done["device"]
        same = _kind(parse_recorded(before, LINEAGE)) == _kind(params)
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown: nothing was trained in this workspace yet; `dreamtrace check --trial` makes a few steps"
    except ParamsError:  # a record of an older version
        same = False
    if not same:
        return "unknown: the last training in this workspace was of another kind"
    if steps < 1:  # of an older version
        return "unknown: the last training in this workspace wrote its model again, without a step"
    seconds = done["seconds"] / steps * params.train.steps
    return f"{in_words(seconds)} for the training, as fast as the last one here ({device}); judging comes on top"


def time_left(workspace: Path, params: Params, since: float) -> tuple[int, float] | None:
    """The last step that the training at work has written down, and the seconds that the steps after it take.

    Args:
        since: when the run began, in seconds since 1970: what was written before is another training's.

    Returns:
        None where it has written nothing yet, or is finished.
    """
    rows = rows_since(workspace, since)
    try:
        step = int(rows[-1]["step"])
        speed = median(float(row["images_per_second"]) for row in rows[-LAST_ROWS:])
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    photos = (params.train.steps - step) * params.train.photos_per_step
    return step, max(0.0, photos / speed) if speed > 0 else 0.0


def in_words(seconds: float) -> str:
    """A time for a person."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {minutes // 60} h {minutes % 60} min"


def base_folder(params: Params) -> Path | None:
    """The folder with the base's configurations, whose weights may be missing still; None where they are not here."""
    model = params.base.model
    if model in EMBEDDED:
        return EMBEDDED[model]
    if is_path(model):
        folder = Path(model).expanduser()
    else:
        from huggingface_hub import try_to_load_from_cache

        try:
            folder = Path(str(try_to_load_from_cache(model, CONFIGURATIONS[0], revision=params.base.revision))).parents[
                1
            ]
        except (OSError, ValueError, IndexError):
            return None
    return folder if all((folder / name).is_file() for name in CONFIGURATIONS) else None


def in_cache(model: str, revision: str | None, configuration: str = "unet/config.json") -> bool:
    """Whether a model from the hub is on this machine: its `configuration`, and weights in the same folder."""
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(model, configuration, revision=revision)
        return isinstance(file, str) and bool(weight_files(Path(file).parent))
    except (OSError, ValueError):
        return False


def _kind(params: Params) -> list[Any]:
    """What decides how long a step takes."""
    values = dump_params(params)
    return [params.class_images > 0, *(reduce(getitem, name.split("."), values) for name in ONE_TO_TELL)]
