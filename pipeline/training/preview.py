"""Preview pictures during training."""

from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image

from pipeline.base.components import Parts
from pipeline.params import Preview
from pipeline.sampling.sampler import make_scheduler
from pipeline.training.captions import CaptionEncoder
from pipeline.training.job import Job


def make_previewer(job: Job, parts: Parts, captions: CaptionEncoder, accelerator: Accelerator) -> "Previewer | None":
    """The previewer of a job; None if it asks for no previews, or in all processes but the first."""
    if job.preview is None or not job.preview.every or not accelerator.is_main_process:
        return None
    return Previewer(parts, captions, accelerator, job.preview)


class Previewer:
    """Draws `settings.prompts` with the current weights in squares of `side` pixels; it does not affect training."""

    def __init__(self, parts: Parts, captions: CaptionEncoder, accelerator: Accelerator, settings: Preview):
        self.parts, self.captions, self.accelerator, self.settings = parts, captions, accelerator, settings
        levels = len(parts.vae.config.block_out_channels)
        self.side = int(parts.unet.config.sample_size * 2 ** (levels - 1))

    def due(self, step: int, last: bool) -> bool:
        """Whether previews are drawn after `step`."""
        return last or step % self.settings.every == 0

    def draw(self, step: int) -> Image.Image | None:
        """The pictures in one row, or None if they could not be drawn: that must not end a training."""
        try:
            return tile(self._pictures())
        except Exception as error:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            problem = f"{type(error).__name__}: {error}"
            print(f"the preview at step {step} could not be drawn ({problem}); training continues without it")
            return None
        finally:
            self.parts.vae.to("cpu")

    @torch.no_grad()
    def _pictures(self) -> list[Image.Image]:
        from diffusers import StableDiffusionPipeline

        draw, device = self.settings.draw, self.accelerator.device
        pipe: Any = StableDiffusionPipeline(
            vae=self.parts.vae.to(device),
            text_encoder=self.parts.text_encoder,
            tokenizer=self.parts.tokenizer,
            unet=self.parts.unet,
            scheduler=make_scheduler(self.parts.schedule.config, draw.scheduler),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        pictures: list[Image.Image] = []
        prompts = self.settings.prompts
        for at in range(0, len(prompts), draw.batch):
            part = prompts[at : at + draw.batch]
            with self.accelerator.autocast():
                states = self.captions.encode([*part, ""])
                output = pipe(
                    prompt_embeds=states[:-1],
                    negative_prompt_embeds=states[-1:].expand(len(part), -1, -1),
                    generator=[torch.Generator("cpu").manual_seed(self.settings.seed) for _ in part],
                    num_inference_steps=draw.steps,
                    guidance_scale=draw.guidance,
                    height=self.side,
                    width=self.side,
                )
            pictures += output.images
        return pictures


def tile(pictures: list[Image.Image], columns: int | None = None) -> Image.Image:
    """Pictures of one size as one sheet: in a single row, or in rows of `columns`."""
    columns = columns or len(pictures)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * width, number // columns * height))
    return sheet
