"""Presets of params.yaml, in `profiles/` beside the package."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import write_bytes
from pipeline.params import load_params

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


def use_profile(name: str, target: Path) -> Path | None:
    """Copy a preset to `target`; a file of the user's own is kept as params.before-<n>.yaml and returned."""
    profile = find_profile(name)
    load_params(profile.path)
    wanted = profile.path.read_bytes()
    kept = None
    known = {candidate.path.read_bytes() for candidate in profiles()}
    if target.is_file() and target.read_bytes() not in known:
        kept = _free_name(target)
        write_bytes(kept, target.read_bytes())
    write_bytes(target, wanted)
    return kept


def _free_name(target: Path) -> Path:
    number = 1
    while (path := target.with_name(f"{target.stem}.before-{number}.yaml")).exists():
        number += 1
    return path
