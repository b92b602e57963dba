"""The text encoder of pocket: CLIP's text tower, taught on to say every fact of a caption loudly.

A contrastive loss needs few facts to tell the pictures of a batch apart, and the tower whispers the rest: its states
hardly move where a caption names another kind of plush toy (`python -m benchmarks.heard` has the figures), and a U-Net
does not learn to listen to that, although a classifier reads the kind from them. Here linear heads read every fact that
a caption tells from the direction of a state, at a temperature that asks for large angles.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from pocket import objects, plush
from pocket.captions import Composition, caption
from pocket.loop import mixed_precision, train
from pocket.origin import CLIP, origin
from pocket.recipe import Recipe
from pocket.scenes import SCENES
from pocket.styles import STYLES
from pocket.text import encode
from pocket.world import SCENE_PHRASES, STYLE_PHRASES, Sprite, World, random_toy

Facts = dict[str, str]
PATTERNS = ("plain", "striped", "spotted")
TOYS = 2000  # whose names the captions take
LONG = 0.2  # share of the batches with all of their padding: it costs most of the time
LOUD = 12.0  # inverse temperature of the cosines
SCENE_STYLES = {"style": STYLE_PHRASES, "scene": SCENE_PHRASES}


def named_facts(what: Composition, text: str) -> Facts:
    """The facts of a composition that its caption tells."""
    facts = {"thing": what.thing or "nothing"}
    if what.thing == "plush toy" and what.details:
        *before, kind = what.details.split()
        told = text.partition("plush toy")[0].split()  # colours behind it are of the scene
        if kind in told:
            facts["kind"] = kind
        if before and before[-1] in told:
            facts |= {"color": before[-1], "pattern": before[0] if len(before) > 1 else "plain"}
    named = {"scene": what.scene, "style": what.style}
    facts |= {key: name for key, name in named.items() if any(one in text for one in SCENE_STYLES[key][name])}
    return facts | ({"accessory": what.accessory} if what.accessory and what.accessory in text else {})


def classes() -> dict[str, list[str]]:
    """What each fact may be."""
    return {
        "thing": sorted({*objects.ANIMALS, *objects.THINGS, "plush toy", "nothing"}),
        "kind": sorted(plush.KINDS),
        "color": sorted(plush.TOY_COLORS),
        "pattern": list(PATTERNS),
        "scene": list(SCENES),
        "style": list(STYLES),
        "accessory": sorted({*objects.ACCESSORIES, "astronaut suit"}),
    }


def undrawn(share: float) -> World:
    """A world that composes, and draws nothing; with more toys than the drawn one has."""
    nothing = np.zeros((1, 1, 4), np.uint8)
    names = [random_toy(index, np.random.default_rng([23, index]))[1] for index in range(TOYS)]
    things = [*objects.ANIMALS, *objects.THINGS, *objects.ACCESSORIES]
    sprites = [Sprite(thing, "", nothing) for thing in things] + [Sprite("plush toy", name, nothing) for name in names]
    return World(sprites, share)


def described(world: World, rng: np.random.Generator) -> tuple[Facts, str]:
    """A caption of a random composition, and the facts that it tells."""
    what, _ = world.choose(rng)
    text = caption(what, rng, STYLE_PHRASES, SCENE_PHRASES)
    return named_facts(what, text), text


class Reader(nn.Module):
    """The text encoder, and a head for each fact, which go when it is trained."""

    def __init__(self, encoder: CLIPTextModel):
        super().__init__()
        self.encoder, self.classes = encoder, classes()
        width = encoder.config.hidden_size
        self.heads = nn.ParameterDict({key: torch.randn(len(names), width) for key, names in self.classes.items()})

    def losses(self, states: torch.Tensor, facts: list[Facts]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Cross-entropy and share of right answers by fact, of those captions that tell it; `states` [batch, width]."""
        found = {}
        for key, names in self.classes.items():
            rows = [row for row, known in enumerate(facts) if key in known]
            if not rows:
                continue
            targets = torch.tensor([names.index(facts[row][key]) for row in rows], device=states.device)
            logits = LOUD * F.normalize(states[rows], dim=-1) @ F.normalize(self.heads[key], dim=-1).T
            right = (logits.argmax(1) == targets).float().mean()
            found[key] = F.cross_entropy(logits, targets), right
        return found


def train_text_encoder(recipe: Recipe, work: Path) -> None:
    """Every fact is read from a state behind the text, and those of a toy from its last word, too."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "clip")
    torch.manual_seed(6)
    reader = Reader(CLIPTextModel.from_pretrained(work / "clip").float()).to(recipe.device)
    world = undrawn(recipe.world.toy_share)
    toy = tokenizer("toy").input_ids[1]

    def loss_at(number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([6, number])
        facts, texts = zip(*(described(world, rng) for _ in range(recipe.text_encoder.batch)), strict=True)
        tokens = encode(tokenizer, list(texts)).to(recipe.device)
        ends = (tokens == tokenizer.eos_token_id).int().argmax(1)
        length = tokens.shape[1] if rng.random() < LONG else min(int(ends.max()) + 4, tokens.shape[1])
        tokens = tokens[:, :length]  # attention is causal: the padding changes nothing before it
        with mixed_precision(recipe):
            states = reader.encoder(tokens).last_hidden_state.float()
        behind = torch.tensor([int(rng.integers(int(end), tokens.shape[1])) for end in ends])
        everything = reader.losses(states[torch.arange(len(tokens)), behind], list(facts))
        at = (tokens == toy).int().argmax(1)
        toys = [row for row, known in enumerate(facts) if "kind" in known and int(at[row])]
        own = [{key: facts[row][key] for key in ("kind", "color", "pattern") if key in facts[row]} for row in toys]
        words = reader.losses(states[toys, at[toys]], own)
        loss = sum(one for one, _ in everything.values()) + sum(one for one, _ in words.values())
        return {"loss": loss, **{key: right for key, (_, right) in everything.items()}}

    made_from = origin(recipe, "text_encoder", work, (CLIP,), recipe.world.toy_share)
    train(reader, loss_at, recipe.text_encoder, work / "text", "text", made_from)
    reader.encoder.save_pretrained(work / "text")


if __name__ == "__main__":
    from pocket.stages import run

    run(train_text_encoder)
