"""Stage `evaluate`: the drawn pictures judged, and the report."""

from pathlib import Path
from typing import Any

from pipeline.base.resolve import resolve_identity, resolve_scorer
from pipeline.evaluation.suite import load_suite
from pipeline.files import read_jsonl, write_json
from pipeline.layout import EVALUATION, MANIFEST, METRICS, MODEL, PREPARED, REPORT, REPORT_PAGE, SAMPLES, SAMPLES_INDEX
from pipeline.params import Params
from pipeline.photos.manifest import read_manifest
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Write `reports/evaluation.json`, `reports/metrics.json` and `reports/report/`.

    Raises:
        BaseNotFound: the scorer or the identity encoder is not to be had.
        SuiteError: sample.suite names no suite that can be used.
    """
    scorer = resolve_scorer(params.evaluate, params.base)
    identity = resolve_identity(params.evaluate, params.base)
    suite = load_suite(params.sample.suite, params.subject)

    from pipeline.evaluation.backbones import Clip, Encoder
    from pipeline.evaluation.judge import Drawn, judge
    from pipeline.evaluation.report import Material, sentence, write_report
    from pipeline.lineage.read import read_lineage

    photos = read_manifest(workspace / MANIFEST)
    rows = read_jsonl(workspace / SAMPLES_INDEX)
    drawn = [
        Drawn(
            path=workspace / SAMPLES / row["file"],
            **{name: row[name] for name in ("model", "kind", "prompt_id", "group", "twin", "seed")},
        )
        for row in rows
    ]
    files = {
        split: [workspace / PREPARED / p.file for p in photos if p.split == split] for split in ("train", "heldout")
    }
    clip = Clip(scorer)
    encoder = Encoder(identity) if identity else clip
    evaluation: dict[str, Any] = {
        "suite": {"name": suite.name, "digest": suite.digest, "seeds": params.sample.seeds},
        "scorer": {"model": params.evaluate.scorer, "revision": params.evaluate.revision, "digest": clip.digest},
        "identity_encoder": {
            "model": params.evaluate.identity,
            "revision": params.evaluate.identity_revision,
            "digest": encoder.digest,
        },
        **judge(drawn, files["train"], files["heldout"], clip, params.evaluate, encoder if identity else None),
    }
    evaluation["summary"] = sentence(evaluation, params.subject.token)
    material = Material(
        params=params,
        photos=photos,
        prepared=workspace / PREPARED,
        prompts={prompt.id: prompt.text for prompt in suite.prompts},
        drawn=drawn,
        evaluation=evaluation,
        lineage=read_lineage(workspace / MODEL),
    )
    write_report(workspace / REPORT, material)
    write_json(workspace / METRICS, overall(evaluation))
    write_json(workspace / EVALUATION, evaluation)
    print(evaluation["summary"])
    print(f"report: {REPORT_PAGE}")


def overall(evaluation: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The figures over all prompts: {metric: {tuned, base, difference}}."""
    found: dict[str, dict[str, float]] = {}
    for row in evaluation["metrics"]:
        if row["group"] == "all":
            found.setdefault(row["metric"], {})[row["model"]] = row["value"]
    return found


if __name__ == "__main__":
    main(run)
