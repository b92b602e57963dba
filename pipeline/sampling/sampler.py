"""Drawing pictures in batches, each with a random generator of its own."""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.components import best_device, load_pipeline, precision_of, torch_dtype
from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.threads import sharing_cores

if TYPE_CHECKING:
    from PIL.Image import Image


LANES = 2  # batches of small pictures that a CPU draws side by side, each on its share of the cores
SMALL = 2**15  # pixels of a picture up to which batches are small: their layers keep no more than a core or two at work


@dataclass(frozen=True)
class Request:
    """One picture: what to draw and the seed of its noise."""

    prompt: str
    seed: int
    negative: str = ""


class Sampler:
    """A loaded pipeline that answers requests.

    The starting noise of each picture comes from a generator on the CPU seeded by the request alone, and the
    schedulers used here (DDIM with eta 0, DPM-Solver++ 2M) draw no noise later.
    """

    def __init__(self, pipe: Any, scheduler: str):
        self.pipe = pipe
        self.prompts = PromptEncoder(pipe)
        self.own_scheduler = pipe.scheduler  # as the model's folder has it
        self.pipe.scheduler = make_scheduler(pipe.scheduler.config, scheduler)

    @classmethod
    def load(cls, folder: Path, scheduler: str, precision: str, variant: str | None = None) -> "Sampler":
        """Load a pipeline folder, onto a GPU where there is one."""
        return cls(load_pipeline(folder, torch_dtype(precision), best_device(), variant), scheduler)

    @property
    def precision(self) -> str:
        """What the U-Net computes in: fp32, bf16 or fp16."""
        return precision_of(self.pipe.unet.dtype)

    def draw(
        self, requests: Sequence[Request], steps: int, guidance: float, size: int, batch: int
    ) -> Iterator["Image"]:
        """Draw all requests in order, `batch` at once: RGB pictures of `size` x `size` pixels.

        On a CPU a picture is the same, bit for bit, whatever is drawn beside it: there the arithmetic depends on the
        shape of a batch and the number of threads, so that all batches of a picture size have one shape, whatever
        `batch` is, and a short one is filled up; small pictures are drawn in `LANES` lanes, each with its share of the
        threads, also where one lane has all the work. On a GPU, when memory runs out, the batch is halved and the same
        requests are tried again; a single picture that does not fit raises the original error.
        """
        for _, part in groupby(requests, key=self._windows):
            yield from self._draw_alike(list(part), steps, guidance, size, batch)

    @property
    def record(self) -> dict[str, Any]:
        """What decides the pictures beside model, prompt, seed and settings."""
        return {}

    def record_of(self, request: Request) -> dict[str, Any]:
        """`record`, and what decided the picture of a request that was drawn."""
        return self.record

    def _windows(self, request: Request) -> int:
        """How many windows the prompts of a request take; one batch has requests of the same number."""
        return self.prompts.windows(request.prompt, request.negative)

    def _draw_alike(
        self, requests: Sequence[Request], steps: int, guidance: float, size: int, batch: int
    ) -> Iterator["Image"]:
        """Draw requests whose prompts take the same number of windows."""
        import torch

        if self.pipe.device.type == "cpu":
            yield from self._draw_filled(requests, steps, guidance, size, pictures_at_once(size))
            return
        at = 0
        while at < len(requests):
            part = requests[at : at + batch]
            try:
                pictures = self._draw_batch(part, steps, guidance, size)
            except torch.OutOfMemoryError:
                if batch == 1:
                    raise
                torch.cuda.empty_cache()
                batch //= 2
                continue
            yield from pictures
            at += len(part)

    def _draw_filled(
        self, requests: Sequence[Request], steps: int, guidance: float, size: int, rows: int
    ) -> Iterator["Image"]:
        def draw(sampler: Sampler, part: list[Request]) -> list["Image"]:
            filled = part + [part[-1]] * (rows - len(part))
            return sampler._draw_batch(filled, steps, guidance, size)[: len(part)]

        parts = [list(requests[at : at + rows]) for at in range(0, len(requests), rows)]
        if size**2 > SMALL:
            for part in parts:
                yield from draw(self, part)
        else:
            yield from self._in_lanes(draw, parts)

    def _in_lanes(
        self, draw: Callable[["Sampler", list[Request]], list["Image"]], parts: list[list[Request]]
    ) -> Iterator["Image"]:
        """The pictures of all parts, in order; lanes are never more than one part ahead of who takes them.

        The threads of one small batch wait for each other in every layer, those of two batches never (`python -m
        benchmarks.lanes`). Lanes share the networks; each has a scheduler of its own, which counts the steps.
        """
        lanes = min(LANES, self._cores)
        free = deque(self._with_own_scheduler() for _ in range(lanes))
        under_way: deque[Future[list[Image]]] = deque()

        def run(part: list[Request]) -> list["Image"]:
            lane = free.popleft()
            try:
                return draw(lane, part)
            finally:
                free.append(lane)

        try:
            for part in parts:
                under_way.append(self._pool.submit(run, part))
                if len(under_way) > lanes:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    @cached_property
    def _cores(self) -> int:
        import torch

        return torch.get_num_threads()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """The threads that draw, one a lane."""
        return sharing_cores(min(LANES, self._cores), "lane")

    def _with_own_scheduler(self) -> "Sampler":
        lane = copy.copy(self)
        lane.pipe = copy.copy(self.pipe)
        lane.pipe.scheduler = copy.deepcopy(self.pipe.scheduler)
        return lane

    def _draw_batch(self, requests: Sequence[Request], steps: int, guidance: float, size: int) -> list["Image"]:
        import torch

        texts = [request.prompt for request in requests], [request.negative for request in requests]
        windows = self.prompts.windows(*texts[0], *texts[1])
        with torch.inference_mode():
            prompts, negatives = (self.prompts.states(part, windows) for part in texts)
            answer = self.pipe(
                prompt_embeds=prompts,
                negative_prompt_embeds=negatives,
                generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
                num_inference_steps=steps,
                guidance_scale=guidance,
                height=size,
                width=size,
            )
        return list(answer.images)


def pictures_at_once(size: int) -> int:
    """How many pictures of `size` pixels one batch on a CPU has: four small ones; large ones fill the cores alone."""
    return max(1, min(4, 2**17 // size**2))


# The schedulers by their names in params.yaml: the class in diffusers, and how it is set.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"set_alpha_to_one": False, "clip_sample": False, "steps_offset": 1}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
}


def make_scheduler(config: Any, name: str) -> Any:
    """The sampling scheduler `name` ('ddim' or 'dpmpp-2m') with the noise schedule of `config`."""
    import diffusers

    kind, settings = SCHEDULERS[name]
    return getattr(diffusers, kind).from_config(config, **settings)
