"""Stage `select`: the best candidate of the training, on prompts and seeds that the report does not use."""

import shutil
from pathlib import Path
from typing import Any

from pipeline.base.resolve import ResolvedBase, native_size, resolve_base
from pipeline.errors import UserError
from pipeline.evaluation.deciding import suite_of
from pipeline.files import link_or_copy, read_json, whole_folder, write_json, write_table
from pipeline.layout import (
    CANDIDATES,
    MANIFEST,
    MODEL,
    SELECTED,
    SELECTION,
    SELECTION_CURVE,
    SELECTION_SHEET,
    STATE,
    TRAINED_MODEL,
)
from pipeline.params import Params
from pipeline.photos.manifest import read_manifest, training_captions
from pipeline.sampling.source import Source
from pipeline.stages import main
from pipeline.stages.judging import find_backbones, load_backbones, references, vocabulary
from pipeline.stages.pictures import draw_suite
from pipeline.training.finished import remove_taken_in


class SelectInputsError(UserError):
    """The results of the stage `train` do not fit the parameters."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/selected/`: the chosen model with its record, the candidates' figures and their curve.

    What the training left until DVC had its results is removed.

    All candidates and the last step are drawn and judged in this process; a run that saved no candidates passes its
    last step on, without drawing anything.

    Raises:
        SuiteError: a suite cannot be used, or two that decide share prompts, captions of training photos or seeds.
        SelectInputsError: the model was trained from another base.
    """
    remove_taken_in(workspace)
    suite = suite_of("select", params, training_captions(read_manifest(workspace / MANIFEST)))
    base = resolve_base(params.base)
    folders = find_backbones(params.evaluate, params.base)

    from pipeline.lineage.read import read_lineage
    from pipeline.lineage.record import write_selected

    trained = read_lineage(workspace / TRAINED_MODEL)
    if trained["base"]["digest"] != base.digest:
        raise SelectInputsError(f"{TRAINED_MODEL} was trained from another base; run `dvc repro -f train`")
    last = int(trained["training"]["steps"])
    known = read_json(workspace / CANDIDATES / "candidates.json")["candidates"]
    saved = {int(row["step"]): workspace / CANDIDATES / row["folder"] for row in known if row["step"] < last}
    rows: list[dict[str, Any]] = []
    sheet = None
    chosen, why = last, "the run saved no other candidate"
    if saved:
        from pipeline.evaluation.selection import choose, reason

        judged, rows, sheet = _judge_all(workspace, params, base, suite, saved, last, folders)
        found = choose(judged, params.evaluate.bootstrap, params.evaluate.seed)
        chosen, why = found.step, reason(judged, found)
    selection = {
        "step": chosen,
        "suite": {"name": suite.name, "digest": suite.digest, "seeds": params.select.seeds},
        "candidates": rows,
    }
    with whole_folder(workspace / SELECTED) as fresh:
        if chosen == last:
            shutil.copytree(workspace / TRAINED_MODEL, fresh / MODEL.name, copy_function=link_or_copy)
        else:
            _export(workspace, params, base, saved[chosen], fresh / MODEL.name)
        steps = [row["step"] for row in rows]
        write_selected(fresh / MODEL.name, trained, {"step": chosen, "candidates": steps, "suite": selection["suite"]})
        write_json(fresh / SELECTION.name, selection)
        write_table(fresh / SELECTION_CURVE.name, _curve(rows))
        if sheet is not None:
            sheet.save(fresh / SELECTION_SHEET.name)
    shutil.rmtree(workspace / STATE / "select", ignore_errors=True)
    print(f"step {chosen} is selected: {why}; the model is in {MODEL}")


def _judge_all(
    workspace: Path,
    params: Params,
    base: ResolvedBase,
    suite: Any,
    saved: dict[int, Path],
    last: int,
    folders: dict[str, Path | None],
) -> tuple[list[Any], list[dict[str, Any]], Any]:
    """The figures of every candidate in the order of steps, the same as rows, and a sheet of their pictures."""
    from pipeline.evaluation.contact_sheet import draw_sheet
    from pipeline.evaluation.gates import judge_gates
    from pipeline.evaluation.judge import judge
    from pipeline.evaluation.selection import sample_gates, summarise
    from pipeline.lineage.digests import content_digest

    backbones = load_backbones(folders, params.evaluate)
    photos = references(workspace, read_manifest(workspace / MANIFEST))
    size = params.prepare.size or native_size(base.folder)
    plain = Source("base", base.folder, base.digest, base.variant)
    settings = params.evaluate
    by_base = draw_suite(workspace, suite, params.select.seeds, params.select.draw, size, [plain])
    judged, rows, shown, drawn_in = [], [], [], []
    for step in [*sorted(saved), last]:
        model = workspace / TRAINED_MODEL
        if step != last:
            model = workspace / STATE / "select" / f"step-{step}"
            shutil.rmtree(model, ignore_errors=True)
            _export(workspace, params, base, saved[step], model)
        source = Source(f"step {step}", model, content_digest(model))
        drawn = draw_suite(workspace, suite, params.select.seeds, params.select.draw, size, [source])
        evaluation = judge([*drawn, *by_base], photos, backbones, vocabulary(params.subject, suite), settings)
        gates = judge_gates(evaluation, params.gates, by_value=True)
        found = summarise(step, evaluation, gates, settings.bootstrap, settings.seed)
        judged.append(found)
        rows.append({**found.row, "content_digest": source.digest})
        figures = f"likeness {found.likeness:.3f}, fidelity {found.fidelity:.3f}"
        print(f"step {step}: likeness x fidelity {found.merit:.3f} ({figures}); {sample_gates(found, len(drawn))}")
        shown.append((f"step {step}", [item.path for item in drawn if item.seed == params.select.seeds[0]]))
        drawn_in.append(source.drawn(workspace))
        if step != last:  # a pipeline of gigabytes: only one is kept at a time
            shutil.rmtree(model)
    shown.insert(0, ("base model", [item.path for item in by_base if item.seed == params.select.seeds[0]]))
    sheet = draw_sheet(shown)
    for folder in drawn_in:
        shutil.rmtree(folder, ignore_errors=True)
    return judged, rows, sheet


def _export(workspace: Path, params: Params, base: ResolvedBase, candidate: Path, model: Path) -> None:
    from pipeline.training.candidates import export_candidate
    from pipeline.training.job import Job

    job = Job(
        base=base.folder,
        variant=base.variant,
        photos=[],
        class_images=[],
        token=params.subject.token,
        class_noun=params.subject.class_noun,
        params=params.train,
        checkpoints=workspace / STATE,
        model=model,
    )
    export_candidate(job, candidate, model)


def _curve(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    names = ("step", "merit", "error", "likeness", "fidelity")
    return [{name: round(float(row[name]), 4) for name in names} for row in rows]


if __name__ == "__main__":
    main(run)
