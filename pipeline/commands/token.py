"""`dreamtrace token`: whether a word is suitable as the subject's token."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.errors import CommandError
from pipeline.layout import PARAMS

SEEDS = (1, 2, 3)


def token(
    word: Annotated[str, typer.Argument(help="the candidate for a placeholder token, such as mysks")],
    draw: Annotated[Path | None, typer.Option(help="draw what the base shows for the word into this PNG file")] = None,
) -> None:
    """Whether a word is suitable as the subject's token; exits with 1 if it is not."""
    if not show_token(Path(), word, draw):
        raise typer.Exit(1)


def show_token(workspace: Path, word: str, picture: Path | None) -> bool:
    """Print how the base of params.yaml reads a word, and draw what it shows for the word into `picture`.

    Returns:
        False if the word should not be used.

    Raises:
        UserError: the base of params.yaml (for a picture, all of it) cannot be used, or the picture's file exists
            already.
    """
    from pipeline.base.description import describe_base
    from pipeline.params import load_base
    from pipeline.runs.token_name import numbered
    from pipeline.training.token_report import report_token

    if picture is not None and picture.exists():
        raise CommandError(f"{picture} exists already; remove it or name another file")
    if picture is not None and picture.suffix.lower() != ".png":
        raise CommandError(f"--draw {picture}: the picture is a PNG; name a file that ends in .png")
    report = report_token(describe_base(load_base(workspace / PARAMS)).tokenizer(), word)
    print(f"'{word}' {problem}" if (problem := numbered(word)) else report.sentence)
    if picture is not None:
        from pipeline.base.resolve import resolve_base
        from pipeline.params import load_params
        from pipeline.sampling.sampler import Request, Sampler
        from pipeline.training.preview import tile

        params = load_params(workspace / PARAMS)
        base = resolve_base(params.base)
        noun, draw = params.subject.class_noun, params.sample.draw
        prompts = [f"a photo of {word}", f"a photo of {word} {noun}", f"a photo of a {noun}"]
        sampler = Sampler.load(base.folder, draw.scheduler, draw.precision, base.variant)
        requests = [Request(prompt, seed) for prompt in prompts for seed in SEEDS]
        pictures = list(sampler.draw(requests, draw.steps, draw.guidance, base.size, draw.batch))
        picture.parent.mkdir(parents=True, exist_ok=True)
        tile(pictures, len(SEEDS)).save(picture)
        print(f"{picture}: what the base draws, row by row, for " + ", ".join(f"'{text}'" for text in prompts))
        print(
            "a free word draws nothing specific on its own; followed by the class noun it should draw an ordinary "
            "member of the class"
        )
    return report.problem is None and problem is None
