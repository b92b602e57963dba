"""Drawing and judging on a GPU, a pretend one where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.evaluation.backbones import Clip
from pipeline.sampling.sampler import Request, Sampler
from tests.pretend.fixtures import Gpu
from tests.tiny import picture

pytestmark = pytest.mark.gpu
REQUESTS = [Request(f"a photo of a plush toy, {number}", number) for number in range(3)]


def draw(base: Path, batch: int, precision: str = "fp32") -> list[np.ndarray]:
    sampler = Sampler.load(base, "ddim", precision)
    return [np.asarray(one, np.int16) for one in sampler.draw(REQUESTS, steps=2, guidance=3.0, size=32, batch=batch)]


def test_a_picture_is_that_of_the_cpu(tiny_base: Path, request) -> None:
    expected = draw(tiny_base, 3)
    request.getfixturevalue("gpu")
    for batch in (1, 2):
        for one, other in zip(draw(tiny_base, batch), expected, strict=True):
            assert np.abs(one - other).max() <= 1


def test_in_bf16_a_picture_is_nearly_the_same(tiny_base: Path, gpu: Gpu) -> None:
    for one, other in zip(draw(tiny_base, 3, "bf16"), draw(tiny_base, 3), strict=True):
        assert 0 < np.abs(one - other).mean() < 5


def test_where_memory_runs_out_fewer_pictures_are_drawn_at_once(tiny_base: Path, gpu: Gpu) -> None:
    gpu.start_peak()
    expected = draw(tiny_base, 1)
    one = gpu.peak()
    gpu.start_peak()
    draw(tiny_base, 3)
    assert gpu.peak() > one
    gpu.limit((one + gpu.peak()) // 2)
    found = draw(tiny_base, 3)
    assert all(np.abs(one - other).max() <= 1 for one, other in zip(found, expected, strict=True))
    gpu.limit(one // 2)
    with pytest.raises(torch.OutOfMemoryError):
        draw(tiny_base, 3)


def test_a_judge_sees_what_it_sees_on_the_cpu(tiny_scorer: Path, tmp_path: Path, request) -> None:
    files = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, file in enumerate(files):
        picture(seed).save(file)
    on_cpu = Clip(tiny_scorer)
    expected = on_cpu.pictures(files), on_cpu.texts(["a plush toy"])
    gpu: Gpu = request.getfixturevalue("gpu")
    judge = Clip(tiny_scorer)
    assert judge.device == gpu.device.type
    assert torch.allclose(judge.pictures(files), expected[0], atol=1e-3 if gpu.real else 1e-6)
    assert torch.allclose(judge.texts(["a plush toy"]), expected[1], atol=1e-3 if gpu.real else 1e-6)
