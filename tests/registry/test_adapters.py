"""LoRA layers in MLflow's diffusers flavor: they load onto the base, and name the revision that was trained on."""

from pathlib import Path

import mlflow
import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from pipeline.registry.adapters import log_adapters
from pipeline.registry.store import connect, experiment_id


@pytest.fixture
def lineage(tiny_base: Path) -> dict:
    return {
        "base": {"model": str(tiny_base), "revision": "c0ffee", "digest": "b" * 64},
        "weights": {"content_digest": "a" * 64},
        "environment": {"libraries": {"torch": torch.__version__}},
    }


def test_adapters_load_onto_the_base(
    tiny_base: Path, lineage: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = connect(tmp_path)
    run_id = client.create_run(experiment_id(client, "e", tmp_path)).info.run_id
    assert log_adapters(client, run_id, tmp_path, lineage) == {}

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights="gaussian"))
    layers = {name: torch.full_like(value, 0.5) for name, value in get_peft_model_state_dict(pipeline.unet).items()}
    StableDiffusionPipeline.save_lora_weights(tmp_path / "adapters", unet_lora_layers=layers)
    uri = log_adapters(client, run_id, tmp_path, lineage)["adapter"]
    assert uri == f"runs:/{run_id}/adapter/{'a' * 16}"

    info = mlflow.models.get_model_info(uri)
    flavor = info.flavors["diffusers"]
    assert (flavor["base_model"], flavor["base_model_revision"]) == (str(tiny_base), "c0ffee")
    assert info.metadata == {"content_digest": "a" * 64, "base_digest": "b" * 64}
    loaded = mlflow.diffusers.load_model(uri).load_pipeline(revision=None, device="cpu")
    found = get_peft_model_state_dict(loaded.unet, adapter_name=next(iter(loaded.unet.peft_config)))
    assert len(found) == len(layers) > 0
    assert all(torch.equal(value, torch.full_like(value, 0.5)) for value in found.values())
    stored = Path(mlflow.artifacts.download_artifacts(uri))
    assert [path.name for path in stored.rglob("*") if path.suffix in (".pkl", ".bin", ".pt", ".ckpt")] == []
