"""Pictures that people had drawn on the page: their files and recipes, and what their own records say of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.files import write_text
from pipeline.registry.overview import VersionFacts
from pipeline.sampling.credentials import CredentialsError, read_credentials
from pipeline.sampling.recipe import Recipe, recipe_text
from pipeline.studio.workplace import LOGS

DRAWN = LOGS / "drawn"
SHOWN = 12  # the newest ones
NUMBER = re.compile(r"^[0-9]+(?=-)")
FILE = re.compile(r"^[0-9]+-(?:[A-Za-z0-9_-]+-)?v[0-9]+\.png$")  # older ones have no model in their names
RECIPE = "-recipe.yaml"


@dataclass(frozen=True)
class Drawing:
    """A picture that was drawn here. `title` names the version that drew it, as 'mysks version 3'; `problem` says why
    its record tells nothing, and is '' otherwise.
    """

    file: str
    title: str = ""
    prompt: str = ""
    seed: str = ""
    recipe: bool = False
    problem: str = ""


def begin_drawing(workspace: Path, version: VersionFacts, prompt: str, seed: str, recipe: Recipe | None) -> list[str]:
    """Write the recipe, if there is one, under the next free number.

    To be called where no other drawing is at work: recipes without a picture, of drawings that failed, are removed.

    Returns:
        The arguments of the command that draws the picture.
    """
    folder = workspace / DRAWN
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {number for path, number in _numbered(folder) if path.suffix == ".png"}
    for path, number in list(_numbered(folder)):
        if path.name.endswith(RECIPE) and number not in pictures:
            path.unlink(missing_ok=True)
    number = max(pictures, default=0) + 1
    out = DRAWN / f"{number}-{version.model}-v{version.version}.png"
    arguments = ["generate", "--model", version.reference, "--seed", seed, "--out", str(out)]
    if recipe is not None:
        file = DRAWN / f"{number}{RECIPE}"
        write_text(workspace / file, recipe_text(recipe))
        arguments += ["--recipe", str(file)]
    return [*arguments, "--", prompt]


def drawings(workspace: Path) -> list[Drawing]:
    """The pictures that were drawn here, the newest first."""
    found = [path for path in (workspace / DRAWN).glob("*.png") if FILE.match(path.name)]
    aged = sorted(((path.stat().st_mtime_ns, path) for path in found), reverse=True)
    return [_told(path, changed) for changed, path in aged[:SHOWN]]


@lru_cache(maxsize=100)
def _told(path: Path, changed: int) -> Drawing:
    """What a picture's record says; `changed`, when it was written, keeps what is remembered from being outdated."""
    try:
        found = read_credentials(path)
    except CredentialsError as error:
        return Drawing(path.name, problem=str(error))
    if found is None:
        return Drawing(path.name, problem="it carries no record of what drew it")
    record = found.record
    title = record.get("title") or f"the model {str(record.get('content_digest', ''))[:16]}"
    problem = found.detail if found.state == "invalid" else ""
    seed, words = str(record.get("seed", "")), str(record.get("prompt", ""))
    return Drawing(path.name, str(title), words, seed, bool(record.get("recipe")), problem)


def _numbered(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.iterdir():
        if known := NUMBER.match(path.name):
            yield path, int(known[0])
