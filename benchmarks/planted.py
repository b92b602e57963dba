"""Does the verdict find faults that were planted? `python -m benchmarks.planted train|judge|table --work FOLDER`.

`train` makes the checkpoints of `benchmarks.plants`, several at once on one thread each; what is there already is not
made again. `judge` draws and judges them; `table` is what stands in docs/evaluation.md.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import plants
from pipeline.environment import prepare_environment
from pipeline.evaluation.gates import judge_gates
from pipeline.evaluation.scores import Reference
from pipeline.files import read_json, write_json
from pipeline.params import Gates, load_params
from pipeline.photos.manifest import read_manifest, training_captions
from pipeline.runs.profiles import find_profile
from pipeline.sampling.source import Source


def train_all(work: Path, jobs: int) -> None:
    """Train every checkpoint that is missing, `jobs` at once, the cases for calibration first."""
    from pipeline.stages import prior

    for toy in plants.TOYS:
        plants.prepare(toy, work)
    if not (work / "artifacts" / "prior").is_dir():
        prior.run(work, plants.params_of("mysks", 0))
    models = {case.model(work): index for index, case in reversed(list(enumerate(plants.cases())))}
    wanted = [
        index
        for model, index in sorted(models.items(), key=lambda item: item[1])
        if model is not None and not (model / "model_index.json").is_file()
    ]
    running: dict[int, subprocess.Popen[bytes]] = {}
    failed = []
    while wanted or running:
        while wanted and len(running) < jobs:
            index = wanted.pop(0)
            command = [sys.executable, "-m", "benchmarks.planted", "one", "--work", str(work), "--case", str(index)]
            running[index] = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for index, process in list(running.items()):
            if process.poll() is not None:
                del running[index]
                failed += [index] if process.returncode else []
        time.sleep(0.2)
    if failed:
        sys.exit(f"cases {failed} failed")


def drawn_case(case: plants.Case, work: Path) -> list[Any]:
    """Draw what is missing of a case's pictures: its checkpoint's and the base's."""
    from pipeline.base.resolve import resolve_base
    from pipeline.stages import pictures

    params = plants.params_of(case.toy, case.seed)
    base = resolve_base(params.base)
    draw = params.sample.draw.model_copy(update={"precision": "bf16"})
    model = case.model(work)
    sources = [
        Source("tuned", model, model.name) if model else Source("tuned", base.folder, "untouched"),
        Source("base", base.folder, "base"),
    ]
    seeds = params.sample.seeds if model else [seed + 100 * case.seed for seed in params.sample.seeds]
    return pictures.draw_suite(work, suite_of(case, work), seeds, draw, base.size, sources)


def suite_of(case: plants.Case, work: Path) -> Any:
    """The prompts that a case is judged on."""
    from pipeline.evaluation.suite import load_suite

    params = plants.params_of(case.toy, case.seed)
    photos = read_manifest(work / "prepared" / case.toy / "manifest.jsonl")
    return load_suite(params.sample.suite, params.subject, training_captions(photos))


def judge_case(case: plants.Case, work: Path) -> dict[str, Any]:
    """The evaluation of a case, as the stage `evaluate` makes it."""
    from pipeline.evaluation.judge import judge
    from pipeline.stages import judging

    params, folder = plants.params_of(case.toy, case.seed), work / "prepared" / case.toy
    references = [
        Reference(folder / photo.file, photo.split, photo.scene, folder / photo.mask if photo.mask else None)
        for photo in read_manifest(folder / "manifest.jsonl")
    ]
    backbones = judging.load_backbones(judging.find_backbones(params.evaluate, params.base), params.evaluate)
    words = judging.vocabulary(params.subject, suite_of(case, work))
    return judge(drawn_case(case, work), references, backbones, words, params.evaluate)


def judge_all(work: Path) -> None:
    """Judge every case whose checkpoint is there and that is not judged yet."""
    for case in plants.cases():
        model = case.model(work)
        out = evaluation_file(work, case)
        if out.is_file() or (model and not (model / "model_index.json").is_file()):
            continue
        write_json(out, judge_case(case, work))
        print(f"{case.plant.name}, {case.toy}, seed {case.seed}", flush=True)


def table(work: Path) -> str:
    """Markdown: of each planted fault how often which gate fired, on the seeds that nothing was calibrated on."""
    thresholds = load_params(find_profile("pocket").path).gates
    lines = [
        "| planted | made by | its own gates | fired, striped pig | fired, spotted turtle | other gates that fired |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    right = total = 0
    for plant in plants.PLANTS.values():
        counts, others = [], Counter[str]()
        for toy in plants.TOYS:
            hits = 0
            for seed in plants.REPORT:
                fired = fired_gates(work, plants.Case(plant, toy, seed), thresholds)
                hits += set(plant.own) <= fired if plant.own else not fired
                others.update(fired - set(plant.own))
            counts.append(f"{hits} of {len(plants.REPORT)}")
            right, total = right + hits, total + len(plants.REPORT)
        own = ", ".join(plant.own) or "none: must pass all"
        rest = ", ".join(f"{name} {count}" for name, count in others.most_common()) or "none"
        if not plant.own:
            counts = [f"no gate in {count}" for count in counts]
        lines.append(f"| {plant.name} | {plant.made_by} | {own} | {counts[0]} | {counts[1]} | {rest} |")
    return "\n".join([*lines, "", f"Right in {right} of {total} cases ({right / total:.0%})."])


def fired_gates(work: Path, case: plants.Case, thresholds: Gates) -> set[str]:
    """The gates that a case fails."""
    evaluation = read_json(evaluation_file(work, case))
    return {gate["gate"] for gate in judge_gates(evaluation, thresholds) if gate["verdict"] == "failed"}


def evaluation_file(work: Path, case: plants.Case) -> Path:
    """Where a case's evaluation is kept."""
    return work / "evaluations" / f"{case.plant.name}-{case.toy}-{case.seed}.json".replace(" ", "-")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["train", "one", "judge", "table"])
    parser.add_argument("--work", type=Path, required=True, help="folder for photos, checkpoints and pictures")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, one thread each")
    parser.add_argument("--case", type=int, default=0, help="number of the case for `one`")
    arguments = parser.parse_args()
    prepare_environment()
    if arguments.part == "one":
        plants.train_case(list(plants.cases())[arguments.case], arguments.work)
    elif arguments.part == "judge":
        judge_all(arguments.work.resolve())
    elif arguments.part == "table":
        print(table(arguments.work.resolve()))
    else:
        train_all(arguments.work.resolve(), arguments.jobs)


if __name__ == "__main__":
    main()
