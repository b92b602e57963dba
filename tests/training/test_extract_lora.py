"""LoRA layers out of a whole model: exact at full rank, the best of a lower one, and loaded by diffusers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.base.components import load_pipeline
from pipeline.training.extract_lora import ExtractionError, extract_lora, factors, product
from pipeline.training.training_loop import train
from tests.training.jobs import TOKEN, UNET


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (5, 4, 3, 3), (16, 1, 3, 3), (4, 8, 1, 1)], ids=str)
def test_factors_are_the_best_of_their_rank(shape: tuple[int, ...]) -> None:
    change = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
    for rank in (1, 3, 100):
        down, up = factors(change, rank, None)
        best = left[:, :rank] @ values[:rank].diag() @ right[:rank]
        assert torch.allclose(product(down, up).flatten(1), best, atol=1e-5)
    down, up = factors(change, None, 0.8)
    shares = values.square().cumsum(0) / values.square().sum()
    assert len(down) == up.shape[1] == int((shares < 0.8).sum()) + 1


@pytest.fixture
def tuned(job) -> Path:
    learn = {"learn": True, "learning_rate": 0.01}
    done = job("full", steps=3, optimizer="adamw", learning_rate=0.01, token=TOKEN, text_encoder=learn)
    train(done)
    return Path(done.model)


def test_at_full_rank_diffusers_has_the_weights_of_the_model(tuned: Path, tiny_base: Path, tmp_path: Path) -> None:
    found = extract_lora(tiny_base, None, tuned, rank=10_000, energy=None)
    assert 0.9 < found.kept < 1
    save_file(found.tensors, tmp_path / "lora.safetensors", {"format": "pt"})
    pipe: Any = load_pipeline(tiny_base, torch.float32, "cpu")
    pipe.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    model: Any = load_pipeline(tuned, torch.float32, "cpu")
    adapted = 0
    for part in ("unet", "text_encoder"):
        wanted = dict(getattr(model, part).named_parameters())
        for name, parameter in getattr(pipe, part).named_parameters():
            if parameter.ndim > 1 and "embedding.weight" not in name:
                assert torch.allclose(parameter, wanted[name], atol=1e-5), name
                adapted += 1
    assert adapted == found.layers


def test_a_lower_rank_keeps_less_and_a_share_is_kept(tuned: Path, tiny_base: Path) -> None:
    one, four = (extract_lora(tiny_base, None, tuned, rank, None) for rank in (1, 4))
    most = extract_lora(tiny_base, None, tuned, None, 0.9)
    assert one.rank == 1 and one.kept < four.kept
    assert four.kept < most.kept
    assert set(one.tensors) == set(four.tensors)


def test_without_a_change_there_is_nothing_to_extract(tiny_base: Path, tmp_path: Path, tuned: Path) -> None:
    with pytest.raises(ExtractionError, match="nothing to extract"):
        extract_lora(tiny_base, None, tiny_base, 4, None)
    tensors = load_file(tuned / UNET)
    tensors["conv_in.weight"] = torch.zeros(16, 5, 3, 3)
    save_file(tensors, tuned / UNET)
    with pytest.raises(ExtractionError, match=r"conv_in\.weight"):
        extract_lora(tiny_base, None, tuned, 4, None)
