"""Links of a chain: the state of each, and the evidence for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import counted

State = Literal["verified", "broken", "unknown"]


@dataclass(frozen=True)
class Link:
    """One link of the chain: what was looked at, its state, and what was found."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True)
class Evidence:
    """Evidence that a record is compared with. None: not available here, so its links are unknown."""

    workspace: Path
    model: Path | None = None  # folder with the weights
    tags: dict[str, str] | None = None  # of the registered version
    files: Path | None = None  # the record as the run's artifacts keep it
    header: dict[str, Any] | None = None  # of the single file or picture that was asked about
    file: Path | None = None  # the single safetensors file that was asked about
    served: Path | None = None  # MLflow's folder of the registered version: the weights, and the code that serves them
    adapter: Path | None = None  # MLflow's folder of the version's LoRA layers
    report: Path | None = None  # the report in the run's artifacts
    unreadable: Mapping[str, str] = field(default_factory=dict)  # why "report" or "adapter" could not be read


def verdict(links: Iterable[Link]) -> State:
    """The whole chain: broken where a link is, verified only where all of them are."""
    states = {link.state for link in links}
    return "broken" if "broken" in states else "verified" if states == {"verified"} else "unknown"


def same(name: str, recorded: Any, found: Any, what: str) -> Link:
    if recorded == found:
        return Link(name, "verified", f"{what} {shortened(found)}")
    return Link(name, "broken", f"{what}: the record says {shortened(recorded)}, found {shortened(found)}")


def compare_files(name: str, recorded: dict[str, str], found: dict[str, str], where: str) -> Iterable[Link]:
    """A link for each file that differs, is missing or was added; one for all of them where none does. Where there are
    none at all, nothing was compared.
    """
    good = bool(recorded or found)
    if not good:
        yield Link(name, "unknown", f"no file of {where} is on record")
    for path in sorted(recorded.keys() | found.keys()):
        if recorded.get(path) == found.get(path):
            continue
        good = False
        if path not in found:
            yield Link(name, "broken", f"{path} is missing from {where}")
        elif path not in recorded:
            yield Link(name, "broken", f"{path} in {where} is not on record: it was added")
        else:
            yield same(name, recorded[path], found[path], f"{path} in {where}")
    if good:
        yield Link(name, "verified", f"{counted(len(recorded), 'file')} in {where}, as on record")


def shortened(value: Any) -> str:
    text = str(value)
    return text[:16] if len(text) in (64, 40, 36, 32) else text
