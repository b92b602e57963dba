import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.params import MOST_DRAWING_STEPS
from pipeline.sampling.sampler import Request, Sampler, make_scheduler


@pytest.fixture(scope="module")
def sampler(tiny_base: Path) -> Sampler:
    return Sampler.load(tiny_base, "ddim", "fp32")


def draw(sampler: Sampler, requests: list[Request], batch: int) -> list[np.ndarray]:
    return [np.asarray(picture) for picture in sampler.draw(requests, 2, 3.0, 32, batch)]


def test_on_a_cpu_a_picture_hangs_on_its_prompt_and_seed_alone_bit_for_bit(sampler: Sampler) -> None:
    wanted = [Request("a toy", 1), Request("a toy", 2), Request("plush", 1)]
    forward = draw(sampler, wanted, 3)
    backward = draw(sampler, wanted[::-1], 2)[::-1]
    alone = draw(sampler, wanted[:1], 1)
    crowded = draw(sampler, [*wanted, *(Request("plush", seed) for seed in range(9))], 8)
    for one, other, third in zip(forward, backward, crowded[:3], strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, third)
    assert np.array_equal(forward[0], alone[0])
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(forward[0], forward[2])


def test_the_same_request_gives_the_same_bytes(sampler: Sampler) -> None:
    first, second = draw(sampler, [Request("a toy", 7)], 1), draw(sampler, [Request("a toy", 7)], 1)
    assert np.array_equal(first[0], second[0])


@pytest.fixture
def cores() -> Iterator[Callable[[int], None]]:
    """Sets how many threads layers may use."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def on_cores(tiny_base: Path, requests: list[Request], scheduler: str = "ddim") -> list[np.ndarray]:
    """Drawn by a sampler that has not drawn yet."""
    return draw(Sampler.load(tiny_base, scheduler, "fp32"), requests, 8)


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp-2m"])
def test_lanes_draw_what_one_core_draws_in_the_order_asked_for(tiny_base: Path, cores, scheduler: str) -> None:
    wanted = [Request(f"a toy {number % 3}", number) for number in range(30)]
    cores(1)
    alone = on_cores(tiny_base, wanted, scheduler)
    cores(2)
    for one, other in zip(alone, on_cores(tiny_base, wanted, scheduler), strict=True):
        assert np.array_equal(one, other)


def test_two_lanes_work_at_the_same_time(tiny_base: Path, cores, monkeypatch: pytest.MonkeyPatch) -> None:
    cores(2)
    both = threading.Barrier(2, timeout=60)
    real = Sampler._draw_batch

    def meet(lane: Sampler, *arguments):
        both.wait()
        return real(lane, *arguments)

    monkeypatch.setattr(Sampler, "_draw_batch", meet)
    assert len(on_cores(tiny_base, [Request("a toy", seed) for seed in range(8)])) == 8


def test_an_error_in_a_lane_is_told_and_the_sampler_draws_on(tiny_base: Path, cores, monkeypatch) -> None:
    cores(2)
    sampler = Sampler.load(tiny_base, "ddim", "fp32")
    wanted = [Request("a toy", seed) for seed in range(20)]
    real = Sampler._draw_batch

    def fails(lane: Sampler, requests: list[Request], *arguments):
        if requests[0].seed == 8:
            raise ValueError("the third batch")
        return real(lane, requests, *arguments)

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="the third batch"):
        patch.setattr(Sampler, "_draw_batch", fails)
        draw(sampler, wanted, 8)
    first = next(iter(sampler.draw(wanted, 2, 3.0, 32, 8)))  # left after one picture
    assert np.array_equal(np.asarray(first), draw(sampler, wanted, 8)[0])


def test_another_scheduler_counts_from_the_next_picture_on(tiny_base: Path) -> None:
    sampler = Sampler.load(tiny_base, "ddim", "fp32")
    draw(sampler, [Request("a toy", 1)], 1)
    sampler.pipe.scheduler = make_scheduler(sampler.own_scheduler.config, "dpmpp-2m")
    changed = draw(sampler, [Request("a toy", 1)], 1)[0]
    assert np.array_equal(changed, on_cores(tiny_base, [Request("a toy", 1)], "dpmpp-2m")[0])


def on_a_gpu(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(sampler.pipe), "device", property(lambda pipe: torch.device("cuda")))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def test_when_memory_runs_out_the_batch_is_halved_and_nothing_is_lost(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler.load(tiny_base, "ddim", "fp32")
    pictures = {request.seed: draw(sampler, [request], 1)[0] for request in (Request("a toy", n) for n in range(5))}
    on_a_gpu(sampler, monkeypatch)
    sizes = []

    def small_memory(requests, steps, guidance, size):
        sizes.append(len(requests))
        if len(requests) > 2:
            raise torch.OutOfMemoryError
        return [pictures[request.seed] for request in requests]

    sampler._draw_batch = small_memory
    found = draw(sampler, [Request("a toy", seed) for seed in range(5)], 8)
    assert all(np.array_equal(one, pictures[seed]) for seed, one in enumerate(found))
    assert len(found) == 5
    assert sizes == [5, 4, 2, 2, 1]


def test_one_picture_that_does_not_fit_is_an_error(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler.load(tiny_base, "ddim", "fp32")
    on_a_gpu(sampler, monkeypatch)

    def no_memory(*_):
        raise torch.OutOfMemoryError

    sampler._draw_batch = no_memory
    with pytest.raises(torch.OutOfMemoryError):
        draw(sampler, [Request("a toy", 1), Request("a toy", 2)], 2)


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m"])
def test_schedulers_keep_the_noise_schedule_of_the_base(sampler: Sampler, name: str) -> None:
    made = make_scheduler(sampler.pipe.scheduler.config, name)
    assert made.config.beta_schedule == "scaled_linear"
    assert (made.config.beta_start, made.config.beta_end) == (0.00085, 0.012)


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 2, MOST_DRAWING_STEPS])
def test_every_number_of_steps_that_may_be_asked_for_stays_within_the_noise_schedule(
    sampler: Sampler, name: str, spacing: str, steps: int
) -> None:
    config = {**sampler.own_scheduler.config, "timestep_spacing": spacing, "steps_offset": 1}
    scheduler = make_scheduler(config, name)
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == len(set(scheduler.timesteps.tolist())) == steps
    latents = torch.ones(1, 4, 4, 4)
    for step in scheduler.timesteps:
        latents = scheduler.step(latents, step, latents).prev_sample
    assert torch.isfinite(latents).all()
