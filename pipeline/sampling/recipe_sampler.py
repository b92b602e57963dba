"""Drawing with a recipe: the denoising loop, with what `Recipe` and a picture to start from add to it."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.sampling.best_of import PromptJudge, seeds_of
from pipeline.sampling.control import Guide, Guiding, check_fit
from pipeline.sampling.credentials import pixel_digest
from pipeline.sampling.guided_prediction import guided
from pipeline.sampling.layers import Layer, OtherModel, Words, layers_of
from pipeline.sampling.places import pieces, shares, to_middle
from pipeline.sampling.prompt_weights import without_weights
from pipeline.sampling.recipe import Recipe, RecipeError, without_folders
from pipeline.sampling.reference import Reference, Referring
from pipeline.sampling.sampler import Request, Sampler

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Start:
    """A picture to start from (RGB), how much of it is drawn again (0 to 1), and where (mode L, white: here).

    Without a mask the whole picture is drawn; with one, pixels outside it are those of `picture`, bit for bit.
    `origin` is what is kept of the file that the picture came from, `mask_origin` of the mask's.
    """

    picture: "Image"
    strength: float = 1.0
    mask: "Image | None" = None
    origin: dict[str, Any] = field(default_factory=dict)
    mask_origin: dict[str, Any] = field(default_factory=dict)

    def first_step(self, steps: int) -> int:
        """The first of `steps` that is drawn, from 0: those before it are left out, as the picture stands for them."""
        return steps - min(steps, max(1, round(steps * self.strength)))


def _scaled(mask: "Image", side: int) -> "Image":
    """A mask (mode L) of `side` pixels, in which those are above black that white of the whole mask lies in."""
    from PIL import Image

    return mask.convert("L").resize((side, side), Image.Resampling.BOX)


def _brightest(mask: "Image") -> int:
    return int(np.asarray(mask).max())


def _touched(mask: "Image", side: int) -> np.ndarray:
    """The cells that white of a mask lies in, however little: 1, others 0; float32 [side, side]."""
    from PIL import Image

    shares = mask.convert("L").convert("F").resize((side, side), Image.Resampling.BOX)
    return (np.asarray(shares) > 0).astype(np.float32)


def _adapted(pipe: Any, referring: Referring) -> Any:
    """The same pipeline with a U-Net that takes after a reference picture; the one given stays as it is."""
    found = copy.copy(pipe)
    found.unet = referring.adapted(pipe.unet)
    return found


@dataclass(frozen=True)
class _Places:
    """What composes a batch: shares [side, side] of each layer and of its region, and a grey picture's latents with
    their noise.
    """

    inside: list[torch.Tensor]
    regions: list[torch.Tensor]
    grey: torch.Tensor
    noise: torch.Tensor


def refuse_unseen_token(sampler: Sampler, requests: Sequence[Request]) -> None:
    """Refuse a recipe that somebody wrote with `token_from` where no prompt of these requests holds the token: neither
    they nor the recipe's own texts.

    Raises:
        RecipeError: none does.
    """
    if not isinstance(sampler, RecipeSampler) or sampler.recipe.token_from == 0:
        return
    texts = [layer.texts(sampler.recipe, request) for layer in sampler.layers for request in requests]
    if all(text["class"] == text["prompt"] for text in texts):
        tokens = ", ".join(sorted({f"'{words.token}'" for layer in sampler.layers for words in layer.words}))
        raise RecipeError(
            f"token_from: does nothing: no prompt holds {tokens}, in whose place the class noun would stand; write the "
            "token into the prompt, or leave token_from out"
        )


def refuse_idle_negative(recipe: Recipe, requests: Sequence[Request], guidance: float) -> None:
    """Refuse negative prompts of a call that change nothing, as drawing without guidance asks for the prompt alone.

    Args:
        recipe: without a guidance in whose place the caller named another.
        guidance: that counts where the recipe has none.

    Raises:
        RecipeError: there is one, guidance is 1, and the recipe has nothing to avoid.
    """
    scale = guidance if recipe.guidance is None else recipe.guidance
    if scale == 1 and not recipe.avoid and any(request.negative.strip() for request in requests):
        raise RecipeError(
            "negative: does nothing where guidance is 1, which asks for the prompt alone; leave it out, or raise "
            "guidance"
        )


class RecipeSampler(Sampler):
    """A loaded pipeline that draws by a recipe.

    As with `Sampler`, a picture on a CPU depends on its request, recipe and start alone, bit for bit. With the default
    recipe it is the picture that `Sampler` draws.

    Args:
        base: the base's U-Net, where the recipe needs the base (`Recipe.needs_base`).
        others: the models that `Recipe.others` names.
        guide: the control picture and what reads it, where the recipe has control.
        reference: the reference picture and what reads it, where the recipe has one.
        judge: chooses among several drawings, where the recipe has `best_of`.

    Raises:
        ValueError: the recipe needs the base, a model or a judge that is not given, or models do not fit each other.
    """

    def __init__(
        self,
        pipe: Any,
        scheduler: str,
        recipe: Recipe,
        words: Words,
        base: Any = None,
        start: Start | None = None,
        others: Mapping[str, OtherModel] | None = None,
        guide: Guide | None = None,
        judge: PromptJudge | None = None,
        reference: Reference | None = None,
    ):
        super().__init__(pipe, recipe.scheduler or scheduler)
        self.recipe, self.start, self.others, self.guide = recipe, start, dict(others or {}), guide
        if recipe.needs_base and base is None:
            raise ValueError("this recipe needs the base's U-Net")
        if lacking := [name for name in recipe.others if name not in self.others]:
            raise ValueError(f"this recipe needs {', '.join(lacking)}")
        if (recipe.control is None) != (guide is None):
            raise ValueError("a recipe with control needs a control picture, and no other recipe takes one")
        if (recipe.reference is None) != (reference is None):
            raise ValueError("a recipe with reference needs a reference picture, and no other recipe takes one")
        if recipe.best_of > 1 and judge is None:
            raise ValueError("this recipe needs a judge that chooses the best of several drawings")
        if guide is not None:
            check_fit(guide.net, pipe)
        self.words, self.judge = words, judge
        self.chosen: dict[Request, dict[str, Any]] = {}  # by request: which of its drawings was kept
        self.referring = Referring(reference, pipe.unet) if reference is not None else None
        if self.referring is not None:
            pipe, base = _adapted(pipe, self.referring), base and self.referring.adapted(base)
            self.others = {
                name: replace(other, pipe=_adapted(other.pipe, self.referring)) for name, other in self.others.items()
            }
        self.layers = layers_of(recipe, pipe, words, base, self.others)

    @property
    def record(self) -> dict[str, Any]:
        """What decides the pictures beside model, prompt, seed and settings."""
        found: dict[str, Any] = {}
        if changed := self.recipe.changed:
            found |= {name: changed[name] for name in ("steps", "guidance", "scheduler") if name in changed}
            found |= {"recipe": without_folders(changed), "recipe_digest": self.recipe.digest}
        if self.others:
            others = sorted(self.others.items())
            found["models"] = [{"model": without_folders(name), **other.origin} for name, other in others]
        if self.start is not None:
            found["start"] = {"pixels": pixel_digest(self.start.picture), "strength": self.start.strength}
            found["start"] |= self.start.origin
            if self.start.mask is not None:
                found["mask"] = {"pixels": pixel_digest(self.start.mask.convert("RGB")), **self.start.mask_origin}
        if self.guide is not None:
            found["control"] = {"pixels": pixel_digest(self.guide.picture), **self.guide.origin}
        if self.referring is not None:
            found["reference"] = self.referring.reference.origin
        return found

    def record_of(self, request: Request) -> dict[str, Any]:
        """`record`; and, of several drawings, which was kept, by its seed, and what the judge said of each."""
        chosen = self.chosen.get(request)
        return {**self.record, "best_of": chosen} if chosen else self.record

    def asked(self, request: Request) -> Request:
        """The request with the recipe's negative prompt; its template stands around the prompt of each layer."""
        negative = ", ".join(part for part in (request.negative, self.recipe.negative) if part)
        return replace(request, negative=negative)

    def draw(
        self, requests: Sequence[Request], steps: int, guidance: float, size: int, batch: int
    ) -> Iterator["Image"]:
        """Draw all requests in order; the recipe's steps and guidance replace those given. See `Sampler.draw`.

        Raises:
            WeightError: the recipe reads weights, and something in a prompt looks like one and is none.
            RecipeError: so little of the mask is white that nothing would be drawn at this size, or the control picture
                shows nothing at it.
        """
        recipe = self.recipe
        mask = self.start.mask if self.start else None
        if mask is not None and 2 * _brightest(_scaled(mask, size)) < _brightest(mask.convert("L")):
            raise RecipeError(
                f"the mask's white is too small to be drawn at {size} pixels: it covers no pixel there by half; paint "
                "it larger"
            )
        if self.guide is not None:
            try:
                self.guide.shape(size)
            except ValueError as error:
                raise RecipeError(f"the control picture {error} at {size} pixels; take a clearer one") from None
        if recipe.weights:
            for request in requests:
                self._windows(self.asked(request))  # reads all prompts before anything is drawn
        settings = recipe.steps or steps, recipe.guidance or guidance, size, batch
        if recipe.best_of == 1:
            yield from super().draw([self.asked(request) for request in requests], *settings)
            return
        seeds = [seeds_of(request.seed, recipe.best_of) for request in requests]
        wanted = [
            replace(self.asked(request), seed=seed)
            for request, own in zip(requests, seeds, strict=True)
            for seed in own
        ]
        drawn = super().draw(wanted, *settings)
        for request, own in zip(requests, seeds, strict=True):
            yield self._best(request, own, [next(drawn) for _ in own])

    def _best(self, request: Request, seeds: Sequence[int], pictures: Sequence["Image"]) -> "Image":
        assert self.judge is not None
        found = self.judge.follows(pictures, self._judged(request))
        best = max(range(len(found)), key=found.__getitem__)
        scores = [round(one, 5) for one in found]
        self.chosen[request] = {"seeds": list(seeds), "kept": seeds[best], "scores": scores, "by": self.judge.digest}
        return pictures[best]

    def _judged(self, request: Request) -> list[str]:
        """What a picture is to show: the prompt; where regions leave nothing to it, the prompts of the regions."""
        drawn = [layer for layer in self.layers if layer.region is None] or self.layers
        texts, weights = [layer.text.replace("{prompt}", request.prompt) for layer in drawn], self.recipe.weights
        plain = [layer.without_tokens(text, weights) for layer, text in zip(drawn, texts, strict=True)]
        return list(dict.fromkeys(without_weights(text) if weights else text for text in plain))

    def _windows(self, request: Request) -> int:
        return max(layer.prompts.windows(*layer.texts(self.recipe, request).values()) for layer in self.layers)

    @torch.inference_mode()
    def _draw_batch(self, requests: Sequence[Request], steps: int, guidance: float, size: int) -> list["Image"]:
        windows = max(self._windows(request) for request in requests)
        states = [layer.states(self.recipe, requests, windows) for layer in self.layers]
        scheduler = self.pipe.scheduler
        scheduler.set_timesteps(steps, device=self.pipe.device)
        noise = self._noise(requests, size)
        latents, times, known = self._begin(noise, steps, size)
        places = self._places(noise, size)
        guiding = self.guide.over(size, self.pipe.unet) if self.guide is not None else None
        for number, time in enumerate(times):
            done = (steps - len(times) + number) / steps
            scaled = scheduler.scale_model_input(latents, time)
            follow = guiding if guiding is not None and guiding.active(done) else None
            predicted = self._predict(states, scaled, time, done, guidance, places, follow)
            latents = scheduler.step(predicted, time, latents, return_dict=False)[0]
            if known is not None:
                following = times[number + 1] if number + 1 < len(times) else None
                latents = self._keep(latents, known, noise, following)
        decoded = self.pipe.vae.decode(latents / self.pipe.vae.config.scaling_factor, return_dict=False)[0]
        pictures = self.pipe.image_processor.postprocess(decoded, output_type="pil")
        return [self._outside(picture, size) for picture in pictures]

    def _predict(
        self,
        states: Sequence[dict[str, torch.Tensor]],
        latents: torch.Tensor,
        time: Any,
        done: float,
        guidance: float,
        places: "_Places | None",
        guiding: Guiding | None,
    ) -> torch.Tensor:
        """The guided prediction; of several layers, the mean that each has in its place (MultiDiffusion).

        A region is seen in the picture's middle, where models put what they draw; not with control, whose picture says
        where things are: then in no step, whether control counts in it or not.
        """
        if places is None:
            return self._of_layer(self.layers[0], states[0], latents, time, done, guidance, guiding)
        total = torch.zeros_like(latents)
        for layer, state, inside, region in zip(self.layers, states, places.inside, places.regions, strict=True):
            seen, shift = latents, (0, 0)
            if layer.box is not None:
                if done < self.recipe.alone_until:
                    around = self.pipe.scheduler.add_noise(places.grey, places.noise, time.reshape(1))
                    seen = torch.where(region > 0, latents, around)
                shift = to_middle(layer.box, latents.shape[-1]) if self.guide is None else (0, 0)
                seen = seen.roll(shift, (-2, -1))
            found = self._of_layer(layer, state, seen, time, done, guidance, guiding)
            total += inside * found.roll((-shift[0], -shift[1]), (-2, -1))
        return total

    def _of_layer(
        self,
        layer: Layer,
        states: dict[str, torch.Tensor],
        latents: torch.Tensor,
        time: Any,
        done: float,
        scale: float,
        guiding: Guiding | None,
    ) -> torch.Tensor:
        subject = states["class"] if done < self.recipe.token_from else states["prompt"]
        branches = [states["unconditional"], subject, *([states["avoid"]] if self.recipe.avoid else [])]
        return guided(
            self.recipe, *layer.drawing(self.recipe, done), latents, time, branches, scale, guiding, self.referring
        )

    def _places(self, noise: torch.Tensor, size: int) -> "_Places | None":
        """How much each layer counts in each cell; None where there is one layer."""
        from PIL import Image

        if self.layers[0].box is None and len(self.layers) == 1:
            return None
        side = noise.shape[-1]
        own, rest = shares(self.recipe.region_boxes, side)
        parts = pieces([box for _, box in self.recipe.placed], side)
        regions = [rest if layer.region is None else own[layer.region] for layer in self.layers]
        inside = [region * parts[layer.placed] for layer, region in zip(self.layers, regions, strict=True)]
        if own and self.recipe.placed:  # where edges of both cut one cell, some products belong to no layer
            total = torch.stack(inside).sum(0)
            inside = [cells / total for cells in inside]
        grey = self._encoded(Image.new("RGB", (size, size), (128, 128, 128)), size).expand_as(noise)
        return _Places([cells.to(noise) for cells in inside], [cells.to(noise) for cells in regions], grey, noise)

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
        first = self.start.first_step(steps)
        times = scheduler.timesteps[first * scheduler.order :]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first * scheduler.order)
        if first == 0 and self.start.mask is not None:  # inside the mask nothing of the picture is wanted
            return noise * scheduler.init_noise_sigma, times, known
        return scheduler.add_noise(known, noise, times[:1]), times, known

    def _encoded(self, picture: "Image", size: int) -> torch.Tensor:
        pixels = self.pipe.image_processor.preprocess(picture, height=size, width=size)
        encoded = self.pipe.vae.encode(pixels.to(self.pipe.device, self.pipe.vae.dtype)).latent_dist.mode()
        return encoded * self.pipe.vae.config.scaling_factor

    def _keep(self, latents: torch.Tensor, known: torch.Tensor, noise: torch.Tensor, time: Any) -> torch.Tensor:
        """Latents with those of the picture, as noisy as step `time` wants them, in cells that the mask does not touch.

        A cell is drawn whole where the mask touches it: what of it lies outside the mask is put back in the picture.
        """
        if self.start is None or self.start.mask is None:
            return latents
        inside = torch.from_numpy(_touched(self.start.mask, latents.shape[-1])).to(latents)
        there = known if time is None else self.pipe.scheduler.add_noise(known, noise, time.reshape(1))
        return inside * latents + (1 - inside) * there

    def _outside(self, picture: "Image", size: int) -> "Image":
        from PIL import Image

        if self.start is None or self.start.mask is None:
            return picture
        kept = self.start.picture.convert("RGB").resize((size, size))
        return Image.composite(picture, kept, _scaled(self.start.mask, size))
