"""Parameters that may name a file or folder of this machine, and which of them do."""

from pathlib import Path

from pipeline.base.resolve import EMBEDDED, is_path
from pipeline.files import digest_file, digest_value
from pipeline.params import Params

KEYWORDS = {
    "base",
    "scorer",
    "identity",
    "pixels",
}  # values of `evaluate` that never name a file


def path_parameters(params: Params) -> dict[str, str | None]:
    """Every parameter that may name a file or folder, by its key."""
    evaluate = params.evaluate
    return {
        "base.model": params.base.model,
        "evaluate.scorer": evaluate.scorer,
        "evaluate.identity": evaluate.identity,
        "evaluate.copies": evaluate.copies,
        "evaluate.perceptual": evaluate.perceptual,
        "report.judge": params.report.judge,
        "sample.control.adapter": params.sample.control.adapter if params.sample.control else None,
        "sample.suite": params.sample.suite,
        "select.suite": params.select.suite,
        "tune.suite": params.tune.suite,
    }


def model_path(value: str | None) -> Path | None:
    """The folder that a base or a judge is; None where it is embedded, on the hub, or switched off."""
    if value is None or value in KEYWORDS or value in EMBEDDED or not is_path(value):
        return None
    return Path(value).expanduser()


def digest_path(path: Path) -> str:
    """sha256 of a file, or of a folder: over the names of all files below it and their digests."""
    if path.is_file():
        return digest_file(path)
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return digest_value({file.relative_to(path).as_posix(): digest_file(file) for file in files})
