"""Stage `register`: an MLflow model version for the trained content, with its record, report and figures."""

from pathlib import Path

from pipeline.base.resolve import native_size
from pipeline.errors import UserError
from pipeline.files import digest_file, read_json, read_table, write_json
from pipeline.layout import DVC_LOCK, EVALUATION, LINEAGE, MODEL, PARAMS, REGISTRATION, REPORT, RUN, STEPS
from pipeline.params import Params
from pipeline.stages import main


class ContentChanged(UserError):
    """The model is not the one that its record describes."""


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/registration.json`; the version itself lies in MLflow.

    Raises:
        ContentChanged: the weights' digest is not the one in lineage.json.
        StoreError: MLflow does not answer.
    """
    from pipeline.lineage.digests import content_digest
    from pipeline.lineage.read import read_lineage
    from pipeline.registry.runs import ensure_run
    from pipeline.registry.store import connect
    from pipeline.registry.versions import evaluation_metrics, record_folder, register_version

    model = workspace / MODEL
    lineage, evaluation = read_lineage(model), read_json(workspace / EVALUATION)
    recorded, actual = lineage["weights"]["content_digest"], content_digest(model)
    if recorded != actual:
        raise ContentChanged(
            f"{MODEL} has content digest {actual}, but its record says {recorded}: the files were changed after "
            "training; `dvc checkout` brings the trained ones back"
        )
    client = connect(workspace)
    trained = read_json(workspace / RUN)
    run_id = ensure_run(
        workspace,
        params,
        trained,
        read_table(workspace / STEPS),
        lineage["photos"]["dvc_md5"],
        f"{params.subject.name}-{trained['inputs'][:8]}",
    )
    files = [
        workspace / path for path in (PARAMS, DVC_LOCK, EVALUATION, MODEL / LINEAGE) if (workspace / path).is_file()
    ]
    for path in files:
        client.log_artifact(run_id, str(path), record_folder(actual))
    kept = {path.name: digest_file(path) for path in files}
    client.log_artifacts(run_id, str(workspace / REPORT), f"report/{actual[:16]}")
    for name, value in evaluation_metrics(evaluation).items():
        client.log_metric(run_id, name, value)
    size = params.prepare.size or native_size(model)
    version = register_version(client, params, model, run_id, lineage, evaluation, size, kept)
    client.set_terminated(run_id, "FINISHED")
    write_json(
        workspace / REGISTRATION,
        {
            "model": version.model,
            "version": version.version,
            "alias": params.register_.alias,
            "run_id": version.run_id,
            "content_digest": version.content_digest,
        },
    )
    made = "registered" if version.created else "this content is registered already, as"
    print(f"{made} {version.model} version {version.version}, alias {params.register_.alias}")


if __name__ == "__main__":
    main(run)
