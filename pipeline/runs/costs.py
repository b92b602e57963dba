"""What a run costs in time and disk, from what is known beforehand and from what its training has written down."""

import shutil
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.base.components import weight_files
from pipeline.base.resolve import COMPONENTS, EMBEDDED, is_path
from pipeline.files import read_json, read_jsonl
from pipeline.layout import JOURNAL, LINEAGE, TRAINED_MODEL, TRAINING
from pipeline.params import Params, dump_params

COPIES = 6  # of the weights: trained, selected, registered, and DVC's and the served model's copies of them
ONE_TO_TELL = ("train.method", "train.batch", "train.gradient_accumulation", "train.precision", "base.model")
LAST_ROWS = 5  # of the curve, that tell how fast a training is now


def time_sentence(workspace: Path, params: Params) -> str:
    """How long the training takes, from the last one of this workspace, where it was one of the same kind."""
    try:
        done = read_json(workspace / TRAINING)
        before = read_json(workspace / TRAINED_MODEL / LINEAGE)["params"]
        steps = done["steps"] - done["resumed_from"]
        known = {name: _value(before, name) for name in ONE_TO_TELL}
        device = done["device"]
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown: nothing was trained in this workspace yet"
    if known != {name: _value(dump_params(params), name) for name in ONE_TO_TELL} or steps < 1:
        return "unknown: the last training in this workspace was of another kind"
    seconds = done["seconds"] / steps * params.train.steps
    return f"{in_words(seconds)} for the training, as fast as the last one here ({device}); judging comes on top"


def time_left(workspace: Path, params: Params, since: float) -> tuple[int, float] | None:
    """The last step that the training at work has written down, and the seconds that the steps after it take.

    Args:
        since: when the run began, in seconds since 1970: what was written before is another training's.

    Returns:
        None where it has written nothing yet.
    """
    try:
        if (workspace / JOURNAL).stat().st_mtime < since:
            return None
        rows = [row for row in read_jsonl(workspace / JOURNAL)[1:] if "step" in row]
        step = int(rows[-1]["step"])
        speed = median(float(row["images_per_second"]) for row in rows[-LAST_ROWS:])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    photos = (params.train.steps - step) * params.train.batch * params.train.gradient_accumulation
    return step, max(0.0, photos / speed) if speed > 0 else 0.0


def in_words(seconds: float) -> str:
    """A time for a person."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {minutes // 60} h {minutes % 60} min"


def disk_needed(params: Params) -> int | None:
    """Bytes that a run adds, None until the base is on this machine."""
    folder = base_folder(params)
    if folder is None:
        return None
    sizes = {part: sum(f.stat().st_size for f in weight_files(folder / part)) for part in COMPONENTS}
    candidates = params.train.steps // params.train.save_every if params.train.save_every else 0
    learned = sizes["unet"] if params.train.method == "dreambooth" else 0
    return COPIES * sum(sizes.values()) + candidates * learned


def disk_sentence(workspace: Path, params: Params) -> str:
    """What a run needs on disk, and what is free."""
    free, needed = shutil.disk_usage(workspace).free, disk_needed(params)
    if needed is None:
        return f"{free / 1e9:.0f} GB free; what the run needs is unknown until the base is here"
    return f"about {needed / 1e9:.1f} GB for the run, {free / 1e9:.0f} GB free"


def base_folder(params: Params) -> Path | None:
    """The base's folder, where it is on this machine whole."""
    model = params.base.model
    if model in EMBEDDED:
        return EMBEDDED[model]
    if is_path(model):
        folder = Path(model).expanduser()
        return folder if (folder / "unet" / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    if not in_cache(model, params.base.revision):
        return None
    file = try_to_load_from_cache(model, "unet/config.json", revision=params.base.revision)
    return Path(str(file)).parents[1]


def in_cache(model: str, revision: str | None) -> bool:
    """Whether a base from the hub is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(model, "unet/config.json", revision=revision)
        return isinstance(file, str) and bool(weight_files(Path(file).parent))
    except (OSError, ValueError):
        return False


def _value(values: dict[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    return values[section][key]
