"""The layers of a composed picture: which model predicts with which prompt, and where it counts."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pipeline.base.learned import add_words
from pipeline.sampling.composition import Adapter, Box, box_of
from pipeline.sampling.places import shares
from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.sampler import Request
from pipeline.sampling.unet_blend import UnetBlend
from pipeline.sampling.weighted_prompts import WeightedPromptEncoder


@dataclass(frozen=True)
class Words:
    """The words for the subject in prompts: the token, and the class noun that can stand in for it."""

    token: str
    class_noun: str

    def without_token(self, prompt: str) -> str:
        """'a mysks plush toy' and 'a mysks' become 'a plush toy'."""
        token, noun = re.escape(self.token), re.escape(self.class_noun)
        return re.sub(rf"(?<![\w-]){token}(?: {noun})?(?![\w-])", lambda _: self.class_noun, prompt)


@dataclass(frozen=True)
class OtherModel:
    """Another model of the same base that a recipe draws with; `origin` is what is kept of where it comes from."""

    pipe: Any
    words: Words
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """A model with the prompt that it predicts for, and how much that counts in each place.

    `strength` None: as the recipe says. `box` None: the whole picture, or what no other layer has.
    """

    unet: Any
    unets: UnetBlend | None
    prompts: PromptEncoder
    words: Words
    text: str = "{prompt}"
    box: Box | None = None
    strength: float | None = None

    def texts(self, recipe: Recipe, request: Request) -> dict[str, str]:
        """The prompts of all branches of a picture, in the order in which the U-Net gets them."""
        prompt = self.prompts.spelled(self.text.replace("{prompt}", request.prompt))
        texts = {"unconditional": request.negative, "prompt": prompt}
        if recipe.avoid:
            texts["avoid"] = recipe.avoid
        if recipe.token_from > 0:
            texts["class"] = self.words.without_token(prompt)
        return texts

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
    """The layers that a recipe composes pictures of; one where it has no regions.

    Args:
        base: the base's U-Net, or None where the recipe does not need it.
        others: the models that `recipe.others` names.

    Raises:
        ValueError: the models' U-Nets differ in their tensors, or two models know the same word.
    """
    everywhere = [adapter for adapter in recipe.adapters if adapter.place is None]
    make = _Maker(recipe, base, others)
    main = make.layer(pipe, words, everywhere)
    layers = []
    for region in recipe.regions:
        place: dict[str, Any] = {"text": region.prompt, "box": box_of(region.place)}
        if region.model is None:
            layers.append(replace(main, **place))
        else:
            other = others[region.model]
            own = make.layer(other.pipe, other.words, everywhere)
            layers.append(replace(own, strength=region.weight, **place))
    for adapter in recipe.adapters:
        if adapter.place is not None:
            layers.append(replace(make.layer(pipe, words, [*everywhere, adapter]), box=box_of(adapter.place)))
    boxes = [layer.box for layer in layers if layer.box is not None]
    covered = bool(boxes) and not shares(boxes, COVERED_ON)[1].any()
    return layers if covered else [main, *layers]


COVERED_ON = 1024  # cells of a side: finer than the latents of any picture that can be asked for


class _Maker:
    """Makes layers; those of one model with the same adapters share their U-Nets and prompts."""

    def __init__(self, recipe: Recipe, base: Any, others: Mapping[str, OtherModel]):
        self.recipe, self.base, self.others = recipe, base, others
        self.made: dict[tuple[int, tuple[tuple[str, float], ...]], Layer] = {}

    def layer(self, pipe: Any, words: Words, adapters: Sequence[Adapter]) -> Layer:
        key = id(pipe), tuple((adapter.model, adapter.weight) for adapter in adapters)
        if key not in self.made:
            added = [(self.others[adapter.model].pipe, adapter.weight) for adapter in adapters]
            blend = None
            if self.base is not None:
                blend = UnetBlend(pipe.unet, self.base, [(weight, other.unet) for other, weight in added])
            reading = with_words(pipe, [other for other, _ in added])
            encoder = WeightedPromptEncoder(reading) if self.recipe.weights else PromptEncoder(reading)
            self.made[key] = Layer(pipe.unet, blend, encoder, words)
        return self.made[key]


@torch.no_grad()
def with_words(pipe: Any, others: Sequence[Any]) -> Any:
    """A pipeline that also knows the learned words of other pipelines; `pipe` itself stays as it is.

    Raises:
        ValueError: two of them know the same word.
    """
    for other in others:
        words = _learned(other.tokenizer)
        if not words:
            continue
        if both := sorted(set(words) & set(_learned(pipe.tokenizer))):
            raise ValueError(f"two of the models know the word '{both[0]}'; train one of them with another token")
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


def _learned(tokenizer: Any) -> dict[str, int]:
    """The words that training added, with their rows, in order."""
    special = set(tokenizer.all_special_tokens)
    added = {word: row for word, row in tokenizer.get_added_vocab().items() if word not in special}
    return dict(sorted(added.items(), key=lambda item: item[1]))
