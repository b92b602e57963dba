"""Control: what a fresh network leaves as it is, what a trained one changes, and control pictures of known shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter
from PIL import Image, ImageDraw, ImageFilter

from pipeline.base.components import load_pipeline
from pipeline.base.control_adapter import resolve_control
from pipeline.base.resolve import BaseNotFound
from pipeline.sampling.composition import Control
from pipeline.sampling.control import Guide, load_control
from pipeline.sampling.control_pictures import control_picture, control_picture_of_size, control_source
from pipeline.sampling.layers import Words
from pipeline.sampling.recipe import Recipe, RecipeError, recipe_of
from pipeline.sampling.recipe_sampler import RecipeSampler
from pipeline.sampling.sampler import Request
from tests.tiny import picture

WANTED = [Request("a toy", 1), Request("plush", 2)]
MIDDLE = [{"place": [0.25, 0.0, 0.75, 1.0], "prompt": "x"}]  # where regions are seen with and without control


def disc(left: int = 4, size: int = 32) -> Image.Image:
    found = Image.new("L", (size, size), 0)
    ImageDraw.Draw(found).ellipse((left, size // 4, left + size // 2, 3 * size // 4), fill=255)
    return found


def control_net(unet, fresh: bool = True) -> ControlNetModel:
    torch.manual_seed(3)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))  # two entries: factor 2
    if not fresh:
        with torch.no_grad():
            for part in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
                torch.nn.init.normal_(part.weight, std=0.2)
    return net.eval()


def t2i_adapter() -> T2IAdapter:
    torch.manual_seed(4)
    return T2IAdapter(
        in_channels=1, channels=[16, 32], num_res_blocks=1, downscale_factor=2, adapter_type="full_adapter"
    ).eval()


def draw(tiny_base: Path, net=None, shown: Image.Image | None = None, wanted=WANTED, **changes) -> list[np.ndarray]:
    pipe = load_pipeline(tiny_base, torch.float32, "cpu")
    control = changes.pop("control", {})
    guide = None
    if net is not None:
        settings = Control(**{"kind": "silhouette", **control})
        guide = Guide(shown or disc(), net(pipe.unet), settings)
        changes["control"] = settings.model_dump()
    sampler = RecipeSampler(pipe, "ddim", recipe_of(changes, "it"), Words("mysks", "toy"), guide=guide)
    return [np.asarray(found) for found in sampler.draw(wanted, 4, 3.0, 32, 8)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("changes", [{}, {"regions": MIDDLE, "avoid": "x"}])
def test_a_fresh_control_net_draws_the_pictures_without_one_bit_for_bit(tiny_base: Path, changes: dict) -> None:
    assert same(draw(tiny_base, control_net, **changes), draw(tiny_base, **changes))


@pytest.mark.parametrize("net", [lambda unet: control_net(unet, fresh=False), lambda _: t2i_adapter()])
def test_pictures_follow_the_control_picture_as_strongly_and_as_long_as_asked(tiny_base: Path, net) -> None:
    plain, full = draw(tiny_base), draw(tiny_base, net)
    assert not same(full[:1], plain[:1])
    assert same(full[1:], draw(tiny_base, net, wanted=WANTED[1:]))
    one = WANTED[:1]
    assert not same(full[:1], draw(tiny_base, net, disc(12), one))
    assert same(draw(tiny_base, net, wanted=one, control={"scale": 0}), plain[:1])
    far = [
        np.abs(np.int16(draw(tiny_base, net, wanted=one, control=control)[0]) - plain[0]).mean()
        for control in ({"scale": 0.1}, {})
    ]
    assert far[0] < far[1]
    late, early = (draw(tiny_base, net, wanted=one, control=part) for part in ({"start": 0.8}, {"end": 0.5}))
    assert same(late, plain[:1])  # four steps: the last begins at 0.75
    assert not same(early, plain[:1]) and not same(early, full[:1])


def test_regions_stay_in_their_places_with_control_also_in_steps_in_which_it_does_not_count(tiny_base: Path) -> None:
    regions = [{"place": "left", "prompt": "x"}]
    fresh = draw(tiny_base, control_net, wanted=WANTED[:1], regions=regions)  # adds nothing to the layers
    for control in ({"end": 0.5}, {"start": 0.95}, {"scale": 0}):
        assert same(draw(tiny_base, control_net, wanted=WANTED[:1], regions=regions, control=control), fresh)
    assert not same(draw(tiny_base, wanted=WANTED[:1], regions=regions), fresh)


def test_a_network_of_another_base_is_refused(tiny_base: Path) -> None:
    other = T2IAdapter(
        in_channels=1, channels=[16, 48], num_res_blocks=1, downscale_factor=4, adapter_type="full_adapter"
    )
    with pytest.raises(ValueError, match=r"channels \[16, 48\], not \[16, 32\]; pixels in a side of a latent 4, not 2"):
        draw(tiny_base, lambda _: other)
    with pytest.raises(ValueError, match="needs a control picture"):
        recipe = Recipe(control=Control(kind="edges"))
        RecipeSampler(load_pipeline(tiny_base, torch.float32, "cpu"), "ddim", recipe, Words("a", "b"))


def test_an_adapter_is_found_by_folder_and_known_by_what_is_in_it(tmp_path: Path, tiny_base: Path) -> None:
    t2i_adapter().save_pretrained(tmp_path / "one")
    found = resolve_control(str(tmp_path / "one"), None, "pocket")
    unet = load_pipeline(tiny_base, torch.float32, "cpu").unet
    assert isinstance(load_control(found.folder, unet), T2IAdapter)
    (tmp_path / "one").rename(tmp_path / "two")
    assert resolve_control(str(tmp_path / "two"), None, "pocket").digest == found.digest
    control_net(unet).save_pretrained(tmp_path / "net")
    net = resolve_control(str(tmp_path / "net"), None, "pocket")
    assert net.digest != found.digest and isinstance(load_control(net.folder, unet), ControlNetModel)
    for wrong, words in ((tiny_base, "is no control adapter"), (tmp_path / "none", "no such folder")):
        with pytest.raises(BaseNotFound, match=words):
            resolve_control(str(wrong), None, "pocket")
    with pytest.raises(BaseNotFound, match="brings no control adapter"):
        resolve_control("base", None, "some/base")


def overlap(one: Image.Image, other: Image.Image) -> float:
    first, second = np.asarray(one) > 127, np.asarray(other) > 127
    return float((first & second).sum() / (first | second).sum())


def test_the_silhouette_is_what_stands_out_or_what_the_file_says() -> None:
    shape = disc(20, 96)
    coloured = Image.composite(
        Image.new("RGB", (96, 96), (200, 60, 40)), Image.new("RGB", (96, 96), (90, 120, 200)), shape
    )
    grain = np.random.default_rng(0).normal(0, 6, (96, 96, 3))
    noisy = Image.fromarray(np.clip(np.asarray(coloured) + grain, 0, 255).astype(np.uint8))
    assert overlap(control_picture(noisy, "silhouette"), shape) > 0.95
    textured = picture(3, 96, 96)
    assert overlap(control_picture(textured, "silhouette", shape), shape) == 1
    assert overlap(control_picture(shape.convert("RGB"), "silhouette"), shape) == 1
    assert overlap(control_picture(shape.convert("RGB"), "edges"), shape) == 1  # white on black: taken as it is
    for kind in ("silhouette", "edges"):
        with pytest.raises(ValueError, match="nothing in it stands out"):
            control_picture(Image.new("RGB", (32, 32), (90, 90, 90)), kind)


def cut_out(colour: tuple[int, int, int], shape: Image.Image) -> tuple[Image.Image, Image.Image]:
    """A toy of one colour on a transparent ground, as it is read: on white, and its alpha channel."""
    white = Image.new("RGB", shape.size, "white")
    return Image.composite(Image.new("RGB", shape.size, colour), white, shape), shape


def test_the_shape_is_white_whatever_its_colour_and_ground_are() -> None:
    shape = disc(20, 96)
    black_on_white = Image.eval(shape, lambda level: 255 - level).convert("RGB")
    assert overlap(control_picture(black_on_white, "silhouette"), shape) > 0.95
    for colour in ((8, 8, 8), (255, 255, 255), (150, 90, 30)):
        assert overlap(control_picture(cut_out(colour, shape)[0], "silhouette", shape), shape) == 1
        edges = np.asarray(control_picture(cut_out(colour, shape)[0], "edges", shape)) > 0
        assert 0 < edges.mean() < 0.1 and not edges[40:56, 40:56].any()
        assert near(edges, shape) > 0.95
    lines = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(lines).rectangle((24, 30, 70, 66), outline="black", width=2)
    edges = np.asarray(control_picture(lines, "edges")) > 0
    assert 0.01 < edges.mean() < 0.15 and not edges[:20].any()  # not the paper
    opaque = Image.new("L", (96, 96), 255)
    assert overlap(control_picture(shape.convert("RGB"), "silhouette", opaque), shape) == 1


LINE = Image.new("L", (1024, 1024), 0)
ImageDraw.Draw(LINE).line((300, 100, 300, 900), fill=255)


def test_lines_are_as_clear_at_the_size_of_the_drawing_as_in_a_large_file() -> None:
    photo = Image.new("RGB", (1024, 1024), (70, 70, 70))
    ImageDraw.Draw(photo).rectangle((256, 320, 768, 704), fill=(190, 190, 190))
    for shown, rows in ((photo, slice(24, 40)), (LINE, slice(8, 56))):
        source = control_source(shown.convert("RGB"))
        edges = np.asarray(control_picture_of_size(source, "edges", 64))
        assert set(np.unique(edges)) == {0, 255} and (edges[rows].max(axis=1) == 255).all()


def test_what_is_transparent_in_a_file_stays_so_at_the_size_of_the_drawing() -> None:
    shape = disc(80, 384)
    toy, alpha = cut_out((255, 255, 255), shape)  # white on white: the alpha channel alone shows it
    found = control_picture_of_size(control_source(toy, alpha), "silhouette", 96)
    assert overlap(found, shape.resize((96, 96))) > 0.95


def test_a_control_picture_that_shows_nothing_at_the_size_of_the_drawing_is_refused(tiny_base: Path) -> None:
    speck = Image.new("RGB", (1024, 1024), (90, 90, 90))
    speck.paste((255, 255, 255), (500, 500, 506, 506))
    with pytest.raises(RecipeError, match="the control picture has no edges: nothing in it stands out at 32 pixels"):
        draw(tiny_base, lambda _: t2i_adapter(), speck, control={"kind": "edges"})


def near(edges: np.ndarray, shape: Image.Image) -> float:
    """The share of edges that are within two pixels of a shape's outline."""
    wide, narrow = (np.asarray(shape.filter(kind(5))) > 127 for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    return float((edges & wide & ~narrow).sum() / edges.sum())


def test_edges_inside_a_cut_out_are_seen_too() -> None:
    shape = disc(20, 96)
    toy, alpha = cut_out((255, 255, 255), shape)
    ImageDraw.Draw(toy).rectangle((38, 42, 56, 54), fill=(40, 40, 40))
    edges = np.asarray(control_picture(toy, "edges", alpha)) > 0
    assert edges[36:60, 32:62].sum() > 30 and near(edges, shape) < 0.95


def test_edges_run_along_a_shape_and_are_thin() -> None:
    shape = Image.new("RGB", (96, 96), (70, 70, 70))
    ImageDraw.Draw(shape).rectangle((24, 30, 70, 66), fill=(190, 190, 190))
    found = np.asarray(control_picture(shape, "edges")) > 0
    rows, columns = np.nonzero(found)
    from_sides = np.minimum(
        np.minimum(abs(columns - 24), abs(columns - 70)), np.minimum(abs(rows - 30), abs(rows - 66))
    )
    around = 2 * (47 + 37)
    assert from_sides.max() <= 2 and 0.8 * around < found.sum() < 1.3 * around


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ({"kind": "pose"}, "control.kind"),
        ({"kind": "edges", "start": 0.6, "end": 0.5}, "start must be before end"),
        ({"kind": "edges", "sclae": 1}, "did you mean scale"),
    ],
)
def test_control_that_cannot_be_is_named(control: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe_of({"control": control}, "it")
