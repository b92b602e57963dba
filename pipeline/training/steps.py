"""The gradients of one optimizer step: the effective batch in micro-batches that fit into memory."""

import copy
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator

from pipeline.base.components import Parts
from pipeline.errors import counted
from pipeline.params import Train
from pipeline.threads import sharing_cores
from pipeline.training.attention import prepare_attention
from pipeline.training.distributed import reduce_losses
from pipeline.training.inputs import Inputs
from pipeline.training.meter import Meter
from pipeline.training.objective import dreambooth_loss, sample_losses, snr_weights, training_target
from pipeline.training.precision import LowPrecisionCopies
from pipeline.training.stream import Batch, collate_by_shape
from pipeline.training.trainable import Trainable, without_adapters

HALVES = 2  # of a micro-batch, computed side by side on a CPU
Losses = tuple[dict[str, torch.Tensor], torch.Tensor]  # by name, and of each sample


def frozen_copy(unet: Any, params: Train) -> Any | None:
    """A copy of the base's U-Net if class samples are compared with its prediction and training changes it."""
    if params.prior.kind == "images" or params.method != "dreambooth" or params.ignores_class_images:
        return None
    return copy.deepcopy(unet).requires_grad_(False).eval()


def compile_unet(unet: Any) -> Any:
    """The U-Net through `torch.compile`: minutes before the first step, then faster steps."""
    return torch.compile(unet)


class Stepper:
    """Makes the batch of a step, computes its losses and accumulates the gradients.

    With `prior.kind: prediction` the target of class samples is the prediction of `frozen_unet`, or (None, with LoRA)
    of the U-Net without its adapters. Layers compute with the low-precision `copies` of their weights, if any.
    """

    def __init__(
        self,
        parts: Parts,
        trainable: Trainable,
        inputs: Inputs,
        accelerator: Accelerator,
        params: Train,
        frozen_unet: Any,
        copies: LowPrecisionCopies,
    ):
        self.trainable, self.copies = trainable, copies
        self.unet, self.schedule = parts.unet.train(), parts.schedule
        if params.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.streams, self.captions, self.prior_states = inputs.streams, inputs.captions, inputs.prior_states
        self.accelerator, self.params = accelerator, params
        self.device = accelerator.device
        self.frozen_unet = frozen_unet.to(self.device) if frozen_unet is not None else None
        for unet in (self.unet, self.frozen_unet):
            if unet is not None:
                prepare_attention(unet, self.device.type, params.precision)
        self.alphas = parts.schedule.alphas_cumprod.to(self.device)
        self.kind = parts.schedule.config.prediction_type
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.micro_batch = params.batch
        self.total = params.batch * params.gradient_accumulation * self.processes
        self.forward_unet = compile_unet(self.unet) if params.compile else self.unet
        self.prefetch = self.device.type != "cpu"  # on a CPU the next batch would compete with the step
        self.worker = ThreadPoolExecutor(1, "batches")
        self.halves = sharing_cores(HALVES, "halves")
        alone = self.device.type != "cpu" or params.compile or self._switches_adapters()
        self.side_by_side = 1 if alone else HALVES
        self.prefetched: dict[tuple[int, range], Future[list[Batch]]] = {}

    def accumulate_gradients(self, step: int, meter: Meter) -> None:
        """Gradients of the mean loss over the effective batch of `step`; its losses go to the meter.

        When GPU memory runs out, the micro-batch is halved for the rest of the run and the step starts again with the
        same effective batch and the same random numbers.

        Raises:
            torch.OutOfMemoryError: even a micro-batch of one does not fit.
        """
        while True:
            try:
                return self._accumulate(step, meter)
            except torch.OutOfMemoryError:
                if self.micro_batch == 1:
                    raise
                self.micro_batch = (self.micro_batch + 1) // 2
                for parameter in self.trainable.parameters:
                    parameter.grad = None
                torch.cuda.empty_cache()
                print(
                    f"GPU memory ran out: continuing with micro-batches of {self.micro_batch}; "
                    f"a step still takes {counted(self.total, 'photo')}"
                )

    def _accumulate(self, step: int, meter: Meter) -> None:
        sums: dict[str, torch.Tensor] = {}
        losses, timesteps = [], []
        for batches in self._side_by_side(step):
            with self.copies:
                done = [self._backward(*batches)] if len(batches) == 1 else self._backward_of_halves(batches)
            for batch, (found, single) in zip(batches, done, strict=True):
                for name, value in found.items():
                    sums[name] = sums.get(name, 0) + value.detach()
                losses.append(single[~batch.classes].detach())
                timesteps.append(batch.timesteps[~batch.classes])
        meter.add_losses(reduce_losses(sums, self.accelerator), torch.cat(losses), torch.cat(timesteps))

    def _side_by_side(self, step: int) -> Iterator[list[Batch]]:
        """The batches of a step that are computed at the same time: on a CPU two, each with half of the threads.

        The threads of a whole wait for each other in every layer, those of two halves once (`python -m
        benchmarks.halves`).
        """
        batches = iter(self.batches(step))
        while group := list(islice(batches, self.side_by_side)):
            yield group

    def _backward(self, batch: Batch) -> Losses:
        """Add a batch's gradients; its losses as `_losses` gives them."""
        found, single = self._losses(batch)
        self.accelerator.backward(self._with_gradients(found["loss"]))
        return found, single

    def _backward_of_halves(self, batches: list[Batch]) -> list[Losses]:
        """As `_backward`, for batches side by side; their gradients are added in order, in float32."""
        parameters = self.trainable.parameters

        def run(batch: Batch) -> tuple[Losses, tuple[torch.Tensor | None, ...]]:
            found, single = self._losses(batch)
            loss = self._with_gradients(found["loss"])
            return (found, single), torch.autograd.grad(loss, parameters, allow_unused=True)

        done = list(self.halves.map(run, batches))
        for parameter, *gradients in zip(parameters, *(found for _, found in done), strict=True):
            for gradient in gradients:
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.float() + gradient
        return [losses for losses, _ in done]

    def _switches_adapters(self) -> bool:
        """Whether a step turns the adapters of the U-Net off and on, which two threads cannot do at the same time."""
        return self.params.prior.kind == "prediction" and self.frozen_unet is None and len(self.streams) > 1

    def _with_gradients(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss, with zero gradients if it depends on no trainable parameter: textual inversion with a micro-batch
        whose captions were all dropped.
        """
        if loss.requires_grad:
            return loss
        return loss + sum(0 * parameter.sum() for parameter in self.trainable.parameters)

    def batches(self, step: int) -> Iterator[Batch]:
        """The effective batch of `step` in micro-batches of one shape, on the device; on a GPU a thread prepares the
        next one meanwhile.
        """
        parts = [(step, positions) for positions in self._positions()]
        for part, following in zip(parts, [*parts[1:], (step + 1, parts[0][1])], strict=True):
            ready = self.prefetched.pop(part, None)
            made = self._make_batches(*part) if ready is None else ready.result()
            if self.prefetch:
                self.prefetched = {following: self.worker.submit(self._make_batches, *following)}
            for batch in made:
                yield batch.to(self.device)

    def _positions(self) -> list[range]:
        """This process's positions in the effective batch, one range for each micro-batch."""
        mine = range(self.rank, self.total, self.processes)
        parts = [mine[first : first + self.micro_batch] for first in range(0, len(mine), self.micro_batch)]
        if self.side_by_side == 1:
            return parts
        return [half for part in parts for half in (part[: (len(part) + 1) // 2], part[(len(part) + 1) // 2 :]) if half]

    def _make_batches(self, step: int, positions: range) -> list[Batch]:
        """The instance samples at these positions, and as many class samples, one batch for each shape."""
        count = len(self.alphas)
        parts = [stream.samples_at(self.params.seed, step, positions, self.total, count) for stream in self.streams]
        return collate_by_shape([sample for part in parts for sample in part])

    def photo_files(self, step: int) -> list[str]:
        """The files of the photos of a step, of all processes."""
        count = len(self.alphas)
        samples = self.streams[0].samples_at(self.params.seed, step, range(self.total), self.total, count)
        return [sample.file for sample in samples]

    def _losses(self, batch: Batch) -> Losses:
        """The micro-batch's losses by name (see `dreambooth_loss`), and the loss of each sample, [batch]."""
        noisy = self.schedule.add_noise(batch.latents, batch.noises, batch.timesteps)
        with self.accelerator.autocast():
            states = self.captions.encode(batch.captions)
        predicted = self.predict(self.forward_unet, noisy, batch.timesteps, states)
        target = training_target(self.schedule, batch.latents, batch.noises, batch.timesteps)
        classes = batch.classes
        if self.params.prior.kind == "prediction" and bool(classes.any()):
            target = target.clone()
            prior_states = self._prior_states(batch, states)
            target[classes] = self._prior(noisy[classes], batch.timesteps[classes], prior_states).to(target.dtype)
        weights = snr_weights(self.alphas, batch.timesteps, self.params.snr_gamma, self.kind)
        losses = sample_losses(predicted, target, batch.loss_masks)
        found = dreambooth_loss(losses, weights, classes, self.total, self.params.prior.weight)
        if len(self.streams) == 1:
            del found["prior_loss"]
        return found, losses

    def predict(self, unet: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The U-Net's output [batch, 4, h, w], computed in the run's precision."""
        with self.accelerator.autocast():
            return unet(noisy, timesteps, states).sample

    def _prior_states(self, batch: Batch, states: torch.Tensor) -> torch.Tensor:
        """The base's hidden states of the class captions: the current ones, unless training changes the encoder."""
        if not self.prior_states:
            return states[batch.classes]
        pairs = zip(batch.captions, batch.classes.tolist(), strict=True)
        return torch.stack([self.prior_states[caption] for caption, is_class in pairs if is_class])

    @torch.no_grad()
    def _prior(self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The base's prediction for class samples."""
        if self.frozen_unet is not None:
            return self.predict(self.frozen_unet, noisy, timesteps, states)
        with without_adapters(self.unet):
            return self.predict(self.unet, noisy, timesteps, states)
