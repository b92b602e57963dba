"""A picture that a model drew, and where in the suite it stands."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DrawnPicture:
    """A drawn picture: its file, the model, where in the suite it stands, and the prompt without the token."""

    path: Path
    model: str
    kind: str
    prompt_id: str
    group: str
    twin: str
    seed: int
    text: str = ""
    style: str = ""
    form: str = ""
