"""The keys of a recipe that change no picture, each with the reason: whoever wrote them meant something else."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from pipeline.errors import counted
from pipeline.sampling.recipe_keys import Recipe

WHOLE = (0.0, 0.0, 1.0, 1.0)  # the box of the whole picture
TOKEN_ALONE = "textual-inversion"  # the method that leaves the U-Net as the base has it
BASE_ALONE = "unconditional: does nothing where the prompt is drawn with the base's U-Net alone, too"


def drawn_as_base(method: str, others: Mapping[str, str] | None = None) -> frozenset[str | None]:
    """The models whose U-Net is the base's, for `idle_keys`.

    Args:
        method: `train.method` of the model that is drawn with.
        others: that of other models, by the names that a recipe has for them.
    """
    methods = [(None, method), *(others or {}).items()]
    return frozenset(name for name, one in methods if one == TOKEN_ALONE)


def idle_keys(recipe: Recipe, guidance: float | None = None, as_base: Collection[str | None] = ()) -> list[str]:
    """The keys of a recipe that change no picture, each with the reason.

    Args:
        guidance: that of the model, for a recipe without one of its own; None: any.
        as_base: the models whose U-Net is the base's, as textual inversion leaves it: other models by name, None is
            the one that is drawn with.
    """
    scale = recipe.guidance if recipe.guidance is not None else guidance
    return [
        *_of_texts(recipe, scale),
        *_of_strengths(recipe),
        *_of_what_is_the_base(recipe, as_base),
        *_of_regions(recipe),
        *_of_pictures(recipe),
    ]


def _of_texts(recipe: Recipe, scale: float | None) -> Iterator[str]:
    own = recipe.changed
    if recipe.template.strip() == "{prompt}" and "template" in own:
        yield "template: does nothing: it adds only spaces to the prompt"
    if "avoid_weight" in own and not recipe.avoid:
        yield "avoid_weight: does nothing without avoid"
    if recipe.avoid and recipe.avoid_weight == 0:
        yield "avoid_weight: 0 avoids nothing; leave avoid out"
    if scale == 1 and not recipe.avoid:
        idle = [key for key in ("negative", "rescale", "unconditional") if key in own]
        yield from (f"{key}: does nothing where guidance is 1, which asks for the prompt alone" for key in idle)


def _of_strengths(recipe: Recipe) -> Iterator[str]:
    own = recipe.changed
    if recipe.layout_strength is None and "layout_until" in own:
        yield "layout_until: does nothing without layout_strength"
    if recipe.layout_strength is not None and recipe.layout_until == 0:
        yield "layout_strength: does nothing where layout_until is 0"
    if recipe.layout_strength is not None and recipe.layout_until == 1 and "strength" in own:
        yield "strength: does nothing where layout_until is 1, and layout_strength counts in all steps"
    if recipe.layout_strength == recipe.strength:
        yield f"layout_strength: does nothing where strength is {recipe.strength:g}, too"
    if not recipe.draws_itself:
        yield from (
            f"{key}: does nothing where regions with models of their own cover the picture"
            for key in ("strength", "layout_strength")
            if key in own
        )


def _of_what_is_the_base(recipe: Recipe, as_base: Collection[str | None]) -> Iterator[str]:
    """The keys that move a U-Net between the base's and that of a model where both are the same."""
    why = "does nothing: the U-Net of {} is the base's, as textual inversion learns nothing but its token"
    if None in as_base:
        yield from (
            f"{key}: {why.format('the model')}" for key in ("strength", "layout_strength") if key in recipe.changed
        )
    weights = [(f"adapters.{number}", one.model, one.weight) for number, one in enumerate(recipe.adapters)]
    weights += [(f"regions.{number}", one.model or "", one.weight) for number, one in enumerate(recipe.regions)]
    yield from (
        f"{key}.weight: {why.format(model)}" for key, model, weight in weights if weight != 1 and model in as_base
    )
    if recipe.unconditional == "base" and not _differs_from_base(recipe, _strengths(recipe), as_base):
        yield BASE_ALONE


def _of_regions(recipe: Recipe) -> Iterator[str]:
    whole = bool(recipe.regions) and all(box == WHOLE for box in recipe.region_boxes)
    if whole and all(region.prompt.strip() == "{prompt}" and not region.model for region in recipe.regions):
        yield "regions: does nothing: each is the whole picture, with its prompt and its model"
    if "alone_until" in recipe.changed and not recipe.regions:
        yield "alone_until: does nothing without regions"
    if "alone_until" in recipe.changed and whole:
        yield "alone_until: does nothing where each region is the whole picture, with nothing around it"


def _of_pictures(recipe: Recipe) -> Iterator[str]:
    if recipe.control is not None and recipe.control.scale == 0 and not _are_seen_elsewhere(recipe):
        yield "control: does nothing with scale 0"
    if recipe.reference is not None and recipe.reference.scale == 0:
        yield "reference: does nothing with scale 0"


def _strengths(recipe: Recipe, shares: Sequence[float] | None = None) -> set[float]:
    """The strengths of the steps before which these shares are done; None: of any steps."""
    layout, until = recipe.layout_strength, recipe.layout_until
    if layout is None:
        return {recipe.strength}
    if shares is not None:
        return {layout if share < until else recipe.strength for share in shares}
    return {layout} if until == 1 else {recipe.strength} if until == 0 else {layout, recipe.strength}


def _differs_from_base(recipe: Recipe, strengths: Collection[float], as_base: Collection[str | None] = ()) -> bool:
    """Whether anything of a picture is drawn with another U-Net than the base's."""
    others = any(name not in as_base for name in recipe.others)
    return others or (recipe.draws_itself and None not in as_base and set(strengths) != {0})


def _are_seen_elsewhere(recipe: Recipe) -> bool:
    """Whether a region's middle is not the picture's: control keeps it in its place, however little it counts."""
    return any(abs(left + right - 1) + abs(top + bottom - 1) > 1e-9 for left, top, right, bottom in recipe.region_boxes)


def idle_in_steps(recipe: Recipe, steps: int, first: int = 0) -> list[str]:
    """The keys of a recipe that count in none of the steps that are drawn, each with the reason.

    Args:
        steps: of a whole drawing.
        first: the first one that is drawn, from 0: one that begins with a picture leaves the steps before it out.
    """
    shares, own, found = [number / steps for number in range(first, steps)], recipe.changed, []
    drawn = (
        f"{len(shares)} of {counted(steps, 'step')} {'is' if len(shares) == 1 else 'are'} drawn, from the "
        f"share {shares[0]:.2g} on"
    )
    until = {
        "layout_strength": recipe.layout_until if recipe.layout_strength is not None else 1.0,
        "token_from": recipe.token_from if recipe.token_from > 0 else 1.0,
        "alone_until": recipe.alone_until if recipe.regions and own.get("alone_until") else 1.0,
    }
    found += [f"{key}: does nothing: it counts up to the share {end:g}, and {drawn}" for key, end in until.items()
              if shares[0] >= end]  # fmt: skip
    if recipe.layout_strength is not None and "strength" in own and shares[-1] < recipe.layout_until:
        found.append(f"strength: does nothing: layout_strength counts up to {recipe.layout_until:g}, and {drawn}")
    here, anywhere = (_differs_from_base(recipe, _strengths(recipe, some)) for some in (shares, None))
    if recipe.unconditional == "base" and anywhere and not here:
        found.append(f"{BASE_ALONE}: strength is 0 in all steps that are drawn")
    control, counts = recipe.control, _are_seen_elsewhere(recipe)
    if control is not None and not counts and not any(control.start <= share < control.end for share in shares):
        found.append(f"control: does nothing: no step lies between {control.start:g} and {control.end:g}; {drawn}")
    return found
