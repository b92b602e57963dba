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
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import plants
from pipeline.base.resolve import resolve_base
from pipeline.environment import prepare_environment
from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.gates import judge_gates
from pipeline.evaluation.suite import Suite, load_suite
from pipeline.files import digest_value, read_json, write_json
from pipeline.layout import MANIFEST, MODEL
from pipeline.lineage.digests import content_digest
from pipeline.params import Gates, Params, load_params
from pipeline.photos.manifest import Photo, read_manifest, training_captions
from pipeline.runs.profiles import find_profile
from pipeline.sampling.source import Source


def train_all(work: Path, jobs: int) -> None:
    """Train every checkpoint that is missing, `jobs` at once, the cases for calibration first."""
    every = list(plants.cases())
    wanted = [index for index, case in enumerate(every) if case.trained == case]
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
                failed += [every[index].name] if process.returncode else []
        time.sleep(0.2)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def sources_of(case: plants.Case, work: Path) -> list[Source]:
    """What draws a case's pictures: its checkpoint, or the base with other seeds where nothing was trained; the base.

    Raises:
        SystemExit: the checkpoint is missing, or of other parameters or another base than those of today.
    """
    base = resolve_base(case.params.base)
    by_base = Source("base", base.folder, base.digest, base.variant)
    trained = case.trained
    if trained is None:
        return [replace(by_base, name="tuned", digest=f"untouched {base.digest}"), by_base]
    model = work / trained.name / MODEL
    if not model.is_dir():
        raise SystemExit(f"{model} is missing: run `python -m benchmarks.planted train --work {work}`")
    plants.refuse_other(trained, model)
    return [Source("tuned", model, content_digest(model)), by_base]


def digests_of(case: plants.Case, work: Path) -> dict[str, str]:
    """The digests of what draws a case's pictures, of the judges, and of what they are told to draw and how to judge:
    its evaluation holds for these alone.
    """
    from pipeline.stages import judging

    params = case.params
    folders = judging.find_backbones(params.evaluate, params.base)
    judges = {name: content_digest(folder) if folder else None for name, folder in folders.items()}
    settings = [params.sample.model_dump(mode="json"), params.evaluate.model_dump(mode="json")]
    drawn_by = {source.name: source.digest for source in sources_of(case, work)}
    return {**drawn_by, "judges": digest_value(judges), "settings": digest_value(settings)}


def drawn_case(case: plants.Case, work: Path) -> list[DrawnPicture]:
    """Draw what is missing of a case's pictures: its checkpoint's and the base's."""
    from pipeline.stages import pictures

    params, sources = case.params, sources_of(case, work)
    seeds = params.sample.seeds if case.trained else [seed + 100 * case.seed for seed in params.sample.seeds]
    return pictures.draw_suite(work, suite_of(case, work), seeds, params.sample.draw, photo_side(params), sources)


def photo_side(params: Params) -> int:
    """Side of the pictures in pixels."""
    return params.prepare.size or resolve_base(params.base).size


def judged_by(case: plants.Case, work: Path) -> tuple[Path, list[Photo]]:
    """The workspace whose photos a case is judged by, none of which a plant has left out, and these photos."""
    workspace = work / plants.Case(plants.PLANTS["good"], case.toy, case.seed).name
    return workspace, read_manifest(workspace / MANIFEST)


def suite_of(case: plants.Case, work: Path) -> Suite:
    """The prompts that a case is judged on."""
    params = case.params
    return load_suite(params.sample.suite, params.subject, training_captions(judged_by(case, work)[1]))


def judge_case(case: plants.Case, work: Path) -> dict[str, Any]:
    """The evaluation of a case, as the stage `evaluate` makes it."""
    from pipeline.evaluation.judge import judge
    from pipeline.stages import judging

    params = case.params
    backbones = judging.load_backbones(judging.find_backbones(params.evaluate, params.base), params.evaluate)
    words = judging.vocabulary(params.subject, suite_of(case, work))
    photos = judging.references(*judged_by(case, work))
    return judge(drawn_case(case, work), photos, backbones, words, params.evaluate)


def judge_all(work: Path) -> None:
    """Judge every case that is not judged yet, or was before anything of `digests_of` changed."""
    for case in plants.cases():
        made_of, out = digests_of(case, work), evaluation_file(work, case)
        if out.is_file() and read_json(out).get("sources") == made_of:
            continue
        write_json(out, {**judge_case(case, work), "sources": made_of})
        print(case.name, flush=True)


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
                others.update(sorted(fired - set(plant.own)))
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
    evaluation = judged(case, work)
    return {gate["gate"] for gate in judge_gates(evaluation, thresholds) if gate["verdict"] == "failed"}


def judged(case: plants.Case, work: Path) -> dict[str, Any]:
    """The evaluation of a case.

    Raises:
        SystemExit: it is not judged, or was before its checkpoint, the base, the judges or the settings changed.
    """
    path = evaluation_file(work, case)
    found = read_json(path) if path.is_file() else {}
    if found.get("sources") != digests_of(case, work):
        raise SystemExit(f"{case.name} is not judged as it is: run `python -m benchmarks.planted judge --work {work}`")
    return found


def evaluation_file(work: Path, case: plants.Case) -> Path:
    """Where a case's evaluation is kept."""
    return work / "evaluations" / f"{case.name}.json"


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
        plants.trained(list(plants.cases())[arguments.case], arguments.work)
    elif arguments.part == "judge":
        judge_all(arguments.work.resolve())
    elif arguments.part == "table":
        print(table(arguments.work.resolve()))
    else:
        train_all(arguments.work.resolve(), arguments.jobs)


if __name__ == "__main__":
    main()
