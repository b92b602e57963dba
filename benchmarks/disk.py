"""What versions of one subject leave on disk, in DVC's cache and remote, and in MLflow's artifact store, by method.

    python -m benchmarks.disk --work FOLDER [--base FOLDER] [--methods NAME ...] [--versions 3] [--links TYPE]

Without `--base` the base is Stable Diffusion v1.5's architecture with random weights (4.3 GB). Nothing is trained: all
weights that a method learns are changed, and written, selected, versioned and stored as a run does it. The largest
method needs about five times the base on disk. Prints a Markdown table.
"""

import argparse
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.environment import prepare_environment

prepare_environment()

METHODS = ("dreambooth", "dreambooth-lora", "textual-inversion")
COPIES = "reflink,copy"  # DVC's default
STORES = ("DVC cache", "DVC remote", "MLflow")
LORA = {"rank": 16, "alpha": 16, "dora": False, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}

FROZEN = {"learn": False, "learning_rate": 1e-6}  # the text encoder, but for a learned word


@dataclass(frozen=True)
class Row:
    """Bytes of tensors: of the base, of its parts that the method leaves as they are, of what was learned (all
    versions; the last one), and of all in each store.

    The workspace holds the last version alone, as it was trained and as it was selected; what is linked to DVC's cache
    counts there. Where the filesystem can share blocks between files (XFS, Btrfs), it takes less than the sum of files.
    """

    method: str
    base: int
    frozen: int
    learned: int
    last: int
    workspace: int
    stores: dict[str, int]

    def share(self, store: str) -> float:
        """What a store of all versions holds beyond one copy of the frozen parts, in units of what was learned."""
        return (self.stores[store] - self.frozen) / self.learned


def measure(
    base: Path, work: Path, train: dict[str, Any], methods: Sequence[str], versions: int, links: str = COPIES
) -> list[Row]:
    """Write and store versions of each method, one method after the other; each method's stores are removed again.

    `links` is DVC's `cache.type`: how files of the workspace are tied to its cache.
    """
    found = []
    for method in methods:
        folder = work / method
        settings = {**train, "method": method, "lora": LORA, "text_encoder": FROZEN}
        found.append(_measure(base, folder, settings, versions, links))
        shutil.rmtree(folder)
    return found


def _measure(base: Path, folder: Path, train: dict[str, Any], versions: int, links: str) -> Row:
    from dvc.repo import Repo

    from pipeline.base.file_header import set_metadata
    from pipeline.base.learned import learned_files
    from pipeline.files import link_or_copy
    from pipeline.lineage.header import HEADER_KEY
    from pipeline.registry.shared_parts import store_shared
    from pipeline.registry.store import connect, experiment_id

    folder.mkdir(parents=True)
    logging.getLogger("dvc").setLevel(logging.ERROR)  # its handler keeps a stream that may be closed by now
    repo = Repo.init(str(folder), no_scm=True)
    with repo.config.edit() as config:
        config["remote"]["here"] = {"url": str(folder / "remote")}
        config["core"]["remote"] = "here"
        config["cache"]["type"] = links
    repo = Repo(str(folder))
    client = connect(folder)
    run = client.create_run(experiment_id(client, "size", folder)).info.run_id
    trained, selected = (folder / "artifacts" / name / "model" for name in ("trained", "selected"))
    learned = last = 0
    for number in range(versions):
        for path in (trained, selected):
            shutil.rmtree(path, ignore_errors=True)
        write_version(base, trained, train, lambda parameter, by=1e-3 * (number + 1): parameter.add_(by))
        for path in learned_files(trained):
            set_metadata(path, {HEADER_KEY: json.dumps({"version": number})})
        last = sum(tensor_bytes(path) for path in learned_files(trained))
        learned += last
        shutil.copytree(trained, selected, copy_function=link_or_copy)
        repo.add([str(trained), str(selected)])
        repo.push()
        own = folder / "own"
        store_shared(client, run, selected, own)
        client.log_artifacts(run, str(own), f"model-{number}")
        shutil.rmtree(own)
    places = (folder / ".dvc" / "cache", folder / "remote", folder / "mlartifacts")
    stores = {name: stored(place) for name, place in zip(STORES, places, strict=True)}
    frozen = stored(selected) - last
    workspace = stored(folder / "artifacts", without=places[0])
    return Row(train["method"], stored(base), frozen, learned, last, workspace, stores)


def write_version(base: Path, model: Path, train: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """The model folder of a training whose learned weights were all changed."""
    import torch

    from pipeline.base.components import load_parts
    from pipeline.params import Train
    from pipeline.training.export import export_model
    from pipeline.training.job import Job
    from pipeline.training.trainable import select_trainable

    params = Train.model_validate(train)
    parts = load_parts(base)
    trainable = select_trainable(parts, "mysks", params)
    with torch.no_grad():
        for parameter in trainable.parameters:
            change(parameter)
    export_model(Job(base, None, [], [], "mysks", "plush toy", params, model.parent, model), parts, trainable)


def stored(folder: Path, without: Path | None = None) -> int:
    """Bytes of tensors in the safetensors files below a folder, whatever they are called; a linked file counts once,
    and not at all where it is linked to one below `without`.
    """
    seen = set() if without is None else {path.stat().st_ino for path in _files(without)}
    found = {path.stat().st_ino: path for path in _files(folder)}
    return sum(tensor_bytes(path) for inode, path in found.items() if inode not in seen)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def tensor_bytes(path: Path) -> int:
    """Bytes that follow the header of a safetensors file; 0 where it is none."""
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
        if not 0 < length < min(size, 1 << 27):
            return 0
        try:
            json.loads(file.read(length))
        except ValueError:
            return 0
    return size - 8 - length


def table(rows: Sequence[Row], versions: int) -> str:
    """The figures as Markdown, in megabytes."""
    heads = ["base", "frozen of it", "learned, a version", "workspace", *STORES, "beyond the frozen parts"]
    lines = [f"| method | {' | '.join(heads)} |", f"| --- | {' | '.join(['---:'] * len(heads))} |"]
    for row in rows:
        sizes = [row.base, row.frozen, row.learned / versions, row.workspace, *row.stores.values()]
        most = max(row.share(store) for store in STORES)
        lines.append(f"| `{row.method}` | {' | '.join(_megabytes(size) for size in sizes)} | {most:.2f} x learned |")
    return "\n".join(lines)


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.3g} MB" if size < 1e6 else f"{size / 1e6:,.0f} MB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def main() -> None:
    import yaml

    from benchmarks.sd15 import make_sd15
    from pipeline.runs.profiles import find_profile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for base and stores")
    parser.add_argument("--base", type=Path, help="a pipeline folder; default: Stable Diffusion v1.5's architecture")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--versions", type=int, default=3)
    parser.add_argument("--links", default=COPIES, help="DVC's cache.type, such as hardlink; default: %(default)s")
    asked = parser.parse_args()
    base = asked.base
    if base is None:
        base = asked.work / "base"
        if not base.is_dir():
            make_sd15(base)
    train = yaml.safe_load(find_profile("thesis").path.read_text())["train"]
    rows = measure(base, asked.work.resolve(), train, asked.methods, asked.versions, asked.links)
    print(table(rows, asked.versions))


if __name__ == "__main__":
    main()
