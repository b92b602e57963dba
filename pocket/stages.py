"""What `pocket/dvc.yaml` calls: each stage takes the recipe and the folder for everything that is made."""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from pocket.recipe import HERE, Recipe, read_recipe


def run(stage: Callable[[Recipe, Path], None]) -> None:
    """Run one stage from the command line: `python -m pocket.vae [--recipe gpu] [--work FOLDER]`."""
    parser = argparse.ArgumentParser(description=stage.__doc__)
    parser.add_argument("--recipe", help="a recipe of pocket/params.yaml; its key `use` names the default")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for data, states and curves")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stage(read_recipe(arguments.recipe), arguments.work)
