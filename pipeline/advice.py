"""What can be known before a training: whether the token is free, and how much memory the run takes."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.layout import PARAMS
from pipeline.params import load_params

SEEDS = (1, 2, 3)
SIZES = (8, 12, 16, 24, 40, 80)  # GB of usual GPUs
CONTEXT = 0.6  # GB that CUDA and its libraries hold beside the tensors


class AdviceError(UserError):
    """What was asked cannot be done here."""


def show_token(workspace: Path, word: str, picture: Path | None) -> bool:
    """Print what the base of params.yaml makes of a word, and draw what it shows for it into `picture`.

    Returns:
        False where the word should not be used.

    Raises:
        UserError: params.yaml or its base cannot be used, or the picture's file exists.
    """
    from transformers import CLIPTokenizer

    from pipeline.base.resolve import resolve_base
    from pipeline.training.words import report_word

    params = load_params(workspace / PARAMS)
    if picture is not None and picture.exists():
        raise AdviceError(f"{picture} exists; remove it or name another file")
    base = resolve_base(params.base)
    report = report_word(CLIPTokenizer.from_pretrained(base.folder / "tokenizer", local_files_only=True), word)
    print(report.sentence)
    if picture is not None:
        from pipeline.sampling.sampler import Request, Sampler
        from pipeline.training.preview import beside

        noun, draw = params.subject.class_noun, params.sample.draw
        prompts = [f"a photo of {word}", f"a photo of {word} {noun}", f"a photo of a {noun}"]
        sampler = Sampler.load(base.folder, draw.scheduler, draw.precision, base.variant)
        requests = [Request(prompt, seed) for prompt in prompts for seed in SEEDS]
        pictures = list(sampler.draw(requests, draw.steps, draw.guidance, base.size, draw.batch))
        picture.parent.mkdir(parents=True, exist_ok=True)
        beside(pictures, len(SEEDS)).save(picture)
        print(f"{picture}: what the base draws, row by row, for " + ", ".join(f"'{text}'" for text in prompts))
        print("a word that is free shows nothing in particular; beside the class it shows just that")
    return report.problem is None


def show_estimate(workspace: Path) -> None:
    """Print how much GPU memory the training of params.yaml takes, and where it fits.

    Raises:
        UserError: params.yaml or its base cannot be used.
    """
    from rich.console import Console
    from rich.table import Table

    from pipeline.base.resolve import resolve_base
    from pipeline.training.estimate import estimate_memory

    params = load_params(workspace / PARAMS)
    base = resolve_base(params.base)
    side = params.prepare.size or base.size
    found = estimate_memory(base.folder, params.train, side, params.prior.images > 0, params.subject.token)
    rows = {
        "weights": found.weights,
        "gradients": found.gradients,
        f"states of {params.train.optimizer}": found.optimizer,
        "averaged weights": found.average,
        "activations of a step, at most": found.activations,
    }
    table = Table(title=f"{params.train.method}, batch {params.train.batch}, {side} pixels, {params.train.precision}")
    table.add_column("GPU memory for")
    table.add_column("GB", justify="right")
    for name, count in rows.items():
        if count:
            table.add_row(name, f"{count / 1e9:.2f}")
    table.add_section()
    table.add_row("together", f"{found.peak / 1e9:.2f}")
    Console(highlight=False).print(table)
    needed = found.peak / 1e9 + CONTEXT
    fits = next((size for size in SIZES if needed <= 0.95 * size), None)
    print(
        f"with about {CONTEXT} GB for CUDA itself it fits a GPU of {fits} GB"
        if fits
        else f"with about {CONTEXT} GB for CUDA itself it needs {needed:.0f} GB: more than one usual GPU has"
    )
