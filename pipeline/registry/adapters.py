"""LoRA adapters in MLflow's own diffusers flavor, beside the whole model."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.files import scratch_folder
from pipeline.lineage.verify_files import folder_files
from pipeline.registry.versions import adapter_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOT_LOOKED_UP = "./base"  # MLflow asks the hub for the newest commit of anything that is not a path


def log_adapters(client: "MlflowClient", run_id: str, model: Path, lineage: dict[str, Any]) -> dict[str, str]:
    """Put a model's LoRA layers into the run's artifacts as an MLflow model.

    Returns:
        The version's tags `adapter`, its URI, and `adapter_files`, sha256 by path as JSON; none where it has no layers.

    `mlflow.diffusers.load_model(uri)` gives a flavor model, `.load_pipeline()` of it the base with the layers. MLflow
    would note the newest commit of the base on the hub; what is noted here is the revision that was trained on.
    """
    weights = sorted((model / "adapters").glob("*.safetensors"))
    if not weights:
        return {}
    import mlflow.diffusers

    logging.getLogger("mlflow.utils.requirements_utils").setLevel(logging.ERROR)
    base, digest = lineage["base"], str(lineage["weights"]["content_digest"])
    libraries = lineage["environment"]["libraries"]
    with scratch_folder() as folder:
        saved = Path(folder) / "adapter"
        mlflow.diffusers.save_model(
            path=str(saved),
            adapter_path=str(weights[0]),
            base_model=NOT_LOOKED_UP,
            metadata={"content_digest": digest, "base_digest": base["digest"]},
            pip_requirements=[
                f"{name}=={libraries[name]}" for name in ("diffusers", "torch", "transformers") if name in libraries
            ]
            + ["peft"],
        )
        described = saved / "MLmodel"
        text = yaml.safe_load(described.read_text(encoding="utf-8"))
        text["flavors"]["diffusers"]["base_model"] = base["model"]
        if base["revision"]:
            text["flavors"]["diffusers"]["base_model_revision"] = base["revision"]
        described.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
        where = adapter_folder(digest)
        files = json.dumps(folder_files(saved), sort_keys=True)
        client.log_artifacts(run_id, str(saved), where)
    return {"adapter": f"runs:/{run_id}/{where}", "adapter_files": files}
