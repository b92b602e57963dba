"""The layers of a composed picture: which model predicts with which prompt, and where it counts."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pipeline.base.learned import add_words
from pipeline.sampling.composition import Adapter, Box, box_of
from pipeline.sampling.learned_words import mixed_up
from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.sampling.prompt_weights import NUMBER
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.sampler import Request
from pipeline.sampling.unet_blend import UnetBlend
from pipeline.sampling.weighted_prompts import WeightedPromptEncoder


@dataclass(frozen=True)
class Words:
    """The words for the subject in prompts: the token, and the class noun that can stand in for it."""

    token: str
    class_noun: str

    def without_token(self, prompt: str, weights: bool = False) -> str:
        """'a mysks plush toy' and 'a MYSKS' become 'a plush toy', 'two mysks plush toys' become 'two plush toys'; with
        `weights` '(mysks:1.3) plush toy' becomes '(plush toy:1.3)'. Case counts for neither word, as in the tokenizer,
        which finds the token beside a hyphen, too: 'a mysks-shaped cake' becomes 'a plush toy-shaped cake'.
        """
        token, noun = re.escape(self.token), r"\s+".join(map(re.escape, self.class_noun.split()))
        if weights:
            after = rf"(?P<weight>:\s*(?:{NUMBER})\s*\))(?:\s+{noun}(?P<ending>e?s)?(?!\w)|\s+\({noun}:[^()]*\))?"
            prompt = re.sub(
                rf"(?i)(?<!\w){token}{after}",
                lambda found: f"{self.class_noun}{found['ending'] or ''}{found['weight']}",
                prompt,
            )
            prompt = re.sub(rf"(?i)(?<!\w){token}\s+(\({noun}(?:e?s)?:[^()]*\))", r"\1", prompt)
        return re.sub(
            rf"(?i)(?<!\w)(?:{noun}\s+)?{token}(?:\s+{noun}(?P<ending>e?s)?)?(?!\w)",
            lambda found: f"{self.class_noun}{found['ending'] or ''}",
            prompt,
        )


@dataclass(frozen=True)
class OtherModel:
    """Another model of the same base that a recipe draws with; `origin` is what is kept of where it comes from."""

    pipe: Any
    words: Words
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """A model with the prompt that it predicts for, and where that counts.

    `strength` None: as the recipe says. `region` is the number of the recipe's region whose text this is, and `box` its
    place; None: what no region has. `placed` are the numbers of the adapters, among those with a place, that add to the
    model: the layer counts where these lie and no other. `words` are those of the model and of its adapters.
    """

    unet: Any
    unets: UnetBlend | None
    prompts: PromptEncoder
    words: tuple[Words, ...]
    text: str = "{prompt}"
    region: int | None = None
    box: Box | None = None
    placed: tuple[int, ...] = ()
    strength: float | None = None

    def texts(self, recipe: Recipe, request: Request) -> dict[str, str]:
        """The prompts of all branches of a picture, in the order in which the U-Net gets them."""
        own = self.text.replace("{prompt}", request.prompt)
        prompt = recipe.template.replace("{prompt}", own)
        texts = {"unconditional": request.negative, "prompt": prompt}
        if recipe.avoid:
            texts["avoid"] = recipe.avoid
        if recipe.token_from > 0:
            texts["class"] = self.without_tokens(prompt, recipe.weights)
        return texts

    def without_tokens(self, prompt: str, weights: bool) -> str:
        """A prompt with the class noun in the place of each token that the model or an adapter learned.

        The longest one comes first: 'mysks-b' is no 'mysks' where both are known.
        """
        for words in sorted(self.words, key=lambda words: len(words.token), reverse=True):
            prompt = words.without_token(prompt, weights)
        return prompt

    def states(self, recipe: Recipe, requests: Sequence[Request], windows: int) -> dict[str, torch.Tensor]:
        """The states of each branch, [pictures, windows * length, hidden]."""
        texts = [self.texts(recipe, request) for request in requests]
        return {name: self.prompts.states([text[name] for text in texts], windows) for name in texts[0]}

    def drawing(self, recipe: Recipe, done: float) -> tuple[Any, Any]:
        """The U-Net when the share `done` of the steps is, and the one without the prompt where that is another."""
        if self.unets is None:
            return self.unet, None
        strength = recipe.strength
        if recipe.layout_strength is not None and done < recipe.layout_until:
            strength = recipe.layout_strength
        free = self.unets.base_unet if recipe.unconditional == "base" else None
        return self.unets.at(strength if self.strength is None else self.strength), free


def layers_of(recipe: Recipe, pipe: Any, words: Words, base: Any, others: Mapping[str, OtherModel]) -> list[Layer]:
    """The layers that a recipe composes pictures of; one where it has no regions and no adapter has a place.

    A region, and what no region covers, is one layer for each piece into which the places of adapters cut it: there the
    adapters over that piece add to its model.

    Args:
        base: the base's U-Net, or None where the recipe does not need it.
        others: the models that `recipe.others` names.

    Raises:
        ValueError: the models' U-Nets differ in their tensors, or a prompt cannot tell their learned words apart.
    """
    everywhere = [adapter for adapter in recipe.adapters if adapter.place is None]
    placed = [adapter for adapter, _ in recipe.placed]
    make = _Maker(recipe, base, others)
    layers = []
    for number, over in recipe.layers:
        added = [*everywhere, *(placed[one] for one in over)]
        if number is None:
            layers.append(replace(make.layer(pipe, words, added), placed=over))
            continue
        region = recipe.regions[number]
        known: dict[str, Any] = {"text": region.prompt, "region": number, "placed": over}
        known["box"] = box_of(region.place)
        if region.model is None:
            layers.append(replace(make.layer(pipe, words, added), **known))
        else:
            other = others[region.model]
            layers.append(replace(make.layer(other.pipe, other.words, added), strength=region.weight, **known))
    return layers


class _Maker:
    """Makes layers; those of one model with the same adapters share their U-Nets and prompts."""

    def __init__(self, recipe: Recipe, base: Any, others: Mapping[str, OtherModel]):
        self.recipe, self.base, self.others = recipe, base, others
        self.made: dict[tuple[int, tuple[tuple[str, float], ...]], Layer] = {}

    def layer(self, pipe: Any, words: Words, adapters: Sequence[Adapter]) -> Layer:
        key = id(pipe), tuple((adapter.model, adapter.weight) for adapter in adapters)
        if key not in self.made:
            named = [self.others[adapter.model] for adapter in adapters]
            added = [(other.pipe, adapter.weight) for other, adapter in zip(named, adapters, strict=True)]
            blend = None
            if self.base is not None:
                blend = UnetBlend(pipe.unet, self.base, [(weight, other.unet) for other, weight in added])
            reading = with_words(pipe, [other for other, _ in added])
            encoder = WeightedPromptEncoder(reading) if self.recipe.weights else PromptEncoder(reading)
            known = tuple(dict.fromkeys([words, *(other.words for other in named)]))
            self.made[key] = Layer(pipe.unet, blend, encoder, known)
        return self.made[key]


@torch.no_grad()
def with_words(pipe: Any, others: Sequence[Any]) -> Any:
    """A pipeline that also knows the learned words of other pipelines; `pipe` itself stays as it is.

    The words of a model that is there already, under whatever name, are added once.

    Raises:
        ValueError: a prompt cannot tell the words of two different models apart: see `mixed_up`.
    """
    known = [(pipe, _learned(pipe.tokenizer))]
    for other in others:
        words = _learned(other.tokenizer)
        if not words or any(words.keys() == those.keys() and _same_model(one, other) for one, those in known):
            continue
        for _, those in known:
            if problem := mixed_up(those, words):
                raise ValueError(problem)
        known.append((other, words))
        rows = other.text_encoder.get_input_embeddings().weight[list(words.values())]
        tokenizer, encoder = copy.deepcopy(pipe.tokenizer), copy.deepcopy(pipe.text_encoder)
        add_words(tokenizer, tuple(words))
        table = encoder.get_input_embeddings()
        longer = torch.nn.Embedding.from_pretrained(torch.cat([table.weight, rows.to(table.weight)]))
        encoder.set_input_embeddings(longer)
        encoder.config.vocab_size = len(tokenizer)
        parts = {**pipe.components, "tokenizer": tokenizer, "text_encoder": encoder}
        pipe = type(pipe)(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    return pipe


def _same_model(one: Any, other: Any) -> bool:
    """Whether two pipelines of one base hold the same: learned words with their rows, and U-Net."""
    words = [_learned(pipe.tokenizer) for pipe in (one, other)]
    tables = [pipe.text_encoder.get_input_embeddings().weight for pipe in (one, other)]
    if words[0].keys() != words[1].keys() or not torch.equal(
        *(table[list(rows.values())] for table, rows in zip(tables, words, strict=True))
    ):
        return False
    parameters = zip(one.unet.parameters(), other.unet.parameters(), strict=True)
    return one is other or all(torch.equal(first, second) for first, second in parameters)


def _learned(tokenizer: Any) -> dict[str, int]:
    """The words that training added, with their rows, in order."""
    special = set(tokenizer.all_special_tokens)
    added = {word: row for word, row in tokenizer.get_added_vocab().items() if word not in special}
    return dict(sorted(added.items(), key=lambda item: item[1]))
