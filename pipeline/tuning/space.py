"""What a search tries: single changes of the default recipe, wordings by a small grammar, and how changes combine."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest
from typing import Any

from pipeline.evaluation.twins import with_article
from pipeline.params import Draw
from pipeline.sampling.idle_keys import idle_keys
from pipeline.sampling.recipe import Recipe

# Phrases of the writer, by what they speak of: a wording takes at most one of each. None is the plain prompt.
PHRASES = {
    "depth": ("shallow depth of field", "sharp focus"),
    "light": ("studio lighting", "soft light"),
    "view": ("close-up", "full body"),
}
# The key of a recipe that shows whether a part of it was changed, and the values that a search tries, the likeliest
# first. Guidance is a factor on the guidance that the model is judged with.
VALUES: dict[str, tuple[float, ...]] = {
    "strength": (0.8, 0.6, 1.2, 0.4),
    "layout": (0.6, 0.3),
    "token": (0.1, 0.2, 0.3),
    "avoid": (1.0, 2.0, 0.5),
    "guidance": (1.5, 2.0, 0.7),
    "rescale": (0.5, 1.0),
}
KEYS = {
    "strength": ("strength",),
    "layout": ("layout_strength", "layout_until"),
    "token": ("token_from",),
    "avoid": ("avoid", "avoid_weight"),
    "guidance": ("guidance",),
    "rescale": ("rescale",),
    "wording": ("template",),
}


@dataclass(frozen=True)
class Proposal:
    """A recipe to try, who proposed it (`grid`, `grammar`, `pair`, or a language model's name), and in which words."""

    recipe: Recipe
    by: str
    words: str


def parts_of(recipe: Recipe) -> tuple[str, ...]:
    """The parts of a recipe that are not the default: how simple it is."""
    changed = recipe.changed
    return tuple(part for part, keys in KEYS.items() if changed.keys() & set(keys))


def single_changes(
    parts: Sequence[str],
    draw: Draw,
    animal: str | None,
    written: Sequence[Proposal] = (),
    as_base: Collection[str | None] = (),
) -> list[Proposal]:
    """Recipes in which one part is changed, taking turns among the parts, so that a cut list has some of each.

    `avoid` is left out where the subject depicts no `animal`, and so is what draws as the default or another proposal
    does, at the guidance of `draw`, or where the U-Net is the base's (`as_base`, see `idle_keys`). Wordings that
    somebody has `written` come before those of the grammar.
    """
    turns: list[list[Proposal]] = []
    for part in parts:
        if part == "wording":
            known = {proposal.recipe.template for proposal in written}
            grammar = [worded(template, "grammar") for template in wordings() if template not in known]
            turns.append([*written, *grammar])
        elif part != "avoid" or animal:
            tried = [_single(part, value, draw, animal or "") for value in VALUES[part]]
            turns.append([proposal for proposal in tried if _tells_something(proposal.recipe, draw, as_base)])
    found: dict[str, Proposal] = {}
    for proposal in chain.from_iterable(zip_longest(*turns)):
        if proposal is not None:
            found.setdefault(proposal.recipe.digest, proposal)
    return list(found.values())


def nothing_to_try(parts: Sequence[str]) -> str:
    """What to say where `single_changes` finds nothing."""
    return (
        f"tune.parts: {', '.join(parts)} changes nothing here: avoid needs subject.animal, rescale a guidance above 1 "
        "(sample.draw.guidance), strength and layout a train.method that trains the U-Net; name further parts"
    )


def _tells_something(recipe: Recipe, draw: Draw, as_base: Collection[str | None]) -> bool:
    """Whether pictures by a recipe can differ from those of the default, and every key of it has a part in that."""
    return recipe.guidance != draw.guidance and not idle_keys(recipe, draw.guidance, as_base)


def worded(template: str, by: str) -> Proposal:
    """A wording that `by` proposes."""
    return Proposal(Recipe(template=template), by, template)


def wordings() -> list[str]:
    """Templates of the grammar: the prompt with one phrase, then with two of different kinds."""
    single = [f"{{prompt}}, {words}" for kind in PHRASES.values() for words in kind]
    kinds = list(PHRASES.values())
    return [*single, *(f"{{prompt}}, {one[0]}, {other[0]}" for one, other in pairwise(kinds))]


def pairs(best: Sequence[Recipe], known: Sequence[Recipe]) -> list[Proposal]:
    """Combinations of two recipes that change different parts, those of the best first; none that is known, or whose
    one half makes the other idle."""
    seen = {recipe.digest for recipe in known}
    ranked = sorted(
        ((one + other, one, other) for one in range(len(best)) for other in range(one + 1, len(best))),
    )
    found = []
    for _, one, other in ranked:
        first, second = best[one], best[other]
        if set(parts_of(first)) & set(parts_of(second)):
            continue
        values: dict[str, Any] = {**first.changed, **second.changed}
        recipe = Recipe.model_validate(values)
        if recipe.digest not in seen and not idle_keys(recipe):
            seen.add(recipe.digest)
            found.append(Proposal(recipe, "pair", f"{_words(first)} with {_words(second)}"))
    return found


def _single(part: str, value: float, draw: Draw, animal: str) -> Proposal:
    recipe = {
        "strength": lambda: Recipe(strength=value),
        "layout": lambda: Recipe(layout_strength=value),
        "token": lambda: Recipe(token_from=value),
        "avoid": lambda: Recipe(avoid=f"a photo of {with_article(animal)}", avoid_weight=value),
        "guidance": lambda: Recipe(guidance=min(50.0, max(1.0, round(draw.guidance * value, 2)))),
        "rescale": lambda: Recipe(rescale=value),
    }[part]()
    return Proposal(recipe, "grid", _words(recipe))


def _words(recipe: Recipe) -> str:
    return ", ".join(f"{key} {value}" for key, value in recipe.changed.items())
