"""The keys of a recipe, and what they mean for the models that draw."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.files import digest_value
from pipeline.params import DrawingSteps, Number, Scheduler, Whole
from pipeline.sampling.composition import Adapter, Box, Control, ReferenceSettings, Region, box_of, layered

MOST_PARTS = 8  # regions, and adapters: each region is drawn in every step
Share = Annotated[Number, Field(ge=0, le=1)]


class Recipe(BaseModel):
    """How prompts become pictures. The defaults draw as without a recipe.

    `strength` moves the U-Net between the base (0) and the tuned model (1), beyond it above 1; `layout_strength` does
    the same for the first steps alone, up to the share `layout_until` of them. `token_from` is the share of the steps
    in which the class noun stands in for the token. `avoid` is a perpendicular negative prompt. `unconditional` says
    which model draws the branch without the prompt. Of `best_of` drawings with different noise the one that follows the
    prompt best is kept. What is None is the model's own. `regions` are drawn with prompts,
    and models, of their own; in the first steps, up to the share `alone_until` of them, each stands alone on grey.
    `control` makes pictures follow a control picture, `reference` take after a reference picture, which are given with
    them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = "{prompt}"
    negative: str = ""
    avoid: str = ""
    avoid_weight: Annotated[Number, Field(ge=0, le=5)] = 1.0
    weights: bool = Field(default=False, description="read (words:1.3) in prompts as weights")
    strength: Annotated[Number, Field(ge=0, le=1.5)] = 1.0
    layout_strength: Annotated[Number, Field(ge=0, le=1.5)] | None = None
    layout_until: Share = 0.3
    token_from: Share = 0.0
    guidance: Annotated[Number, Field(ge=1, le=50)] | None = None
    rescale: Share = 0.0
    unconditional: Literal["tuned", "base"] = "tuned"
    steps: DrawingSteps | None = None
    scheduler: Scheduler | None = None
    best_of: Annotated[Whole, Field(ge=1, le=16)] = 1
    adapters: tuple[Adapter, ...] = Field(default=(), max_length=MOST_PARTS)
    regions: tuple[Region, ...] = Field(default=(), max_length=MOST_PARTS)
    alone_until: Share = 0.2
    control: Control | None = None
    reference: ReferenceSettings | None = None

    @field_validator("template")
    @classmethod
    def _holds_the_prompt(cls, template: str) -> str:
        if template.count("{prompt}") != 1 or re.search(r"[{}]", template.replace("{prompt}", "")):
            raise ValueError("must hold {prompt} once, and no other braces")
        return template

    @model_validator(mode="after")
    def _names_each_model_with_one_digest(self) -> "Recipe":
        known: dict[str, str] = {}
        parts: list[Adapter | Region] = [*self.adapters, *self.regions]
        for part in parts:
            if part.model is None or part.digest is None:
                continue
            if known.setdefault(part.model, part.digest) != part.digest:
                both = f"{known[part.model][:16]} and {part.digest[:16]}"
                raise ValueError(f"{part.model} stands there with two digests, {both}, and one model has one content")
        return self

    @property
    def changed(self) -> dict[str, Any]:
        """The values that are not the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def digest(self) -> str:
        """sha256 over the values that are not the defaults."""
        return digest_value(self.changed)

    @property
    def needs_base(self) -> bool:
        """Whether the base's U-Net draws along."""
        weighed = any(region.weight != 1 for region in self.regions)
        blended = self.draws_itself and (self.strength != 1 or self.layout_strength not in (None, 1))
        return blended or weighed or self.unconditional == "base" or bool(self.adapters)

    @property
    def draws_itself(self) -> bool:
        """Whether the model that it is used with draws anywhere, and not only models of regions do."""
        return any(number is None or self.regions[number].model is None for number, _ in self.layers)

    @property
    def others(self) -> dict[str, str | None]:
        """The other models that it draws with: what names them, and the content digest that they must have or None."""
        parts: list[Adapter | Region] = [*self.adapters, *self.regions]
        named = [(part.model, part.digest) for part in parts if part.model is not None]
        return {model: next((one for name, one in named if name == model and one), None) for model, _ in named}

    @property
    def region_boxes(self) -> list[Box]:
        """The places of the regions."""
        return [box_of(region.place) for region in self.regions]

    @property
    def placed(self) -> list[tuple[Adapter, Box]]:
        """The adapters that have a place, each with its place."""
        return [(adapter, box_of(adapter.place)) for adapter in self.adapters if adapter.place is not None]

    @property
    def layers(self) -> list[tuple[int | None, tuple[int, ...]]]:
        """What it composes a picture of (see `layered`): each layer is predicted in every step, as a picture is."""
        return layered(self.region_boxes, [box for _, box in self.placed])

    @property
    def drawings(self) -> int:
        """As many plain pictures cost what one by this recipe does."""
        return self.best_of * len(self.layers)
