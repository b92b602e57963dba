"""Links of a chain: how each stands, and what it was held against."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["verified", "broken", "unknown"]


@dataclass(frozen=True)
class Link:
    """One link of the chain: what was looked at, how it stands, and what was found."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True)
class Evidence:
    """What a record can be held against. None: there is no such thing here, and its links stay unknown."""

    workspace: Path
    model: Path | None = None  # folder with the weights
    tags: dict[str, str] | None = None  # of the registered version
    files: Path | None = None  # the record as the run's artifacts keep it
    header: dict[str, Any] | None = None  # of the single file that was given


def verdict(links: Iterable[Link]) -> State:
    """The whole chain: broken where a link is, verified only where all of them are."""
    states = {link.state for link in links}
    return "broken" if "broken" in states else "verified" if states == {"verified"} else "unknown"


def same(name: str, recorded: Any, found: Any, what: str) -> Link:
    if recorded == found:
        return Link(name, "verified", f"{what} {shortened(found)}")
    return Link(name, "broken", f"{what}: the record says {shortened(recorded)}, found {shortened(found)}")


def shortened(value: Any) -> str:
    text = str(value)
    return text[:16] if len(text) in (64, 40, 36, 32) else text
