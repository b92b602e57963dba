"""LoRA layers in MLflow's own diffusers flavor: a version that has them can be loaded as an adapter of its base."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.files import scratch_folder
from pipeline.registry.artifacts import Artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient


def adapter_flavor(model: Path, lineage: dict[str, Any], folder: str) -> dict[str, Any] | None:
    """What MLflow's diffusers flavor says of a model folder's LoRA layers; None where it has none.

    Args:
        folder: the model folder's path below MLflow's.
    """
    weights = sorted((model / "adapters").glob("*.safetensors"))
    if not weights:
        return None
    base = lineage["base"]
    named = {"adapter_type": "lora", "adapter_weights": f"{folder}/adapters", "weight_name": weights[0].name}
    revision = {"base_model_revision": base["revision"]} if base["revision"] else {}
    return {**named, "base_model": base["model"], **revision, "code": None}


def add_adapter_flavor(client: "MlflowClient", model_id: str, flavor: dict[str, Any]) -> None:
    """Let a logged model be loaded by `mlflow.diffusers.load_model` as well, whose `.load_pipeline()` is the base with
    the layers.

    MLflow would note the newest commit of the base on the hub; what is noted here is the revision that was trained on.
    """
    location = str(client.get_logged_model(model_id).artifact_location).rstrip("/")
    with scratch_folder() as scratch:
        described = Artifacts(client, Path(scratch) / "fetched").at(f"{location}/MLmodel")
        text = yaml.safe_load(described.read_text(encoding="utf-8"))
        text["flavors"]["diffusers"] = flavor
        fresh = Path(scratch) / "MLmodel"
        fresh.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
        client.log_model_artifact(model_id, str(fresh))
