"""A picture that a model drew, and its place in the suite."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.suite import noise_of


@dataclass(frozen=True)
class DrawnPicture:
    """A drawn picture: its file, the model, its place in the suite, and the prompt without the token."""

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

    @property
    def noise(self) -> int:
        """The seed of the noise that it starts from."""
        return noise_of(self.prompt_id, self.seed)
