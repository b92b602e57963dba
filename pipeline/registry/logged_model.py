"""What MLflow keeps of a version: the folder that serves it, logged with the run that trained it."""

import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import scratch_folder
from pipeline.layout import MODEL
from pipeline.lineage.verify_files import WEIGHTS_IN_SERVED, folder_files
from pipeline.params import Params
from pipeline.registry.adapters import adapter_flavor, add_adapter_flavor
from pipeline.registry.artifacts import Artifacts, ArtifactsAway
from pipeline.registry.shared_parts import store_shared
from pipeline.registry.stored_files import remove_file, sizes_below

if TYPE_CHECKING:
    from mlflow import MlflowClient

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
CONTENT = "content_digest"  # tag of what was uploaded, by which a killed registration is found
UNFINISHED_S = 24 * 3600  # an upload that is older and has no version was given up
SERVED = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "pillow",
    "numpy",
    "pydantic",
    "pyyaml",
    "mlflow",
    "c2pa-python",
    "cryptography",
)


def discard(client: "MlflowClient", model_id: str) -> None:
    """Delete what was logged and no version uses, with its files, which MLflow itself would keep.

    A store that lets nobody delete keeps them, too; that stops no registration.
    """
    location = str(client.get_logged_model(model_id).artifact_location)
    client.delete_logged_model(model_id)
    with suppress(ArtifactsAway):
        for path in sizes_below(location):
            remove_file(location, path)


def served_files(client: "MlflowClient", uri: str) -> dict[str, str]:
    """sha256 by path of what was logged beside the weights: the code and the settings that serve them."""
    location = client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    with scratch_folder() as scratch:
        folder = Artifacts(client, Path(scratch)).without(str(location), WEIGHTS_IN_SERVED)
        return folder_files(folder, without=WEIGHTS_IN_SERVED)


def log_model(
    client: "MlflowClient", params: Params, model: Path, run_id: str, size: int, lineage: dict[str, Any]
) -> tuple[str, dict[str, Path]]:
    """Log the pipeline as a pyfunc model of the run. Files that versions share are stored once.

    Returns:
        Its URI, and the shared files by their digests.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    draw = params.sample.draw
    # MLflow makes of a plain list of prompts a table whose only column is 0; without that column it refuses the list.
    columns = [(DataType.string, 0), (DataType.string, "prompt"), (DataType.long, "seed")]
    signature = ModelSignature(
        inputs=Schema([ColSpec(kind, column, required=False) for kind, column in columns]),
        outputs=Schema([ColSpec(DataType.binary, "image")]),
        params=ParamSchema(
            [
                ParamSpec("negative", DataType.string, ""),
                # What a caller names counts more than the recipe; None tells that from what is left out.
                ParamSpec("steps", DataType.integer, None),
                ParamSpec("guidance", DataType.double, None),
                ParamSpec("size", DataType.integer, size),
                ParamSpec("count", DataType.integer, 1),
                ParamSpec("recipe", DataType.string, ""),
                ParamSpec("control", DataType.string, ""),
                ParamSpec("reference", DataType.string, ""),
            ]
        ),
    )
    versions, digest = lineage["environment"]["libraries"], str(lineage["weights"]["content_digest"])
    with scratch_folder() as scratch, warnings.catch_warnings(), mlflow.start_run(run_id, log_system_metrics=False):
        warnings.simplefilter("ignore", UserWarning)  # an example would be drawn, for nothing
        own = Path(scratch) / MODEL.name
        shared = store_shared(client, run_id, model, own)
        info = mlflow.pyfunc.log_model(
            name="model",
            tags={CONTENT: digest},
            python_model=str(HERE / "served_model.py"),
            artifacts={"pipeline": str(own)},
            code_paths=[str(PACKAGE)],
            pip_requirements=[f"{name}=={versions[name]}" for name in SERVED if name in versions],
            signature=signature,
            metadata={"content_digest": digest, "base_digest": lineage["base"]["digest"]},
            model_config={
                "scheduler": draw.scheduler,
                "precision": draw.precision,
                "steps": draw.steps,
                "guidance": draw.guidance,
                "batch": draw.batch,
                "size": size,
            },
        )
    uri = str(info.model_uri)
    flavor = adapter_flavor(model, lineage, f"{WEIGHTS_IN_SERVED}/{MODEL.name}")
    if flavor is not None:
        add_adapter_flavor(client, uri.removeprefix("models:/"), flavor)
    return uri, shared


def sweep_unfinished(client: "MlflowClient", run_id: str, digest: str, used: list[str]) -> None:
    """Delete what killed registrations of this content by this run uploaded: no version uses it.

    What is younger than a day may be the upload of a process that is still at work.

    Args:
        used: where the files of this run's versions are. MLflow's list of versions does not say which upload each uses;
            where its files are, it does.
    """
    oldest = (time.time() - UNFINISHED_S) * 1000
    experiment = client.get_run(run_id).info.experiment_id
    token = None
    while True:
        page = client.search_logged_models([experiment], f"source_run_id = '{run_id}'", page_token=token)
        for logged in page:
            left = logged.tags.get(CONTENT) == digest and logged.creation_timestamp < oldest
            if left and not any(logged.model_id in source for source in used):
                discard(client, logged.model_id)
        token = page.token
        if not token:
            return
