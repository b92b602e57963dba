"""Stage `inputs`: the files and folders that parameters name, linked to where DVC looks at what is in them."""

import os
from pathlib import Path

from pipeline.base.named_paths import model_path, path_parameters
from pipeline.errors import UserError
from pipeline.evaluation.caption_conflicts import suites_for_photos
from pipeline.evaluation.suite import BUILT_IN, suite_path
from pipeline.files import whole_folder
from pipeline.layout import DATA, INPUTS
from pipeline.params import Params
from pipeline.stages import main


class InputsError(UserError):
    """Parameters name files or folders that are missing, or suites that cannot be used; the message lists them."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/inputs/`: one entry for each parameter that may name a file or folder, and the numbers of class
    images and of empty places that are drawn: so `prior` runs again where these change, and not for another
    `train.prior.weight` or `train.augment.places`.

    The entry is a link to the file or folder, or a text file with the value where that is a built-in name or a hub id.
    Stages depend on the entries, and DVC follows links: a file that is edited in place runs what depends on it.

    The photos' captions are looked at here, before anything is drawn or trained: the suite that judges draws some.

    Raises:
        InputsError: a file or folder is missing, a suite cannot be used, or two of them share prompts, captions of
            training photos or seeds.
    """
    values = path_parameters(params)
    uses, problems = suites_for_photos(workspace / DATA, params)
    used = {f"{use.section}.suite" for use in uses}
    found = {key: model_path(value) for key, value in values.items() if not key.endswith(".suite")}
    found |= {key: _suite_file(str(values[key])) for key in used}
    problems += [f"{key} is '{values[key]}', but there is no such folder" for key, path in found.items() if _gone(path)]
    if problems:
        raise InputsError("\n".join(problems))
    with whole_folder(workspace / INPUTS) as fresh:
        for key, value in values.items():
            if (path := found.get(key)) is None:
                (fresh / key).write_text(f"{value}\n", encoding="utf-8")
            else:
                (fresh / key).symlink_to(_target(workspace, path))
        (fresh / "prior.images").write_text(f"{params.class_images}\n", encoding="utf-8")
        (fresh / "prior.places").write_text(f"{params.drawn_places}\n", encoding="utf-8")
    named = [f"{key} ({values[key]})" for key, path in found.items() if path is not None]
    print(f"files that parameters name: {', '.join(named) or 'none'}")


def _suite_file(name: str) -> Path | None:
    path = suite_path(name)
    return None if path.parent == BUILT_IN else path


def _gone(path: Path | None) -> bool:
    return path is not None and not path.exists()


def _target(workspace: Path, path: Path) -> str:
    """What the link holds: relative for a relative path, so that a workspace can be moved."""
    if path.is_absolute():
        return str(path)
    return os.path.relpath((workspace / path).absolute(), (workspace / INPUTS).absolute())


if __name__ == "__main__":
    main(run)
