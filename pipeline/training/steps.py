"""One optimizer step's gradients: the effective batch in micro-batches that fit the memory."""

import copy
from typing import Any

import torch
from accelerate import Accelerator

from pipeline.base.components import Parts
from pipeline.params import Train
from pipeline.training.data import Batch, Captions, Stream
from pipeline.training.learned import Learned, without_adapters
from pipeline.training.meter import Meter
from pipeline.training.objective import dreambooth_loss, sample_losses, snr_weights, training_target
from pipeline.training.precision import prepare_attention


def frozen_copy(unet: Any, params: Train) -> Any | None:
    """The base's U-Net as it is now, where class samples are held to its prediction and training will change it."""
    if params.prior.kind == "images" or params.method != "dreambooth":
        return None
    return copy.deepcopy(unet).requires_grad_(False).eval()


class Stepper:
    """Draws the batch of a step, computes its losses and adds up the gradients.

    `frozen` is what class samples are held to with `prior.kind: prediction` (None with LoRA: the adapters are switched
    off instead).
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
    ):
        self.learned = learned
        self.unet, self.schedule = parts.unet, parts.schedule
        self.streams, self.captions, self.accelerator, self.params = streams, captions, accelerator, params
        self.device = accelerator.device
        self.frozen = frozen.to(self.device) if frozen is not None else None
        for unet in (self.unet, self.frozen):
            if unet is not None:
                prepare_attention(unet, self.device.type, params.precision)
        self.alphas = parts.schedule.alphas_cumprod.to(self.device)
        self.kind = parts.schedule.config.prediction_type
        self.micro, self.total = params.batch, params.batch * params.gradient_accumulation

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
        for first in range(0, self.total, self.micro):
            places = range(first, min(first + self.micro, self.total))
            share = len(places) / self.total
            found, single, times = self._losses(self.draw(step, places), len(places))
            self.accelerator.backward(found["loss"] * share)
            for name, value in found.items():
                sums[name] = sums.get(name, 0) + value.detach() * share
            losses.append(single)
            timesteps.append(times)
        meter.count(sums, torch.cat(losses), torch.cat(timesteps))

    def draw(self, step: int, places: range) -> Batch:
        """The instance samples at these places of the effective batch, then as many class samples."""
        total = len(self.alphas)
        drawn = [stream.draw(self.params.seed, step, places, self.total, total) for stream in self.streams]
        return drawn[0] + drawn[1] if len(drawn) > 1 else drawn[0]

    def files(self, step: int) -> list[str]:
        """The photos of a step."""
        stream = self.streams[0]
        return stream.draw(self.params.seed, step, range(self.total), self.total, len(self.alphas)).files

    def _losses(self, batch: Batch, instances: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        latents, noises = batch.latents.to(self.device), batch.noises.to(self.device)
        timesteps = batch.timesteps.to(self.device)
        noisy = self.schedule.add_noise(latents, noises, timesteps)
        with self.accelerator.autocast():
            states = self.captions.states(batch.captions)
        predicted = self.predict(self.unet, noisy, timesteps, states)
        target = training_target(self.schedule, latents, noises, timesteps)
        if self.params.prior.kind == "prediction" and len(latents) > instances:
            target = torch.cat([target[:instances], self._prior(noisy, timesteps, states, instances).to(target.dtype)])
        weights = snr_weights(self.alphas, timesteps, self.params.snr_gamma, self.kind)
        losses = sample_losses(predicted, target, batch.focus.to(self.device))
        found = dreambooth_loss(losses, weights, instances, self.params.prior.weight)
        return found, losses[:instances].detach(), timesteps[:instances]

    def predict(self, unet: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The U-Net's output in the run's precision."""
        with self.accelerator.autocast():
            return unet(noisy, timesteps, states).sample

    @torch.no_grad()
    def _prior(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor, instances: int
    ) -> torch.Tensor:
        parts = noisy[instances:], timesteps[instances:], states[instances:]
        if self.frozen is not None:
            return self.predict(self.frozen, *parts)
        with without_adapters(self.unet):
            return self.predict(self.unet, *parts)
