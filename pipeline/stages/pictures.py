"""Shared by the stages `select`, `tune` and `sample`: a suite drawn by models."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.suite import Prompt, Suite, noise_of
from pipeline.params import Draw
from pipeline.sampling.source import Source


def draw_suite(
    workspace: Path, suite: Suite, seeds: Sequence[int], draw: Draw, size: int, sources: Sequence[Source]
) -> list[DrawnPicture]:
    """Every prompt with every seed by every source; the base draws the twin, the others the text.

    All sources draw a prompt and seed from the same noise (`noise_of`).
    """
    from pipeline.sampling.gallery import draw_missing
    from pipeline.sampling.sampler import Request

    found = []
    for source in sources:
        wanted = [(prompt, seed) for prompt in suite.prompts for seed in seeds]
        files = draw_missing(
            partial(source.load, draw),
            [Request(asked(prompt, source.name), noise_of(prompt.id, seed)) for prompt, seed in wanted],
            draw,
            size,
            source.drawn(workspace),
            f"{source.name} model",
        )
        found += [
            DrawnPicture(
                path=file,
                model=source.name if source.name in ("base", "recipe") else "tuned",
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
