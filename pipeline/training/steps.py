"""One optimizer step's gradients: the effective batch in micro-batches that fit the memory."""

import copy
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from accelerate import Accelerator

from pipeline.base.components import Parts
from pipeline.params import Train
from pipeline.training.attention import prepare_attention
from pipeline.training.captions import Captions
from pipeline.training.distributed import reduce_sums
from pipeline.training.meter import Meter
from pipeline.training.objective import dreambooth_loss, sample_losses, snr_weights, training_target
from pipeline.training.precision import NarrowCopies
from pipeline.training.stream import Batch, Stream, by_shape
from pipeline.training.trainable import Learned, without_adapters


def frozen_copy(unet: Any, params: Train) -> Any | None:
    """The base's U-Net as it is now, where class samples are held to its prediction and training will change it."""
    if params.prior.kind == "images" or params.method != "dreambooth":
        return None
    return copy.deepcopy(unet).requires_grad_(False).eval()


def compiled(unet: Any) -> Any:
    """The U-Net through `torch.compile`: minutes before the first step, then faster ones."""
    return torch.compile(unet)


class Stepper:
    """Draws the batch of a step, computes its losses and adds up the gradients.

    `frozen` is what class samples are held to with `prior.kind: prediction` (None with LoRA: the adapters are switched
    off instead). Layers compute with `copies` where there are any.
    """

    def __init__(
        self,
        parts: Parts,
        learned: Learned,
        streams: list[Stream],
        captions: Captions,
        accelerator: Accelerator,
        params: Train,
        frozen: Any,
        copies: NarrowCopies,
    ):
        self.learned, self.copies = learned, copies
        self.unet, self.schedule = parts.unet.train(), parts.schedule
        if params.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.streams, self.captions, self.accelerator, self.params = streams, captions, accelerator, params
        self.device = accelerator.device
        self.frozen = frozen.to(self.device) if frozen is not None else None
        for unet in (self.unet, self.frozen):
            if unet is not None:
                prepare_attention(unet, self.device.type, params.precision)
        self.alphas = parts.schedule.alphas_cumprod.to(self.device)
        self.kind = parts.schedule.config.prediction_type
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.micro = params.batch
        self.total = params.batch * params.gradient_accumulation * self.processes
        self.run_unet = compiled(self.unet) if params.compile else self.unet
        self.read_ahead = self.device.type != "cpu"  # on a CPU there is nothing to wait for
        self.worker = ThreadPoolExecutor(1, "batches")
        self.ahead: dict[tuple[int, range], Future[list[Batch]]] = {}

    def run(self, step: int, meter: Meter) -> None:
        """Gradients of the mean loss over the effective batch of `step`; the meter counts it.

        When memory runs out the micro-batch is halved, for good, and the step begins again: the effective batch and
        its random numbers stay the same.
        """
        while True:
            try:
                return self._accumulate(step, meter)
            except torch.OutOfMemoryError:
                if self.micro == 1:
                    raise
                self.micro = (self.micro + 1) // 2
                for parameter in self.learned.parameters:
                    parameter.grad = None
                torch.cuda.empty_cache()
                print(
                    f"out of memory: going on with micro-batches of {self.micro}, {self.total} photos a step as before"
                )

    def _accumulate(self, step: int, meter: Meter) -> None:
        sums: dict[str, torch.Tensor] = {}
        losses, timesteps = [], []
        for batch in self.batches(step):
            with self.copies:
                found, single = self._losses(batch)
                self.accelerator.backward(found["loss"])
            for name, value in found.items():
                sums[name] = sums.get(name, 0) + value.detach()
            losses.append(single[~batch.classes].detach())
            timesteps.append(batch.timesteps[~batch.classes])
        meter.count(reduce_sums(sums, self.accelerator), torch.cat(losses), torch.cat(timesteps))

    def batches(self, step: int) -> Iterator[Batch]:
        """The effective batch of `step` in micro-batches of one shape, on the device; the next is made meanwhile."""
        parts = [(step, places) for places in self._places()]
        for part, following in zip(parts, [*parts[1:], (step + 1, parts[0][1])], strict=True):
            ready = self.ahead.pop(part, None)
            drawn = self._draw(*part) if ready is None else ready.result()
            if self.read_ahead:
                self.ahead = {following: self.worker.submit(self._draw, *following)}
            for batch in drawn:
                yield batch.to(self.device)

    def _places(self) -> list[range]:
        """This process's share of the effective batch, in micro-batches."""
        mine = range(self.rank, self.total, self.processes)
        return [mine[first : first + self.micro] for first in range(0, len(mine), self.micro)]

    def _draw(self, step: int, places: range) -> list[Batch]:
        """The instance samples at these places of the effective batch, and as many class samples, by shape."""
        count = len(self.alphas)
        drawn = [stream.draw(self.params.seed, step, places, self.total, count) for stream in self.streams]
        return by_shape([one for part in drawn for one in part])

    def files(self, step: int) -> list[str]:
        """The photos of a step, whichever process they went to."""
        drawn = self.streams[0].draw(self.params.seed, step, range(self.total), self.total, len(self.alphas))
        return [one.file for one in drawn]

    def _losses(self, batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        noisy = self.schedule.add_noise(batch.latents, batch.noises, batch.timesteps)
        with self.accelerator.autocast():
            states = self.captions.states(batch.captions)
        predicted = self.predict(self.run_unet, noisy, batch.timesteps, states)
        target = training_target(self.schedule, batch.latents, batch.noises, batch.timesteps)
        classes = batch.classes
        if self.params.prior.kind == "prediction" and bool(classes.any()):
            target = target.clone()
            target[classes] = self._prior(noisy[classes], batch.timesteps[classes], states[classes]).to(target.dtype)
        weights = snr_weights(self.alphas, batch.timesteps, self.params.snr_gamma, self.kind)
        losses = sample_losses(predicted, target, batch.focus)
        found = dreambooth_loss(losses, weights, classes, self.total, self.params.prior.weight)
        if len(self.streams) == 1:
            del found["prior_loss"]
        return found, losses

    def predict(self, unet: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The U-Net's output in the run's precision."""
        with self.accelerator.autocast():
            return unet(noisy, timesteps, states).sample

    @torch.no_grad()
    def _prior(self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        if self.frozen is not None:
            return self.predict(self.frozen, noisy, timesteps, states)
        with without_adapters(self.unet):
            return self.predict(self.unet, noisy, timesteps, states)
