"""Recipes: the defaults change no bit, each part does what it says, and mistakes are named."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from pipeline.base.components import load_pipeline
from pipeline.params import Draw
from pipeline.sampling.best_of import seeds_of
from pipeline.sampling.guided_prediction import perpendicular, rescaled
from pipeline.sampling.idle_keys import drawn_as_base, idle_in_steps, idle_keys
from pipeline.sampling.layers import Words
from pipeline.sampling.prompt_encoder import PromptEncoder
from pipeline.sampling.prompt_weights import WeightError, parts_of
from pipeline.sampling.recipe import (
    Recipe,
    RecipeError,
    read_recipe,
    recipe_of,
    refuse_idle,
    run_recipe,
    without_folders,
    written_recipe,
)
from pipeline.sampling.recipe_sampler import RecipeSampler, Start, refuse_idle_negative, refuse_unseen_token
from pipeline.sampling.sampler import Request, Sampler
from pipeline.sampling.unet_blend import UnetBlend
from pipeline.sampling.weighted_prompts import WeightedPromptEncoder
from tests.tiny import picture

WORDS = Words("mysks", "plush toy")
DRAW = Draw(steps=20, guidance=3.0, scheduler="ddim", batch=8)
WANTED = [Request("a photo of mysks plush toy", 1), Request("a toy", 2), Request("plush mysks", 1)]


@pytest.fixture(scope="module")
def base_unet(tiny_base: Path):
    """The U-Net of another model of the same architecture."""
    torch.manual_seed(7)
    unet = load_pipeline(tiny_base, torch.float32, "cpu").unet
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return unet


def draw(
    tiny_base: Path,
    recipe: Recipe,
    base=None,
    start: Start | None = None,
    scheduler: str = "ddim",
    wanted=WANTED,
    guidance: float = 3.0,
):
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    sampler = RecipeSampler(pipe, scheduler, recipe, WORDS, base, start)
    return [np.asarray(found) for found in sampler.draw(wanted, 4, guidance, 32, 8)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp-2m"])
@pytest.mark.parametrize("guidance", [1.0, 1.001, 3.0])
def test_the_default_recipe_draws_the_pictures_of_no_recipe_bit_for_bit(
    tiny_base: Path, scheduler: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[torch.Tensor] = []
    decode = AutoencoderKL.decode
    monkeypatch.setattr(AutoencoderKL, "decode", lambda vae, z, *a, **k: decoded.append(z) or decode(vae, z, *a, **k))
    plain = Sampler.load(tiny_base, scheduler, "fp32").draw(WANTED, 4, guidance, 32, 8)
    assert same(draw(tiny_base, Recipe(), scheduler=scheduler, guidance=guidance), [np.asarray(p) for p in plain])
    assert len(decoded) == 2 and torch.equal(*decoded)  # before pixels are rounded to 8 bits


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "{prompt}, plush"}, {"negative": "plush"}, {"avoid": "toy"}, {"strength": 0.5},
        {"layout_strength": 0.0}, {"token_from": 0.5}, {"rescale": 0.7}, {"unconditional": "base"}, {"steps": 5},
        {"guidance": 5.0}, {"scheduler": "dpmpp-2m"},
    ],
)  # fmt: skip
def test_every_part_changes_pictures_and_a_picture_hangs_on_its_own_request_alone(
    tiny_base: Path, base_unet, changes: dict
) -> None:
    recipe = Recipe(**changes)
    found = draw(tiny_base, recipe, base_unet if recipe.needs_base else None)
    assert not np.array_equal(found[0], draw(tiny_base, Recipe())[0])
    alone = [draw(tiny_base, recipe, base_unet if recipe.needs_base else None, wanted=[one])[0] for one in WANTED[::-1]]
    assert same(found, alone[::-1])


def test_strength_one_is_the_tuned_model_and_zero_the_base(tiny_base: Path, base_unet) -> None:
    assert same(draw(tiny_base, Recipe(layout_strength=1.0), base_unet), draw(tiny_base, Recipe()))
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    pipe.unet = base_unet
    plain = Sampler(pipe, "ddim")
    assert same(
        draw(tiny_base, Recipe(strength=0.0), base_unet), [np.asarray(p) for p in plain.draw(WANTED, 4, 3.0, 32, 8)]
    )


def test_a_blend_lies_on_the_line_between_the_two(tiny_base: Path, base_unet) -> None:
    tuned = load_pipeline(tiny_base, torch.float32, "cpu").unet
    found = dict(UnetBlend(tuned, base_unet).at(0.25).named_parameters())
    for name, parameter in tuned.named_parameters():
        base = dict(base_unet.named_parameters())[name]
        assert torch.allclose(found[name], base + 0.25 * (parameter - base), atol=1e-6)


def test_until_the_token_comes_the_class_noun_is_drawn(tiny_base: Path) -> None:
    late, never = draw(tiny_base, Recipe(token_from=0.99)), draw(tiny_base, Recipe(token_from=1.0))
    plain = draw(
        tiny_base,
        Recipe(),
        wanted=[Request("a photo of plush toy", 1), Request("a toy", 2), Request("plush plush toy", 1)],
    )
    assert same(never, plain)
    assert same(late, never)  # four steps: the last begins at 0.75
    assert not same(draw(tiny_base, Recipe(token_from=0.5)), never)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a mysks plush toy on grass", "a plush toy on grass"),
        ("MYSKS asleep, mysks awake", "plush toy asleep, plush toy awake"),
        ("a Mysks Plush Toy", "a plush toy"),
        ("mysksy and myskss", "mysksy and myskss"),
        ("a mysks-shaped cake by my-mysks", "a plush toy-shaped cake by my-plush toy"),
        ("a mysks plush toy-shaped cake", "a plush toy-shaped cake"),
        ("two mysks plush toys", "two plush toys"),
        ("a mysks  plush   toy", "a plush toy"),
        ("the plush toy mysks on grass", "the plush toy on grass"),
        ("a mysks plush toyshop", "a plush toy plush toyshop"),
    ],
)
def test_the_token_is_replaced_as_a_word(prompt: str, expected: str) -> None:
    assert WORDS.without_token(prompt) == expected
    assert WORDS.without_token(prompt, weights=True) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a (mysks:1.3) plush toy here", "a (mysks plush toy:1.3) here", "a (mysks:1.3) here",
        "a (mysks:1.3) (plush toy:1.1) here", "a mysks (plush toy:1.3) here",
        "a (MYSKS:1.3) plush toy here",
    ],
)  # fmt: skip
def test_the_class_noun_takes_the_place_and_the_weight_of_a_weighted_token_once(prompt: str) -> None:
    assert WORDS.without_token(prompt, weights=True) == "a (plush toy:1.3) here"
    assert WORDS.without_token("two (mysks:1.3)  plush toys", weights=True) == "two (plush toys:1.3)"


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp-2m"])
def test_outside_the_mask_the_picture_stays_bit_for_bit_and_inside_it_does_not(tiny_base: Path, scheduler: str) -> None:
    init = picture(3, 32, 32)
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 16, 32))
    found = draw(tiny_base, Recipe(), start=Start(init, 1.0, mask), scheduler=scheduler)[0]
    assert np.array_equal(found[:, 16:], np.asarray(init)[:, 16:])
    assert not np.array_equal(found[:, :16], np.asarray(init)[:, :16])


@pytest.mark.parametrize(("side", "edge"), [(96, 48), (100, 50), (16, 8), (8, 4)])
def test_of_a_mask_of_another_size_nothing_outside_its_white_is_drawn(tiny_base: Path, side: int, edge: int) -> None:
    init = picture(3, side, side)
    mask = Image.new("L", (side, side), 0)
    mask.paste(255, (0, 0, edge, side))
    found = draw(tiny_base, Recipe(), start=Start(init, 1.0, mask), wanted=WANTED[:1])[0]
    kept = np.asarray(init.resize((32, 32)))
    assert np.array_equal(found[:, 16:], kept[:, 16:])
    assert not np.array_equal(found[:, 15], kept[:, 15])  # and all inside it is


def test_a_mask_finer_than_a_cell_of_the_latents_draws_all_of_its_white(tiny_base: Path) -> None:
    init, line, cells = picture(3, 32, 32), Image.new("L", (32, 32), 0), Image.new("L", (32, 32), 0)
    line.paste(255, (8, 0, 9, 32))
    cells.paste(255, (8, 0, 10, 32))  # two pixels a side
    fine, whole = (
        draw(tiny_base, Recipe(), start=Start(init, 1.0, one), wanted=WANTED[:1])[0] for one in (line, cells)
    )
    assert np.array_equal(fine[:, 8], whole[:, 8]) and not np.array_equal(fine[:, 8], np.asarray(init)[:, 8])
    assert np.array_equal(np.delete(fine, 8, 1), np.delete(np.asarray(init), 8, 1))


def test_a_mask_whose_white_is_lost_at_the_size_of_the_model_is_refused(tiny_base: Path) -> None:
    mask = Image.new("L", (2048, 2048), 0)
    mask.paste(255, (0, 0, 2, 2))
    with pytest.raises(RecipeError, match="too small to be drawn at 32 pixels"):
        draw(tiny_base, Recipe(), start=Start(picture(3, 64, 64), 1.0, mask), wanted=WANTED[:1])


def test_the_less_is_drawn_again_the_nearer_is_the_picture(tiny_base: Path) -> None:
    init = picture(3, 32, 32)
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    sampler = RecipeSampler(pipe, "ddim", Recipe(), WORDS, start=Start(init))
    with torch.inference_mode():
        kept = pipe.vae.decode(sampler._encoded(init, 32) / pipe.vae.config.scaling_factor, return_dict=False)[0]
    target = np.asarray(pipe.image_processor.postprocess(kept, output_type="pil")[0], np.float64)
    far = [
        np.abs(draw(tiny_base, Recipe(steps=20), start=Start(init, share), wanted=WANTED[:1])[0] - target).mean()
        for share in (0.05, 0.5, 1.0)
    ]
    assert far[0] < far[1] < far[2]


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp-2m"])
def test_a_picture_of_which_everything_is_drawn_again_still_counts(tiny_base: Path, scheduler: str) -> None:
    shown = [Start(picture(3, 32, 32), 1.0), Start(Image.new("RGB", (32, 32)), 1.0), None]
    found = [draw(tiny_base, Recipe(), start=one, scheduler=scheduler, wanted=WANTED[:1])[0] for one in shown]
    assert not any(np.array_equal(found[one], found[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


def test_what_is_avoided_is_at_right_angles() -> None:
    vector, direction = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    found = perpendicular(vector, direction)
    assert (found * direction).sum((1, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(perpendicular(direction, direction), torch.zeros_like(direction), atol=1e-6)


def test_rescaling_gives_the_deviation_of_the_prompt() -> None:
    guided, prompt = 5 * torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    assert torch.allclose(rescaled(guided, prompt, 1.0).std((1, 2, 3)), prompt.std((1, 2, 3)), rtol=1e-4)
    assert torch.equal(rescaled(guided, prompt, 0.0), guided)


def test_weights_of_one_change_nothing_and_others_do(tiny_base: Path) -> None:
    weighted = Recipe(weights=True)
    assert same(draw(tiny_base, weighted), draw(tiny_base, Recipe()))
    asked = [Request("a (plush:1.5) toy", 1)]
    assert same(
        draw(tiny_base, weighted, wanted=[Request("a (plush:1.0) toy", 1)]),
        draw(tiny_base, Recipe(), wanted=[Request("a plush toy", 1)]),
    )
    assert not same(
        draw(tiny_base, weighted, wanted=asked), draw(tiny_base, Recipe(), wanted=[Request("a plush toy", 1)])
    )


def test_weights_are_read() -> None:
    assert parts_of("a (red scarf:1.3) on (x:0)") == [("a ", 1.0), ("red scarf", 1.3), (" on ", 1.0), ("x", 0.0)]
    assert parts_of("a (photo) of 10:30") == [("a (photo) of 10:30", 1.0)]
    assert parts_of("(a:.5)(b: 2 )") == [("a", 0.5), ("b", 2.0)]


NO_WEIGHTS = [
    ("a wide photo (16:9)", "16:9"), ("(at 10:30)", "10:30"), ("a picture (3:2)", "3:2"), ("(a:-1)", "a:-1"),
    ("(a (red) scarf:1.3)", "scarf:1.3"), ("(a: b:1.3)", "b:1.3"), ("(a:2.1)", "a:2.1"), ("(a:1,3)", "a:1,3"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "found"), NO_WEIGHTS)
def test_what_looks_like_a_weight_and_is_none_is_refused_before_anything_is_drawn(
    tiny_base: Path, prompt: str, found: str
) -> None:
    with pytest.raises(WeightError, match=re.escape(found)):
        parts_of(prompt)
    sampler = RecipeSampler(load_pipeline(tiny_base, torch.float32, "cpu"), "ddim", Recipe(weights=True), WORDS)
    with pytest.raises(WeightError, match=re.escape(prompt)):
        next(sampler.draw([WANTED[0], Request(prompt, 1)], 4, 3.0, 32, 8))


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        ({"negative": "(worst quality:2.5)"}, "negative"),
        ({"avoid": "a boar (3:2)"}, "avoid"),
        ({"template": "{prompt} (16:9)"}, "template"),
        ({"regions": [{"place": "left", "prompt": "{prompt} (a:-1)"}]}, r"regions\.0\.prompt"),
        (
            {"template": "({prompt}:1.3)", "regions": [{"place": "left", "prompt": "a (red:1.2) toy"}]},
            r"regions\.0\.prompt",
        ),
    ],
)
def test_what_looks_like_a_weight_in_a_recipe_and_is_none_is_named_where_it_is_read(recipe: dict, key: str) -> None:
    with pytest.raises(RecipeError, match=rf"{key}: .* looks like a weight and is none"):
        written_recipe({**recipe, "weights": True}, "it")
    with pytest.raises(RecipeError, match="looks like a weight and is none"):
        run_recipe({**recipe, "weights": True}, DRAW)
    written_recipe(recipe, "it")  # read as it stands there
    written_recipe({"weights": True, "template": "({prompt}:1.3), (soft light:0.8)"}, "it")


def test_only_a_recipe_with_weights_reads_them(tiny_base: Path) -> None:
    sampler = RecipeSampler(load_pipeline(tiny_base, torch.float32, "cpu"), "ddim", Recipe(), WORDS)
    assert len(list(sampler.draw([Request("a wide photo (16:9)", 1)], 1, 3.0, 32, 8))) == 1


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_weights_turn_no_state_around_and_keep_the_norm(
    tiny_base: Path, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the mean of the states is next to nothing, as a last layer norm leaves it."""
    encoder = WeightedPromptEncoder(load_pipeline(tiny_base, precision, "cpu"))
    states = PromptEncoder.states

    def centred(self, prompts, windows):
        found = states(self, prompts, windows).float()
        return (found - found.mean(dim=(1, 2), keepdim=True)).to(precision)

    monkeypatch.setattr(PromptEncoder, "states", centred)
    prompt, plain = "(a photo:1.3) of (plush toy:0.5)", "a photo of plush toy"
    (before,), (after,) = PromptEncoder(encoder.pipe).states([plain], 1), encoder.states([prompt], 1)
    before, after = before.float(), after.float()
    assert float(after.norm()) == pytest.approx(float(before.norm()), rel=0.01)
    factors = (after * before).sum(-1) / (before * before).sum(-1)
    edge = float(factors[0])  # of the start, which has no weight
    assert 0.5 < edge < 2
    assert sorted({round(float(factor) / edge, 1) for factor in factors}) == [0.5, 1.0, 1.3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("strenght: 0.8", "did you mean strength"),
        ("strength: -1\nrescale: 2", "2 problems"),
        ("template: a photo", "hold {prompt} once"),
        ("template: '{prompt} {0}'", "hold {prompt} once"),
        ("scheduler: euler", "scheduler"),
        ("- a", "is not a recipe"),
        ("a: [", "is not valid YAML"),
        ("strength: 0.5\nstrength: 0.9", "line 2 .*'strength' stands twice"),
        ("regions: [{place: left, prompt: 'a {thing}'}]", r"regions\.0\.prompt: must hold no braces but"),
        ("regions: [{place: left, prompt: '{prompt}{prompt}'}]", r"regions\.0\.prompt: must hold no braces but"),
        ("regions: [{place: left, prompt: ' '}]", r"regions\.0\.prompt: must not be blank"),
        ("regions: [{place: [0, 0, 0.001, 1], prompt: a}]", r"regions\.0\.place: is narrower"),
        ("adapters: [{model: a, place: [0, 0, 1, 0.001]}]", r"adapters\.0\.place: is narrower"),
        ("avoid: x\navoid_weight: 9", "avoid_weight"),
        ("avoid: ' '", "avoid: must not be blank"),
        (f"template: '{{prompt}} {'x' * 2000}'", "template: has 2009 characters; at most 2000"),
        (f"negative: {'x' * 2001}", "negative: has 2001 characters"),
        (f"avoid: {'x' * 2001}", "avoid: has 2001 characters"),
        (f"regions: [{{place: left, prompt: {'x' * 2001}}}]", r"regions\.0\.prompt: has 2001 characters"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        read_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("places", "closed"),
    [
        ([[0, 0, 0.49, 1], [0.5, 0, 1, 1]], False),
        ([[0, 0, 1, 0.97]], False),
        ([[0.02, 0.02, 0.98, 0.98]], False),
        (["left", "right"], True),
        ([[0, 0, 1 / 3, 1], [1 / 3, 0, 1, 1]], True),
        ([[0, 0, 0.49, 0.5], [0.5, 0, 1, 1]], True),  # and a half below the first
        ([[0, 0, 0.45, 1], [0.5, 0, 1, 1]], True),
        (["left"], True),
    ],
)
def test_a_gap_between_regions_in_which_nothing_can_form_is_refused(places: list, closed: bool) -> None:
    values = {"regions": [{"place": place, "prompt": "a toy"} for place in places]}
    if closed:
        written_recipe(values, "it")
    else:
        with pytest.raises(RecipeError, match=r"narrower than 0\.05 of its side everywhere.*close the gap"):
            written_recipe(values, "it")


MIDDLE = [{"place": [0.25, 0.25, 0.75, 0.75], "prompt": "{prompt}"}]
IDLE = [
    ({"avoid_weight": 2}, {"avoid": "a boar"}),
    ({"avoid": "a boar", "avoid_weight": 0}, {"avoid_weight": 1}),
    ({"layout_until": 0.5}, {"layout_strength": 0.5}),
    ({"layout_strength": 0.5, "layout_until": 0}, {"layout_until": 0.5}),
    ({"layout_strength": 0.5, "strength": 0.5}, {"strength": 0.6}),
    ({"layout_strength": 0.5, "layout_until": 1, "strength": 0.7}, {"layout_until": 0.5}),
    ({"strength": 0, "unconditional": "base"}, {"strength": 0.5}),
    ({"negative": "blur", "guidance": 1}, {"avoid": "a boar"}),
    ({"rescale": 0.5, "guidance": 1}, {"guidance": 2}),
    ({"unconditional": "base", "guidance": 1}, {"guidance": 2}),
    ({"alone_until": 0.5}, {"regions": [{"place": "left", "prompt": "a toy"}]}),
    ({"template": " {prompt} "}, {"template": "{prompt}, plush"}),
    ({"layout_strength": 0, "layout_until": 1, "unconditional": "base"}, {"layout_until": 0.5}),
    ({"regions": [{"place": [0, 0, 1, 1], "prompt": "x"}], "alone_until": 0.7}, {"regions": MIDDLE}),
    ({"regions": [{"place": [0, 0, 1, 1], "prompt": "{prompt}"}]}, {"regions": MIDDLE}),
]


@pytest.mark.parametrize("idle", [{"alone_until": 0.5}, {"control": {"kind": "edges", "scale": 0}}])
def test_what_counts_in_regions_alone_is_refused_beside_an_adapter_with_a_place(idle: dict) -> None:
    adapted = {**idle, "adapters": [{"model": "a", "place": "left"}]}
    with pytest.raises(RecipeError, match=f"{next(iter(idle))}: does nothing"):
        written_recipe(adapted, "it")
    written_recipe({**adapted, "regions": [{"place": "left", "prompt": "a toy"}]}, "it")


@pytest.mark.parametrize(("recipe", "more"), IDLE)
def test_a_key_that_changes_no_picture_is_refused_unless_another_one_makes_it_count(
    tiny_base: Path, base_unet, recipe: dict, more: dict
) -> None:
    with pytest.raises(RecipeError, match=r"does nothing|avoids nothing"):
        written_recipe(recipe, "it")
    assert written_recipe({**recipe, **more}, "it").changed.keys() == {**recipe, **more}.keys() - (
        {"avoid_weight"} if more == {"avoid_weight": 1} else set()
    )
    idle = {problem.partition(":")[0] for problem in idle_keys(recipe_of(recipe, "a record"))}
    left = recipe_of({key: value for key, value in recipe.items() if key not in idle}, "the rest")
    if "avoid" not in recipe:  # whose third pass may differ in the last bit
        guidance = left.guidance or 3.0
        found = draw(tiny_base, recipe_of(recipe, "a record"), base_unet, guidance=guidance, wanted=WANTED[:1])
        assert same(found, draw(tiny_base, left, base_unet, guidance=guidance, wanted=WANTED[:1]))


@pytest.mark.parametrize(
    ("recipe", "first", "idle"),
    [
        ({"layout_strength": 0.5}, 3, ""),
        ({"layout_strength": 0.5}, 4, "layout_strength"),
        ({"layout_strength": 0.5, "layout_until": 0.95, "strength": 0.8}, 0, "strength"),
        ({"token_from": 0.25}, 2, ""),
        ({"token_from": 0.25}, 3, "token_from"),
        ({"alone_until": 0.3, "regions": [{"place": "left", "prompt": "a toy"}]}, 4, "alone_until"),
        ({"regions": [{"place": "left", "prompt": "a toy"}]}, 4, ""),  # nobody asked for that
        ({"control": {"kind": "edges", "start": 0.95}}, 0, "control"),
        ({"control": {"kind": "edges", "start": 0.05, "end": 0.06}}, 0, "control"),
        ({"control": {"kind": "edges", "end": 0.3}}, 3, ""),
        ({"control": {"kind": "edges", "end": 0.3}}, 4, "control"),
        ({"control": {"kind": "edges", "start": 0.95}, "regions": MIDDLE}, 0, "control"),
        ({"control": {"kind": "edges", "start": 0.95}, "regions": [{"place": "left", "prompt": "x"}]}, 0, ""),
        ({"layout_strength": 0, "layout_until": 0.95, "unconditional": "base"}, 0, "unconditional"),
        ({"layout_strength": 0, "layout_until": 0.9, "unconditional": "base"}, 0, ""),
    ],
)
def test_a_key_that_counts_in_no_step_is_named(recipe: dict, first: int, idle: str) -> None:
    found = idle_in_steps(recipe_of(recipe, "it"), 12, first)
    assert [problem.partition(":")[0] for problem in found] == [idle] * bool(idle)


def test_a_picture_to_start_from_leaves_out_the_steps_that_it_stands_for() -> None:
    begin = Start(Image.new("RGB", (64, 64)), 0.5)
    assert (begin.first_step(12), Start(begin.picture, 1.0).first_step(12)) == (6, 0)
    with pytest.raises(RecipeError, match=r"layout_strength: does nothing: it counts up to the share 0\.3"):
        refuse_idle(Recipe(layout_strength=0.5), 12, 3.0, begin.first_step(12))


@pytest.mark.parametrize("idle", [{"negative": "blur"}, {"rescale": 0.5}, {"unconditional": "base"}])
def test_a_key_that_the_guidance_of_a_drawing_leaves_without_effect_is_named(idle: dict) -> None:
    (key,) = idle
    with pytest.raises(RecipeError, match=f"{key}: does nothing where guidance is 1"):
        refuse_idle(Recipe(**idle), 12, 1.0)
    refuse_idle(Recipe(**idle), 12, 3.0)
    refuse_idle(Recipe(**idle, guidance=3.0), 12, 1.0)  # the recipe's counts more than the model's


def test_of_a_recipe_only_what_names_models_is_cut_to_its_last_part() -> None:
    prompts = {"negative": "~ugly/blurry", "avoid": "/a/boar", "template": "./{prompt}/sharp"}
    region = {"place": "left", "prompt": "/x/y", "model": "/home/ann/models/mysks"}
    recipe = recipe_of({**prompts, "regions": [region], "control": {"kind": "edges", "adapter": "~/canny"}}, "it")
    found = without_folders(recipe.changed)
    assert {key: found[key] for key in prompts} == prompts
    assert (found["regions"][0]["prompt"], found["regions"][0]["model"]) == ("/x/y", "mysks")
    assert found["control"]["adapter"] == "canny" and without_folders("/home/ann/mysks") == "mysks"


def test_a_model_that_stands_there_with_two_digests_is_refused() -> None:
    parts = [{"model": "models:/a/1", "digest": digest * 64} for digest in "ee"]
    assert recipe_of({"adapters": parts}, "it").others == {"models:/a/1": "e" * 64}
    with pytest.raises(RecipeError, match=r"models:/a/1 stands there with two digests, eeee.* and ffff"):
        recipe_of({"adapters": [parts[0], {**parts[1], "digest": "f" * 64}]}, "it")


def test_a_recipe_of_a_run_is_held_to_what_a_file_is_held_to() -> None:
    with pytest.raises(RecipeError, match="no braces but"):
        run_recipe({"regions": [{"place": "left", "prompt": "a {thing}"}]}, DRAW)


@pytest.mark.parametrize(
    ("recipe", "guidance"),
    [
        ({"rescale": 0.5}, 1),
        ({"negative": "blur"}, 1),
        ({"guidance": 3}, 3),
        ({"steps": 20}, 3),
        ({"scheduler": "ddim", "strength": 0.5}, 3),
    ],
)
def test_a_recipe_of_a_run_with_a_key_that_changes_nothing_of_what_the_run_draws_is_refused(
    recipe: dict, guidance: float
) -> None:
    draw = DRAW.model_copy(update={"guidance": float(guidance)})
    with pytest.raises(RecipeError, match=r"(does nothing|is that of sample\.draw)"):
        run_recipe(recipe, draw)
    other = Draw(steps=30, guidance=4.0, scheduler="dpmpp-2m", batch=8)
    assert run_recipe(recipe, other).changed == recipe


def test_a_recipe_is_known_by_what_it_changes(tmp_path: Path) -> None:
    assert Recipe(strength=1.0).digest == Recipe().digest
    assert Recipe(strength=0.9).digest != Recipe().digest
    (tmp_path / "recipe.yaml").write_text("")
    assert read_recipe(tmp_path / "recipe.yaml") == Recipe()
    with pytest.raises(RecipeError, match="does not exist"):
        read_recipe(tmp_path / "none.yaml")


class Redness:
    """A judge that likes red pictures, and remembers what it was asked."""

    digest = "r" * 64

    def __init__(self) -> None:
        self.asked: list[str] = []

    def follows(self, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
        self.asked += prompts
        return [float(np.asarray(found)[..., 0].mean()) for found in pictures]


def test_of_several_drawings_the_one_that_the_judge_prefers_is_kept_and_on_record(tiny_base: Path) -> None:
    pipe, judge = load_pipeline(tiny_base, torch.float32, "cpu"), Redness()
    recipe = Recipe(best_of=3, template="{prompt}, plush", weights=True)
    with pytest.raises(ValueError, match="needs a judge"):
        RecipeSampler(pipe, "ddim", recipe, WORDS)
    sampler = RecipeSampler(pipe, "ddim", recipe, WORDS, judge=judge)
    wanted = [Request("a (photo:1.2) of mysks plush toy", 1), Request("a toy", 2)]
    found = [np.asarray(picture) for picture in sampler.draw(wanted, 4, 3.0, 32, 8)]
    assert judge.asked == ["a photo of plush toy", "a toy"]
    assert seeds_of(1, 3)[0] == 1 and len(set(seeds_of(1, 3) + seeds_of(2, 3))) == 6
    assert seeds_of(1, 3) == seeds_of(1, 5)[:3]
    single = recipe.model_copy(update={"best_of": 1})
    for request, kept in zip(wanted, found, strict=True):
        tries = [Request(request.prompt, seed) for seed in seeds_of(request.seed, 3)]
        alone = draw(tiny_base, single, wanted=tries)
        assert np.array_equal(kept, max(alone, key=lambda picture: picture[..., 0].mean()))
        chosen = sampler.record_of(request)["best_of"]
        reds = [picture[..., 0].mean() for picture in alone]
        assert chosen["kept"] == chosen["seeds"][int(np.argmax(reds))] and chosen["by"] == "r" * 64
        assert chosen["scores"] == pytest.approx(reds, abs=1e-4)


REGION = {"place": "left", "prompt": "a wuvl toy", "model": "wuvl"}


@pytest.mark.parametrize(
    ("recipe", "idle"),
    [
        ({"strength": 0.5}, ["strength"]),
        ({"layout_strength": 0.5}, ["layout_strength"]),
        ({"unconditional": "base"}, ["unconditional"]),
        ({"adapters": [{"model": "wuvl", "weight": 0.5}]}, ["adapters.0.weight"]),
        ({"regions": [{**REGION, "weight": 0.5}]}, ["regions.0.weight"]),
        ({"adapters": [{"model": "wuvl"}], "regions": [REGION]}, []),  # the word of it is read there
        ({"adapters": [{"model": "other", "weight": 0.5}], "unconditional": "base"}, []),
        ({"token_from": 0.5, "negative": "blur", "weights": True}, []),
    ],
)
def test_what_moves_a_u_net_does_nothing_where_textual_inversion_left_that_of_the_base(
    recipe: dict, idle: list[str]
) -> None:
    as_base = drawn_as_base("textual-inversion", {"wuvl": "textual-inversion", "other": "dreambooth"})
    found = idle_keys(recipe_of(recipe, "it"), 3.0, as_base)
    assert [problem.partition(":")[0] for problem in found] == idle
    assert not idle_keys(recipe_of(recipe, "it"), 3.0, drawn_as_base("dreambooth-lora", {"wuvl": "dreambooth"}))
    if idle and "weight" not in idle[0]:
        with pytest.raises(RecipeError, match=f"{idle[0]}: does nothing"):
            run_recipe(recipe, DRAW, as_base)


def test_token_from_is_refused_where_no_prompt_holds_the_token_nor_the_recipe_itself(tiny_base: Path) -> None:
    def sampler(**changes) -> RecipeSampler:
        recipe = Recipe(token_from=0.5, **changes)
        return RecipeSampler(load_pipeline(tiny_base, torch.float32, "cpu"), "ddim", recipe, WORDS)

    without = [Request("a toy", 1), Request("a cat", 2, "mysks")]
    with pytest.raises(RecipeError, match="token_from: does nothing: no prompt holds 'mysks'"):
        refuse_unseen_token(sampler(), without)
    refuse_unseen_token(sampler(), [*without, Request("a Mysks-shaped toy", 3)])
    refuse_unseen_token(sampler(template="mysks, {prompt}"), without)
    refuse_unseen_token(Sampler.load(tiny_base, "ddim", "fp32"), without)


def test_a_run_takes_no_recipe_whose_choice_its_own_gates_would_judge() -> None:
    with pytest.raises(RecipeError, match="would judge their own choice"):
        run_recipe({"best_of": 4}, DRAW)


def test_a_negative_prompt_of_a_call_is_refused_where_guidance_is_1_and_nothing_else_is_avoided() -> None:
    plain, negative = [Request("a toy", 1)], [Request("a toy", 1), Request("a toy", 2, "blur")]
    for recipe, guidance in ((Recipe(), 1.0), (Recipe(guidance=1), 3.0), (Recipe(guidance=1, rescale=0.5), 1.0)):
        with pytest.raises(RecipeError, match="negative: does nothing where guidance is 1"):
            refuse_idle_negative(recipe, negative, guidance)
        refuse_idle_negative(recipe, plain, guidance)
    for recipe, guidance in ((Recipe(), 1.1), (Recipe(guidance=3), 1.0), (Recipe(avoid="boar"), 1.0)):
        refuse_idle_negative(recipe, negative, guidance)
