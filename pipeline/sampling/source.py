"""A model that draws, and where its pictures are kept until a stage has them all."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipeline.base import components
from pipeline.base.digest import settings_digest
from pipeline.files import digest_file, digest_value
from pipeline.layout import DRAWN
from pipeline.params import Draw
from pipeline.sampling.sampler import Sampler


@dataclass(frozen=True)
class Source:
    """A model to draw with: its name in the report, its folder, and a digest that names its pictures."""

    name: str
    folder: Path
    digest: str
    variant: str | None = None

    def load(self, draw: Draw) -> Sampler:
        """Load the model to draw with."""
        return Sampler.load(self.folder, draw.scheduler, draw.precision, self.variant)

    def drawn(self, workspace: Path) -> Path:
        """Folder of its pictures until a stage has them all; other configurations of the model, code, libraries or
        devices have another folder.
        """
        return workspace / DRAWN / digest_value([self.digest, settings_digest(self.folder), drawing_environment()])[:32]


@cache
def drawing_environment() -> dict[str, str]:
    """What decides a picture besides model and request: the code that samples, its libraries and the device."""
    import torch

    device = components.best_device()
    code = [Path(str(components.__file__)), *sorted(Path(__file__).parent.glob("*.py"))]
    return {
        **{f"{file.parent.name}/{file.name}": digest_file(file) for file in code},
        **{name: version(name) for name in ("torch", "diffusers", "transformers")},
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }
