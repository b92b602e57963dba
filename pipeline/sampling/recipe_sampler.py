"""Drawing with a recipe: the denoising loop, with what `Recipe` and a picture to start from add to it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.base.components import load_pipeline
from pipeline.sampling.credentials import pixel_digest
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.sampler import Request, Sampler
from pipeline.sampling.unet_blend import UnetBlend
from pipeline.sampling.weighted_prompts import WeightedPromptEncoder

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Start:
    """A picture to start from (RGB), how much of it is drawn again (0 to 1), and where (mode L, white: here).

    Without a mask the whole picture is drawn; with one, pixels outside it are those of `picture`, bit for bit.
    `origin` is what is kept of the file that the picture came from: its `sha256`, and the perceptual hash `phash`.
    """

    picture: "Image"
    strength: float = 1.0
    mask: "Image | None" = None
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Words:
    """The words for the subject in prompts: the token, and the class noun that can stand in for it."""

    token: str
    class_noun: str

    def without_token(self, prompt: str) -> str:
        """'a mysks plush toy' and 'a mysks' become 'a plush toy'."""
        token, noun = re.escape(self.token), re.escape(self.class_noun)
        return re.sub(rf"(?<![\w-]){token}(?: {noun})?(?![\w-])", lambda _: self.class_noun, prompt)


class RecipeSampler(Sampler):
    """A loaded pipeline that draws by a recipe.

    As with `Sampler`, a picture on a CPU depends on its request, recipe and start alone, bit for bit. With the default
    recipe it is the picture that `Sampler` draws.

    Args:
        base: the base's pipeline folder, where the recipe needs the base (`Recipe.needs_base`).
    """

    def __init__(
        self, pipe: Any, scheduler: str, recipe: Recipe, words: Words, base: Any = None, start: Start | None = None
    ):
        super().__init__(pipe, recipe.scheduler or scheduler)
        self.recipe, self.words, self.start = recipe, words, start
        if recipe.weights:
            self.prompts = WeightedPromptEncoder(pipe)
        if recipe.needs_base and base is None:
            raise ValueError("this recipe needs the base's U-Net")
        self.unets = UnetBlend(pipe.unet, base) if base is not None else None

    @classmethod
    def load_with_recipe(
        cls,
        folder: Any,
        scheduler: str,
        precision: torch.dtype,
        device: str,
        recipe: Recipe,
        words: Words,
        base: Any = None,
        variant: str | None = None,
        start: Start | None = None,
    ) -> "RecipeSampler":
        """Load the model in `folder`, and the base's U-Net from the pipeline folder `base` where there is one."""
        pipe = load_pipeline(folder, precision, device)
        unet = load_pipeline(base, precision, device, variant).unet if base is not None else None
        return cls(pipe, scheduler, recipe, words, unet, start)

    @property
    def record(self) -> dict[str, Any]:
        """What decides the pictures beside model, prompt, seed and settings."""
        found: dict[str, Any] = {}
        if changed := self.recipe.changed:
            found |= {name: changed[name] for name in ("steps", "guidance", "scheduler") if name in changed}
            found |= {"recipe": changed, "recipe_digest": self.recipe.digest}
        if self.start is not None:
            found["start"] = {"pixels": pixel_digest(self.start.picture), "strength": self.start.strength}
            found["start"] |= self.start.origin
            if self.start.mask is not None:
                found["start"]["mask"] = pixel_digest(self.start.mask.convert("RGB"))
        return found

    def asked(self, request: Request) -> Request:
        """The request with the recipe's template and negative prompt around it."""
        prompt = self.recipe.template.replace("{prompt}", request.prompt)
        negative = ", ".join(part for part in (request.negative, self.recipe.negative) if part)
        return replace(request, prompt=prompt, negative=negative)

    def draw(self, requests: Sequence[Request], steps: int, guidance: float, size: int, batch: int) -> Any:
        """Draw all requests in order; the recipe's steps and guidance replace those given. See `Sampler.draw`."""
        recipe = self.recipe
        wanted = [self.asked(request) for request in requests]
        return super().draw(wanted, recipe.steps or steps, recipe.guidance or guidance, size, batch)

    def _windows(self, request: Request) -> int:
        return self.prompts.windows(*self._texts(request).values())

    def _texts(self, request: Request) -> dict[str, str]:
        """The prompts of all branches of a picture, in the order in which the U-Net gets them."""
        texts = {"unconditional": request.negative, "prompt": request.prompt}
        if self.recipe.avoid:
            texts["avoid"] = self.recipe.avoid
        if self.recipe.token_from > 0:
            texts["class"] = self.words.without_token(request.prompt)
        return texts

    @torch.inference_mode()
    def _draw_batch(self, requests: Sequence[Request], steps: int, guidance: float, size: int) -> list["Image"]:
        texts = [self._texts(request) for request in requests]
        windows = max(self._windows(request) for request in requests)
        states = {name: self.prompts.states([text[name] for text in texts], windows) for name in texts[0]}
        scheduler = self.pipe.scheduler
        scheduler.set_timesteps(steps, device=self.pipe.device)
        noise = self._noise(requests, size)
        latents, times, known = self._begin(noise, steps, size)
        for number, time in enumerate(times):
            done = (steps - len(times) + number) / steps
            scaled = scheduler.scale_model_input(latents, time)
            predicted = self._predict(states, scaled, time, done, guidance)
            latents = scheduler.step(predicted, time, latents, return_dict=False)[0]
            if known is not None:
                following = times[number + 1] if number + 1 < len(times) else None
                latents = self._keep(latents, known, noise, following)
        decoded = self.pipe.vae.decode(latents / self.pipe.vae.config.scaling_factor, return_dict=False)[0]
        pictures = self.pipe.image_processor.postprocess(decoded, output_type="pil")
        return [self._outside(picture, size) for picture in pictures]

    def _predict(
        self, states: dict[str, torch.Tensor], latents: torch.Tensor, time: Any, done: float, guidance: float
    ) -> torch.Tensor:
        """The guided prediction: classifier-free guidance, without what points to `avoid`, and rescaled."""
        recipe = self.recipe
        subject = states["class"] if done < recipe.token_from else states["prompt"]
        strength = recipe.strength
        if recipe.layout_strength is not None and done < recipe.layout_until:
            strength = recipe.layout_strength
        unet = self.pipe.unet if self.unets is None else self.unets.at(strength)
        branches = [states["unconditional"], subject, *([states["avoid"]] if recipe.avoid else [])]
        if recipe.unconditional == "base" and self.unets is not None:
            free = _call(self.unets.at(0.0), latents, time, branches[:1])
            free += _call(unet, latents, time, branches[1:])
        else:
            free = _call(unet, latents, time, branches)
        towards = free[1] - free[0]
        moved = towards
        if recipe.avoid:
            moved = towards - recipe.avoid_weight * perpendicular(free[2] - free[0], towards)
        guided = free[0] + guidance * moved
        return rescaled(guided, free[1], recipe.rescale) if recipe.rescale > 0 else guided

    def _noise(self, requests: Sequence[Request], size: int) -> torch.Tensor:
        pipe = self.pipe
        side = size // pipe.vae_scale_factor
        shape = (1, pipe.unet.config.in_channels, side, side)
        drawn = [
            torch.randn(shape, generator=torch.Generator("cpu").manual_seed(request.seed), dtype=pipe.unet.dtype)
            for request in requests
        ]
        return torch.cat(drawn).to(pipe.device)

    def _begin(self, noise: torch.Tensor, steps: int, size: int) -> tuple[torch.Tensor, Any, torch.Tensor | None]:
        """Latents to begin with, the timesteps that are drawn, and the latents of the picture to start from."""
        scheduler = self.pipe.scheduler
        if self.start is None:
            return noise * scheduler.init_noise_sigma, scheduler.timesteps, None
        known = self._encoded(self.start.picture, size).expand_as(noise)
        first = steps - min(steps, max(1, round(steps * self.start.strength)))
        times = scheduler.timesteps[first * scheduler.order :]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first * scheduler.order)
        if first == 0:
            return noise * scheduler.init_noise_sigma, times, known
        return scheduler.add_noise(known, noise, times[:1]), times, known

    def _encoded(self, picture: "Image", size: int) -> torch.Tensor:
        pixels = self.pipe.image_processor.preprocess(picture, height=size, width=size)
        encoded = self.pipe.vae.encode(pixels.to(self.pipe.device, self.pipe.vae.dtype)).latent_dist.mode()
        return encoded * self.pipe.vae.config.scaling_factor

    def _keep(self, latents: torch.Tensor, known: torch.Tensor, noise: torch.Tensor, time: Any) -> torch.Tensor:
        """Latents with those of the picture, as noisy as step `time` wants them, outside the mask."""
        if self.start is None or self.start.mask is None:
            return latents
        small = self.start.mask.convert("L").resize((latents.shape[-1], latents.shape[-2]))
        inside = torch.from_numpy(np.asarray(small, np.float32) / 255).to(latents)
        there = known if time is None else self.pipe.scheduler.add_noise(known, noise, time.reshape(1))
        return inside * latents + (1 - inside) * there

    def _outside(self, picture: "Image", size: int) -> "Image":
        from PIL import Image

        if self.start is None or self.start.mask is None:
            return picture
        mask = self.start.mask.convert("L").resize((size, size))
        return Image.composite(picture, self.start.picture.convert("RGB").resize((size, size)), mask)


def _call(unet: Any, latents: torch.Tensor, time: Any, branches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The U-Net's predictions for every branch in one call."""
    together = torch.cat([latents] * len(branches))
    return list(
        unet(together, time, encoder_hidden_states=torch.cat(list(branches)), return_dict=False)[0].chunk(len(branches))
    )


def perpendicular(vector: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """The part of `vector` [pictures, ...] at right angles to `direction`, picture by picture.

    Perp-Neg (Armandpour et al. 2023, arXiv 2304.04968): what is to be avoided is taken away only as far as it does not
    point where the prompt points.
    """
    axes = tuple(range(1, vector.ndim))
    along = (vector * direction).sum(axes, keepdim=True) / (direction * direction).sum(axes, keepdim=True).clamp_min(
        1e-12
    )
    return vector - along * direction


def rescaled(guided: torch.Tensor, prompt: torch.Tensor, share: float) -> torch.Tensor:
    """`guided` with its standard deviation moved by `share` towards that of the prompt's own prediction.

    Lin et al. 2023, arXiv 2305.08891, section 3.4: it undoes the overexposure of strong guidance.
    """
    axes = tuple(range(1, guided.ndim))
    factor = prompt.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (share * factor + (1 - share))
