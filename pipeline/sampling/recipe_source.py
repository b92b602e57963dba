"""A model that is drawn with recipes: loaded once, whatever number of recipes it is asked for."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.base.components import best_device, load_pipeline, torch_dtype
from pipeline.base.digest import settings_digest
from pipeline.files import digest_value
from pipeline.layout import DRAWN
from pipeline.params import Draw
from pipeline.sampling.control import Guide
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe, drawer_digest
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.source import Source, drawing_environment


class RecipeModel:
    """The pipeline of a tuned model and the U-Net of its base, each loaded when it is first needed.

    Args:
        tuned: the tuned model.
        base: its base; the U-Net of it draws along where a recipe asks for that.
    """

    def __init__(self, tuned: Source, base: Source, words: Words, precision: str):
        self.tuned, self.base, self.words, self.precision = tuned, base, words, precision

    @cached_property
    def pipe(self) -> Any:
        return self._load(self.tuned)

    @cached_property
    def base_unet(self) -> Any:
        return self._load(self.base).unet

    @cached_property
    def own_scheduler(self) -> Any:
        return self.pipe.scheduler

    def sampler(self, recipe: Recipe, scheduler: str, guide: Guide | None = None) -> RecipeSampler:
        """The sampler of a recipe; the one before it must not draw any more."""
        self.pipe.scheduler = self.own_scheduler
        base = self.base_unet if recipe.needs_base else None
        return RecipeSampler(self.pipe, scheduler, recipe, self.words, base, guide=guide)

    def _load(self, source: Source) -> Any:
        return load_pipeline(source.folder, torch_dtype(self.precision), best_device(), source.variant)


@dataclass(frozen=True)
class RecipeSource(Source):
    """A model drawn with a recipe; its pictures are kept apart from those of other recipes."""

    recipe: Recipe = field(default_factory=Recipe)
    model: RecipeModel | None = None

    def load(self, draw: Draw) -> RecipeSampler:
        """Make the sampler of the recipe."""
        assert self.model is not None
        return self.model.sampler(self.recipe, draw.scheduler)

    @property
    def drawn_by(self) -> str:
        """sha256 over what draws: the digests of the model, of its base and of the recipe."""
        assert self.model is not None
        return drawer_digest(self.digest, self.model.base.digest, self.recipe)

    def drawn(self, workspace: Path) -> Path:
        """Folder of its pictures until a stage has them all."""
        assert self.model is not None
        settings = [settings_digest(folder) for folder in (self.folder, self.model.base.folder)]
        return workspace / DRAWN / digest_value([self.drawn_by, settings, drawing_environment()])[:32]


def recipe_source(name: str, model: RecipeModel, recipe: Recipe) -> RecipeSource:
    """The model of `model` drawn with a recipe."""
    tuned = model.tuned
    return RecipeSource(name, tuned.folder, tuned.digest, tuned.variant, recipe, model)
