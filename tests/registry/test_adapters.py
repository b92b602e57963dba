"""LoRA layers in MLflow's diffusers flavor: they load onto the base, and name the revision that was trained on."""

from pathlib import Path

import mlflow
import torch
from safetensors.torch import load_file

from pipeline import layout
from pipeline.registry.adapters import adapter_flavor
from pipeline.registry.store import connect
from tests.stages.test_chain import run

LORA = {"rank": 2, "alpha": 2, "dora": False, "targets": ["to_q"]}


def test_a_version_loads_as_an_adapter_of_its_base(project, tiny_base: Path) -> None:
    workspace = project(train={"method": "dreambooth-lora", "lora": LORA, "learning_rate": 0.01, "save_every": 0})
    run(workspace)
    version = connect(workspace).get_model_version("mysks", "1")
    info = mlflow.models.get_model_info(version.tags["adapter"])
    assert info.flavors["diffusers"]["base_model"] == str(tiny_base)
    assert info.metadata["content_digest"] == version.tags["content_digest"]
    loaded = mlflow.diffusers.load_model(version.tags["adapter"]).load_pipeline(device="cpu")
    (file,) = (workspace / layout.MODEL / "adapters").glob("*.safetensors")
    wanted = [tensor for name, tensor in load_file(file).items() if name.endswith("lora_up.weight")]
    found = [value for name, value in loaded.unet.named_parameters() if "lora_B" in name]
    assert len(found) == len(wanted) > 0
    assert all(any(torch.equal(one, other) for other in wanted) for one in found)
    files = [path.suffix for path in Path(mlflow.artifacts.download_artifacts(version.tags["adapter"])).rglob("*")]
    assert set(files).isdisjoint({".pkl", ".bin", ".pt", ".ckpt"})


def test_the_flavor_names_the_revision_that_was_trained_on(tmp_path: Path) -> None:
    base = {"model": "owner/name", "revision": "c0ffee", "digest": "b" * 64}
    assert adapter_flavor(tmp_path, {"base": base}, "artifacts/model") is None
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "kohya.safetensors").write_bytes(b"")
    flavor = adapter_flavor(tmp_path, {"base": base}, "artifacts/model")
    assert flavor is not None and (flavor["base_model"], flavor["base_model_revision"]) == ("owner/name", "c0ffee")
