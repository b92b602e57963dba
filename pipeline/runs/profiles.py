"""Presets of params.yaml, in `profiles/` beside the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.files import write_bytes
from pipeline.params import ParamsError, dump_params, load_params, parse_params
from pipeline.runs.subject_values import carry_subject, read_commented, write_commented

FOLDER = Path(__file__).resolve().parents[2] / "profiles"


class UnknownProfile(UserError):
    """There is no preset of that name."""


@dataclass(frozen=True)
class Profile:
    """A preset: its name, its file, and the first line of its comment."""

    name: str
    path: Path

    @property
    def purpose(self) -> str:
        return self.path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def profiles() -> list[Profile]:
    """All presets by name."""
    return [Profile(path.stem, path) for path in sorted(FOLDER.glob("*.yaml"))]


def find_profile(name: str) -> Profile:
    """The preset called `name`.

    Raises:
        UnknownProfile: there is none.
    """
    found = {profile.name: profile for profile in profiles()}
    if name not in found:
        raise UnknownProfile(f"there is no profile '{name}'; there are {', '.join(found)}")
    return found[name]


def preset_thresholds(base: str) -> dict[str, Any]:
    """The thresholds of the gates in the preset of a base, or in the last one."""
    found = [load_params(profile.path) for profile in profiles()]
    return next((params for params in found if params.base.model == base), found[-1]).gates.model_dump()


@dataclass(frozen=True)
class Used:
    """What became of the params.yaml before: where it is kept, its subject where that was carried over, and why not."""

    kept: Path | None
    subject: str | None = None
    unread: str | None = None


def use_profile(name: str, target: Path) -> Used:
    """Put a preset in the place of `target`, with the subject that `target` has.

    A file of the user's own is kept as params.before-<n>.yaml. The subject of one with mistakes is not carried over.

    Raises:
        UnknownProfile: there is no such preset.
    """
    profile = find_profile(name)
    load_params(profile.path)
    try:
        before = dump_params(load_params(target)) if target.is_file() else None
    except ParamsError as error:
        text = profile.path.read_text(encoding="utf-8")
        return Used(put_params(target, text), unread=str(error).splitlines()[0].rstrip(":"))
    text, carried = profile_text(name, before)
    return Used(put_params(target, text), carried)


def profile_text(name: str, before: Mapping[str, Any] | None) -> tuple[str, str | None]:
    """The text of a preset with the subject of the parameters `before`, and that subject's name.

    Where there are none, or they have the subject of a preset, the preset as it is, and None.

    Raises:
        UnknownProfile: there is no such preset.
    """
    text = find_profile(name).path.read_text(encoding="utf-8")
    presets = [read_commented(one.path.read_text(encoding="utf-8")) for one in profiles()]
    if before is None or any(before["subject"] == preset["subject"] for preset in presets):
        return text, None
    values = read_commented(text)
    carry_subject(values, before, presets)
    carried = str(before["subject"]["name"])
    text = write_commented(values)
    parse_params(yaml.safe_load(text), f"the profile {name} with {carried}")
    return text, carried


def put_params(target: Path, text: str) -> Path | None:
    """Write params.yaml; one that is no preset is kept as params.before-<n>.yaml and returned."""
    kept = None
    known = {candidate.path.read_bytes() for candidate in profiles()}
    if target.is_file() and target.read_bytes() not in known | {text.encode()}:
        kept = free_name(target)
        write_bytes(kept, target.read_bytes())
    write_bytes(target, text.encode())
    return kept


def free_name(target: Path) -> Path:
    """Where a copy of a file or a folder is kept: beside it, as `<stem>.before-<n>`."""
    number = 1
    while (path := target.with_name(f"{target.stem}.before-{number}{target.suffix}")).exists():
        number += 1
    return path
