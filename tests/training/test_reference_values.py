"""The embedded base and three tiny trainings, held to values on record: moving code changes neither.

The base is held by its content digest. Trainings are held by numbers within a tolerance and not by a digest, since
processors differ in the last bits of a product.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.base.components import load_parts
from pipeline.base.digest import folder_digest
from pipeline.base.resolve import COMPONENTS
from pipeline.training.training_loop import train
from tests.training.jobs import TOKEN, UNET, weights

ROOT = Path(__file__).resolve().parents[2]
POCKET = "ed4b508ced3deca4d8eaa6f2ef6abb8d2f15c5d8a32c46fbb520f8a8c480efa9"
# The parameters that differ, the three losses, how far the U-Net moved (L2), and the length of the token's embedding.
TRAININGS: dict[str, tuple[dict[str, Any], list[float], float, float]] = {
    "full, fp32": ({"optimizer": "adamw", "precision": "fp32"}, [1.04191, 1.04169, 1.01542], 0.208283, 0.0847),
    "full, bf16, 8-bit": (
        {"optimizer": "adamw-8bit", "precision": "bf16"},
        [1.04191, 1.04174, 1.01551],
        0.208327,
        0.0847,
    ),
    "lora, bf16": (
        {"method": "dreambooth-lora", "optimizer": "adamw", "precision": "bf16"},
        [1.04191, 1.06711, 1.06028],
        0.0180273,
        0.0845,
    ),
}


def distance(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> float:
    """L2 distance between the tensors of two models that `old` names."""
    return sum((new[name].double() - old[name].double()).square().sum().item() for name in old) ** 0.5


def test_the_embedded_base_has_the_recorded_content() -> None:
    assert folder_digest(ROOT / "pocket" / "model", COMPONENTS) == POCKET


@pytest.mark.parametrize("name", TRAININGS)
def test_a_tiny_training_has_the_recorded_course(job, tiny_base: Path, name: str) -> None:
    changes, losses, moved, length = TRAININGS[name]
    prior = {"kind": "images", "weight": 0.5}
    done = job(steps=3, token=TOKEN, prior=prior, snr_gamma=None, learning_rate=3e-4, **changes)
    assert [row["instance_loss"] for row in train(done).rows] == pytest.approx(losses, rel=5e-4)
    assert distance(load_file(tiny_base / UNET), weights(done)) == pytest.approx(moved, rel=5e-3)
    row = load_parts(done.model).text_encoder.get_input_embeddings().weight[-1]
    assert row.norm().item() == pytest.approx(length, rel=5e-3)
