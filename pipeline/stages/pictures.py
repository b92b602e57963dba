"""Shared by the stages `select` and `sample`: a suite drawn by models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

from pipeline.base.components import best_device
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.suite import Prompt, Suite
from pipeline.files import digest_file, digest_value
from pipeline.layout import DRAWN
from pipeline.params import Draw


@dataclass(frozen=True)
class Source:
    """A model to draw with: its name in the report, its folder, and a digest that names its pictures."""

    name: str
    folder: Path
    digest: str
    variant: str | None = None

    def drawn(self, workspace: Path) -> Path:
        """Folder of its pictures until a stage has them all; other code, libraries or devices have another folder."""
        return workspace / DRAWN / digest_value([self.digest, drawing_environment()])[:32]


@cache
def drawing_environment() -> dict[str, str]:
    """What decides a picture besides model and request: the code that samples, its libraries and the device."""
    import torch

    from pipeline import sampling
    from pipeline.base import components

    device = best_device()
    code = [Path(str(components.__file__)), *sorted(Path(str(sampling.__file__)).parent.glob("*.py"))]
    return {
        **{f"{file.parent.name}/{file.name}": digest_file(file) for file in code},
        **{name: version(name) for name in ("torch", "diffusers", "transformers")},
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }


def draw_suite(
    workspace: Path, suite: Suite, seeds: Sequence[int], draw: Draw, size: int, sources: Sequence[Source]
) -> list[DrawnPicture]:
    """Every prompt with every seed by every source; the tuned model draws the text, another one the twin."""
    from pipeline.sampling.gallery import draw_missing
    from pipeline.sampling.sampler import Request, Sampler

    found = []
    for source in sources:
        wanted = [(prompt, seed) for prompt in suite.prompts for seed in seeds]
        files = draw_missing(
            partial(Sampler.load, source.folder, draw.scheduler, draw.precision, source.variant),
            [Request(asked(prompt, source.name), seed) for prompt, seed in wanted],
            draw,
            size,
            source.drawn(workspace),
            f"{source.name} model",
        )
        found += [
            DrawnPicture(
                path=file,
                model="base" if source.name == "base" else "tuned",
                kind=prompt.kind,
                prompt_id=prompt.id,
                group=prompt.group,
                twin=prompt.twin,
                seed=seed,
                text=prompt.text,
                style=prompt.style,
                form=prompt.form,
            )
            for (prompt, seed), file in zip(wanted, files, strict=True)
        ]
    return found


def asked(prompt: Prompt, model: str) -> str:
    """What a model is asked for: the base knows no token, so it draws the twin."""
    return prompt.twin if model == "base" else prompt.text
