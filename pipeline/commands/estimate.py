"""`dreamtrace estimate`: how much GPU memory a training takes."""

from pathlib import Path

from pipeline.layout import PARAMS

SIZES = (8, 12, 16, 24, 40, 80)  # memory of common GPUs in GB
CONTEXT = 0.6  # GB that CUDA and its libraries take besides the tensors


def estimate() -> None:
    """How much GPU memory the training of params.yaml takes, computed without a GPU."""
    show_estimate(Path())


def show_estimate(workspace: Path) -> None:
    """Print how much GPU memory the training of params.yaml takes, and the smallest common GPU that it fits.

    Raises:
        UserError: params.yaml or its base cannot be used.
    """
    from rich.console import Console
    from rich.table import Table

    from pipeline.base.resolve import resolve_base
    from pipeline.params import load_params
    from pipeline.training.estimate import estimate_memory

    params = load_params(workspace / PARAMS)
    base = resolve_base(params.base)
    side = params.prepare.size or base.size
    classes, token, heldout = params.class_images > 0, params.subject.token, params.prepare.heldout
    found = estimate_memory(base.folder, params.train, side, classes, token, heldout, params.preview)
    rows = {
        "weights": found.weights,
        "gradients": found.gradients,
        f"states of {params.train.optimizer}": found.optimizer,
        "moving average of the weights": found.average,
        "activations of a step (peak)": found.activations,
        "loss on held-out photos, between two steps (peak)": found.validation,
        "previews, between two steps (peak)": found.drawing,
    }
    table = Table(title=f"{params.train.method}, batch {params.train.batch}, {side} pixels, {params.train.precision}")
    table.add_column("GPU memory for")
    table.add_column("GB", justify="right")
    for name, count in rows.items():
        if count:
            table.add_row(name, f"{count / 1e9:.2f}")
    table.add_section()
    table.add_row("peak", f"{found.peak / 1e9:.2f}")
    Console(highlight=False).print(table)
    needed = found.peak / 1e9 + CONTEXT
    fits = next((size for size in SIZES if needed <= 0.95 * size), None)
    print(
        f"with about {CONTEXT} GB for CUDA itself it fits a GPU with {fits} GB"
        if fits
        else f"with about {CONTEXT} GB for CUDA itself it needs {needed:.0f} GB, more than a common GPU has"
    )
