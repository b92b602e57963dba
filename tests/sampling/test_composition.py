"""Composed pictures: regions with their own prompts and models, and adapters, are the arithmetic that is promised."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.base.components import load_pipeline
from pipeline.base.learned import add_words
from pipeline.sampling.layers import OtherModel, Words, with_words
from pipeline.sampling.learned_words import mixed_up
from pipeline.sampling.places import pieces, shares
from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.sampling.recipe import Recipe, RecipeError, recipe_of, written_recipe
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.sampler import Request, Sampler
from pipeline.sampling.unet_blend import UnetBlend

WORDS = Words("mysks", "plush toy")
PROMPT = "a photo of plush toy"
WANTED = [Request(PROMPT, 1), Request("a toy", 2)]


@pytest.fixture(scope="module")
def other(tiny_base: Path) -> OtherModel:
    """A model of the same base that learned something, and the word 'wuvl'."""
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in pipe.unet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    add_words(pipe.tokenizer, ("wuvl", "wuvl_1"))
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    return OtherModel(pipe, Words("wuvl", "toy"), {"content_digest": "d" * 64})


def draw(tiny_base: Path, recipe: dict, other: OtherModel | None = None, wanted=WANTED, base=None) -> list[np.ndarray]:
    found = recipe_of(recipe, "it")
    if found.needs_base and base is None:
        base = load_pipeline(tiny_base, torch.float32, "cpu").unet
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    sampler = RecipeSampler(pipe, "ddim", found, WORDS, base, None, dict.fromkeys(found.others, other))
    return [np.asarray(picture) for picture in sampler.draw(wanted, 4, 3.0, 32, 8)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


def far(one: list[np.ndarray], other: list[np.ndarray]) -> int:
    """The largest difference of a pixel's level."""
    return max(int(np.abs(np.int16(first) - second).max()) for first, second in zip(one, other, strict=True))


def plain(pipe, wanted=WANTED) -> list[np.ndarray]:
    scheduler = pipe.scheduler
    try:
        return [np.asarray(picture) for picture in Sampler(pipe, "ddim").draw(wanted, 4, 3.0, 32, 8)]
    finally:
        pipe.scheduler = scheduler


WHOLE = [0.0, 0.0, 1.0, 1.0]


def test_one_region_over_everything_is_the_picture_of_its_prompt_and_model(tiny_base: Path, other: OtherModel) -> None:
    region = {"place": WHOLE, "prompt": "a wuvl toy", "model": "other"}
    asked = [Request("a wuvl toy", request.seed) for request in WANTED]
    assert same(draw(tiny_base, {"regions": [region]}, other), plain(other.pipe, asked))
    assert same(draw(tiny_base, {"regions": [{"place": WHOLE, "prompt": "{prompt}"}]}), draw(tiny_base, {}))
    half = draw(tiny_base, {"regions": [{**region, "weight": 0.5}]}, other, WANTED[:1])
    blend = UnetBlend(other.pipe.unet, load_pipeline(tiny_base, torch.float32, "cpu").unet)
    there = type(other.pipe)(**{**other.pipe.components, "unet": blend.at(0.5)}, requires_safety_checker=False)
    assert same(half, plain(there, asked[:1]))


@pytest.mark.parametrize("idle", [{"strength": 0.5}, {"layout_strength": 0.5}])
def test_the_strength_of_a_model_that_draws_nowhere_is_refused_and_needs_no_base(
    tiny_base: Path, other: OtherModel, idle: dict
) -> None:
    covered = {"regions": [{"place": WHOLE, "prompt": "a wuvl toy", "model": "other"}]}
    half = {"regions": [{**covered["regions"][0], "place": "left"}]}
    (key,) = idle
    with pytest.raises(RecipeError, match=f"{key}: does nothing where regions with models of their own"):
        written_recipe({**covered, **idle}, "it")
    assert written_recipe({**half, **idle}, "it").needs_base
    assert not recipe_of({**covered, **idle}, "a record").needs_base
    assert same(*(draw(tiny_base, recipe, other, WANTED[:1]) for recipe in (covered, {**covered, **idle})))


MIDDLE = [0.25, 0.25, 0.75, 0.75]


def test_a_part_with_the_prompt_of_the_whole_is_the_whole_and_with_another_one_differs_from_both(
    tiny_base: Path,
) -> None:
    one, same_words = WANTED[:1], {"place": MIDDLE, "prompt": PROMPT}
    found = draw(tiny_base, {"regions": [same_words], "alone_until": 0}, wanted=one)
    assert same(found, draw(tiny_base, {}, wanted=one))
    mixed = [{"place": MIDDLE, "prompt": "plush"}]
    found = draw(tiny_base, {"regions": mixed, "alone_until": 0}, wanted=one)
    assert not same(found, draw(tiny_base, {}, wanted=one))
    assert not same(found, draw(tiny_base, {}, wanted=[Request("plush", 1)]))
    assert not same(found, draw(tiny_base, {"regions": mixed, "alone_until": 0.3}, wanted=one))


def test_each_half_follows_its_own_prompt(tiny_base: Path) -> None:
    """The prompt of the right half changes the right half more than the left one, and the other way round."""
    left = {"place": "left", "prompt": PROMPT}
    one, two = ({"regions": [left, {"place": "right", "prompt": words}]} for words in ("plush", "x y z x y z x y z"))
    apart = np.abs(np.float64(draw(tiny_base, one)[0]) - draw(tiny_base, two)[0])
    assert apart[:, 16:].mean() > 2 * apart[:, :16].mean()


@pytest.mark.parametrize(
    "recipe",
    [
        {"regions": [{"place": "left", "prompt": "a wuvl", "model": "other"}]},
        {"regions": [{"place": [0.1, 0.2, 0.7, 0.9], "prompt": "{prompt} wuvl", "model": "other", "weight": 0.5}]},
        {"adapters": [{"model": "other", "weight": 0.5}]},
        {"adapters": [{"model": "other", "place": "top"}], "token_from": 0.5, "avoid": "toy"},
        {"regions": [{"place": "left", "prompt": "x"}], "unconditional": "base", "strength": 0.7, "weights": True},
    ],
)  # fmt: skip
def test_a_composed_picture_hangs_on_its_own_request_alone(tiny_base: Path, other: OtherModel, recipe: dict) -> None:
    found = draw(tiny_base, recipe, other)
    assert not same(found[:1], draw(tiny_base, {})[:1])
    assert same(found[1:], draw(tiny_base, recipe, other, WANTED[1:]))


def test_an_adapter_adds_what_its_model_learned(tiny_base: Path, other: OtherModel) -> None:
    """On the base itself, an adapter of weight one is its model, but for rounding."""
    found = draw(tiny_base, {"adapters": [{"model": "other"}]}, other, [Request("a wuvl toy", 1)])
    whole = plain(other.pipe, [Request("a wuvl toy", 1)])
    assert np.abs(np.int16(found[0]) - whole[0]).max() <= 1
    half = draw(tiny_base, {"adapters": [{"model": "other", "weight": 0.5}]}, other)
    apart = [np.abs(np.int16(half[0]) - end[0]).mean() for end in (draw(tiny_base, {}), plain(other.pipe))]
    assert all(one > 0.1 for one in apart)


def test_the_words_of_an_adapter_are_known_and_the_pipeline_stays_as_it_was(tiny_base: Path, other: OtherModel) -> None:
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    before = len(pipe.tokenizer), pipe.text_encoder.get_input_embeddings().weight.clone()
    both = with_words(pipe, [other.pipe])
    ids = both.tokenizer("wuvl", add_special_tokens=False).input_ids
    rows = both.text_encoder.get_input_embeddings().weight
    (there,) = other.pipe.tokenizer("wuvl", add_special_tokens=False).input_ids
    assert torch.equal(rows[ids[0]], other.pipe.text_encoder.get_input_embeddings().weight[there]) and len(ids) == 1
    assert len(pipe.tokenizer) == before[0]
    assert torch.equal(pipe.text_encoder.get_input_embeddings().weight, before[1])


def test_the_class_noun_stands_for_the_token_of_an_adapter_too(tiny_base: Path, other: OtherModel) -> None:
    pipe, base = (load_pipeline(tiny_base, torch.float32, "cpu") for _ in range(2))
    recipe = recipe_of({"adapters": [{"model": "other"}], "token_from": 0.5}, "it")
    sampler = RecipeSampler(pipe, "ddim", recipe, WORDS, base.unet, None, {"other": other})
    request = Request("a mysks plush toy beside a wuvl toy", 1)
    assert sampler._judged(request) == ["a plush toy beside a toy"]
    assert sampler.layers[0].texts(recipe, request)["class"] == "a plush toy beside a toy"


def test_a_model_that_is_named_twice_adds_both_weights_and_another_one_with_its_word_is_refused(
    tiny_base: Path, other: OtherModel
) -> None:
    asked = [Request("a wuvl toy", 1)]
    twice = {"adapters": [{"model": "other", "weight": 0.25}, {"model": "other", "weight": 0.5}]}
    once = {"adapters": [{"model": "other", "weight": 0.75}]}
    assert far(draw(tiny_base, twice, other, asked), draw(tiny_base, once, other, asked)) <= 1
    region = {"regions": [{"place": WHOLE, "prompt": "a wuvl toy", "model": "other"}]}
    assert not same(draw(tiny_base, {**region, **once}, other), draw(tiny_base, region, other))
    stranger = copy.copy(other.pipe)
    stranger.unet = copy.deepcopy(other.pipe.unet)
    again = copy.copy(stranger)
    with_words(other.pipe, [stranger])  # the same content, loaded once more
    with torch.no_grad():
        next(again.unet.parameters()).add_(1.0)
    with pytest.raises(ValueError, match="know the word 'wuvl'"):
        with_words(other.pipe, [again])


def test_a_token_that_begins_like_another_one_is_replaced_as_itself(tiny_base: Path) -> None:
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    layer = RecipeSampler(pipe, "ddim", Recipe(), WORDS).layers[0]
    both = replace(layer, words=(WORDS, Words("mysks-b", "cat")))
    assert both.without_tokens("a mysks and a mysks-b, mysks-like", False) == "a plush toy and a cat, plush toy-like"


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (["mysks"], ["mysks_1"], "'mysks_1' of one model would be read as a further vector of the token 'mysks'"),
        (["mysks", "mysks_1"], ["mysks_2", "mysks_2_1"], "'mysks_2' of one model would be read as a further vector"),
        (["mysks"], ["Mysks"], "the words 'mysks' and 'Mysks', which differ in case alone"),
        (["MYSKS", "MYSKS_1"], ["mysks_1"], "which differ in case alone"),
        (["mysks"], ["mysks-b", "mysks-b_1"], "the token 'mysks-b' of one model would be read as the token 'mysks'"),
        (["mysks"], ["mysks"], "know the word 'mysks'"),
        (["mysks", "mysks_1"], ["mysks2", "mysks2_1"], None),
        (["mysks"], ["mysks-b"], None),
        (["mysks"], ["a-mysks", "a-mysks_1"], None),
    ],
)
def test_words_that_a_prompt_cannot_tell_apart_are_refused_and_others_are_not(
    tiny_base: Path, one: list[str], other: list[str], words: str | None
) -> None:
    for first, second in ((one, other), (other, one)):
        told = mixed_up(first, second)
        assert told is None if words is None else words in told or first == other
        if words is None:  # and the encoder reads both as themselves
            pipe = load_pipeline(tiny_base, torch.float32, "cpu")
            add_words(pipe.tokenizer, (*first, *second))
            encoder = PromptEncoder(pipe)
            for token in (first, second):
                assert pipe.tokenizer.convert_ids_to_tokens(encoder._ids(token[0].upper())) == token


def test_a_model_whose_token_another_one_would_swallow_is_no_adapter_of_it(tiny_base: Path, other: OtherModel) -> None:
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    add_words(pipe.tokenizer, ("wuvl_2",))
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    for first, second in ((pipe, other.pipe), (other.pipe, pipe)):
        with pytest.raises(ValueError, match="'wuvl_2' of one model would be read as a further vector of the token 'w"):
            with_words(first, [second])


TOP = {"model": "other", "place": "top"}


@pytest.mark.parametrize("words", [PROMPT, "a wuvl toy"])
def test_adapters_add_up_where_they_meet_regions_and_each_other(tiny_base: Path, other: OtherModel, words: str) -> None:
    """Laid over the whole picture by places, adapters and regions are what they are without places."""
    asked = [Request(words, 1)]
    whole = draw(tiny_base, {"adapters": [{"model": "other", "weight": 1.5}]}, other, asked)
    halves = {"adapters": [{"model": "other", "weight": 0.75, "place": side} for side in ("left", "right")]}
    over = {"model": "other", "weight": 0.75, "place": WHOLE}
    assert far(draw(tiny_base, {"adapters": [*halves["adapters"], over]}, other, asked), whole) <= 1
    sides = [{"place": side, "prompt": "{prompt}"} for side in ("left", "right")]
    quiet = {"regions": sides, "alone_until": 0}
    plain = draw(tiny_base, {**quiet, "adapters": [{"model": "other"}]}, other, asked)
    cut = [{"model": "other", "place": place} for place in ("top", "bottom")]
    assert far(draw(tiny_base, {**quiet, "adapters": cut}, other, asked), plain) <= 1


def test_a_placed_adapter_adds_to_each_region_that_it_meets_and_leaves_the_rest(
    tiny_base: Path, other: OtherModel
) -> None:
    sides = [{"place": "left", "prompt": "plush"}, {"place": "right", "prompt": "a toy"}]
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    base = load_pipeline(tiny_base, torch.float32, "cpu").unet
    recipe = recipe_of({"regions": sides, "adapters": [TOP]}, "it")
    sampler = RecipeSampler(pipe, "ddim", recipe, WORDS, base, None, {"other": other})
    places = sampler._places(torch.zeros(1, 4, 16, 16), 32)
    assert places is not None and torch.equal(sum(places.inside), torch.ones(16, 16))
    found = {(layer.region, layer.placed): cells for layer, cells in zip(sampler.layers, places.inside, strict=True)}
    assert found.keys() == {(0, ()), (0, (0,)), (1, ()), (1, (0,))}  # the picture's own prompt is drawn nowhere
    assert found[0, (0,)][:8, :8].all() and found[0, (0,)].sum() == 64
    for layer in sampler.layers:
        used = layer.drawing(recipe, 0.0)[0]
        wanted = other.pipe.unet if layer.placed else pipe.unet
        for one, two in zip(used.parameters(), wanted.parameters(), strict=True):
            assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("regions", [[], [{"place": "left", "prompt": "plush"}, {"place": MIDDLE, "prompt": "a toy"}]])
def test_the_less_a_placed_adapter_weighs_the_nearer_is_the_picture_without_it(
    tiny_base: Path, other: OtherModel, regions: list
) -> None:
    one, kept = WANTED[:1], {"regions": regions}
    without = draw(tiny_base, kept, wanted=one)
    weak = {**kept, "adapters": [{**TOP, "weight": 1e-9}]}
    assert far(draw(tiny_base, weak, other, one), without) <= 1
    assert far(draw(tiny_base, {**kept, "adapters": [TOP]}, other, one), without) > 10


@pytest.mark.parametrize(("regions", "places"), [
    (["left"], ["right"]),
    ([[0, 0, 0.3, 1]], [[0.3, 0, 1, 1]]),
    (["left", [0.2, 0.1, 0.7, 0.9]], ["top", [0.45, 0.3, 0.8, 0.55]]),
])  # fmt: skip
def test_wherever_the_edges_of_regions_and_adapters_lie_the_layers_of_a_cell_sum_to_one(
    tiny_base: Path, other: OtherModel, regions: list, places: list
) -> None:
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    base = load_pipeline(tiny_base, torch.float32, "cpu").unet
    parts = {
        "regions": [{"place": place, "prompt": "plush"} for place in regions],
        "adapters": [{"model": "other", "place": place} for place in places],
    }
    sampler = RecipeSampler(pipe, "ddim", recipe_of(parts, "it"), WORDS, base, None, {"other": other})
    for side in (15, 16):  # an odd number of cells has one that the middle cuts
        found = sampler._places(torch.zeros(1, 4, side, side), 2 * side)
        assert torch.allclose(sum(found.inside), torch.ones(side, side))
        assert all(cells.any() for cells in found.inside)  # no layer is drawn for nothing
        assert len(sampler.layers) == sampler.recipe.drawings


def test_pieces_are_disjoint_and_know_the_boxes_over_them() -> None:
    found = pieces([(0, 0, 0.5, 1), (0.25, 0, 1, 0.5)], 4)
    assert found.keys() == {(), (0,), (1,), (0, 1)}
    assert found[0, 1].tolist() == [[0, 1, 0, 0]] * 2 + [[0] * 4] * 2
    assert torch.equal(sum(found.values()), torch.ones(4, 4))
    assert list(pieces([], 10)) == [()] and torch.equal(pieces([], 10)[()], torch.ones(10, 10))


def test_the_template_stands_around_the_prompts_of_regions(tiny_base: Path) -> None:
    def region(words: str) -> dict:
        return {"regions": [{"place": WHOLE, "prompt": words}]}

    found = draw(tiny_base, {"template": "x {prompt}, plush", **region("a {prompt} z")}, wanted=[Request("toy", 1)])
    assert same(found, draw(tiny_base, region("x a toy z, plush"), wanted=[Request("toy", 1)]))


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        ([{"place": "left", "prompt": "x"}], ["a plush toy"]),
        ([{"place": "left", "prompt": "x"}, {"place": "right", "prompt": "a wuvl", "model": "other"}], ["x", "a toy"]),
        ([{"place": WHOLE, "prompt": "{prompt} z"}], ["a plush toy z"]),
    ],
)
def test_the_judge_of_several_drawings_is_asked_for_what_is_drawn(
    tiny_base: Path, other: OtherModel, regions: list, words: list[str]
) -> None:
    asked: list[str] = []

    class Judge:
        digest = "j" * 64

        def follows(self, pictures: list, prompts: list[str]) -> list[float]:
            asked.extend(prompts)
            return [0.0] * len(pictures)

    recipe = recipe_of({"regions": regions, "best_of": 2}, "it")
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    others = dict.fromkeys(recipe.others, other)
    sampler = RecipeSampler(pipe, "ddim", recipe, WORDS, None, None, others, judge=Judge())
    list(sampler.draw([Request("a MYSKS", 1)], 1, 3.0, 32, 8))
    assert asked == words


def test_shares_are_the_parts_inside_and_sum_to_one() -> None:
    (left, right), rest = shares([(0, 0, 0.5, 1), (0.25, 0, 1, 1)], 4)
    assert left[0].tolist() == [1, 0.5, 0, 0] and right[0].tolist() == [0, 0.5, 1, 1] and not rest.any()
    (cut,), rest = shares([(0.125, 0, 0.5, 0.5)], 4)
    assert (
        cut[0].tolist() == [0.5, 1, 0, 0]
        and cut[2].tolist() == [0, 0, 0, 0]
        and torch.equal(cut + rest, torch.ones(4, 4))
    )


def test_a_region_is_seen_in_the_middle_at_first_on_grey_and_put_back(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    recipe = recipe_of({"regions": [{"place": [0, 0.5, 0.5, 1], "prompt": "x"}], "alone_until": 0.5}, "it")
    sampler = RecipeSampler(pipe, "ddim", recipe, WORDS)
    pipe.scheduler.set_timesteps(4)
    time, latents = pipe.scheduler.timesteps[0], torch.randn(1, 4, 16, 16)
    places = sampler._places(torch.zeros(1, 4, 16, 16), 32)
    seen = []

    def noted(recipe, unet, free, latents, *rest):
        seen.append(latents)
        return latents.clone()

    monkeypatch.setattr("pipeline.sampling.recipe_sampler.guided", noted)
    states = [{"unconditional": torch.zeros(1), "prompt": torch.zeros(1)}] * 2
    first = sampler._predict(states, latents, time, 0.0, 3.0, places, None)
    whole, alone = seen
    assert torch.equal(whole, latents)
    assert torch.equal(alone[..., 4:12, 4:12], latents[..., 8:, :8])
    grey = pipe.scheduler.add_noise(places.grey, places.noise, time.reshape(1))
    around = torch.ones(16, 16, dtype=torch.bool)
    around[4:12, 4:12] = False
    assert torch.equal(alone[..., around], grey.roll((-4, 4), (-2, -1))[..., around])
    assert torch.equal(first, latents)  # each place has what was seen there
    seen.clear()
    later = sampler._predict(states, latents, time, 0.5, 3.0, places, None)
    assert torch.equal(seen[0], latents) and torch.equal(seen[1], latents.roll((-4, 4), (-2, -1)))
    assert torch.equal(later, latents)
    sampler.guide = object()  # control says where things are, also in steps in which it does not count
    for guiding in (None, lambda *_: {}):
        seen.clear()
        sampler._predict(states, latents, time, 0.5, 3.0, places, guiding)
        assert all(torch.equal(one, latents) for one in seen)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"regions": [{"place": "middle", "prompt": "x"}]}, r"regions.0.place: must be left, right"),
        ({"regions": [{"place": [0.5, 0, 0.2, 1], "prompt": "x"}]}, "left before right"),
        ({"regions": [{"place": [0, 0, "a"], "prompt": "x"}]}, "in shares of the side"),
        ({"regions": [{"place": [False, 0, 0.5, True], "prompt": "x"}]}, "in shares of the side"),
        ({"regions": [{"place": "left"}]}, r"regions.0.prompt: field required"),
        ({"regions": [{"place": "left", "prompt": "x", "weight": 0.5}]}, "belong to a model"),
        ({"regions": [{"plase": "left", "prompt": "x"}]}, "did you mean place"),
        ({"adapters": [{"model": "x", "weight": 0}]}, r"adapters.0.weight"),
        ({"adapters": [{"model": "x", "digest": "abc"}]}, r"adapters.0.digest"),
        ({"adapters": [{"model": "x"}] * 9}, "8"),
    ],
)  # fmt: skip
def test_a_composition_that_cannot_be_is_named(recipe: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe_of(recipe, "it")


def test_a_recipe_names_its_other_models_and_survives_yaml(tiny_base: Path) -> None:
    import yaml

    region = {"place": [0, 0, 0.5, 1], "prompt": "x", "model": "models:/a/1", "digest": "e" * 64}
    recipe = recipe_of({"regions": [region], "adapters": [{"model": "b"}]}, "it")
    assert recipe.others == {"b": None, "models:/a/1": "e" * 64}
    assert recipe_of(yaml.safe_load(yaml.safe_dump(recipe.changed)), "it") == recipe
    with pytest.raises(ValueError, match=r"needs b, models:/a/1"):
        pipe = load_pipeline(tiny_base, torch.float32, "cpu")
        RecipeSampler(pipe, "ddim", recipe, WORDS, pipe.unet)
    assert Recipe().others == {}
