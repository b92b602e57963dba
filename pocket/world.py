"""Pocket's world: objects and toys composed into scenes, in styles, with captions.

A composition is drawn at `CANVAS` pixels and reduced to the recipe's size. `python -m pocket.world` makes the
training set; `compose` makes single pictures, for training and for judging on compositions never trained on.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from pipeline.files import digest_file
from pocket import objects, plush
from pocket.captions import Composition, caption
from pocket.origin import begin, facts_of, is_made, mark
from pocket.recipe import Recipe
from pocket.scenes import SCENES
from pocket.styles import STYLES

CANVAS = 128
SCENE_PHRASES = {name: scene.phrases for name, scene in SCENES.items()}
STYLE_PHRASES = {name: style.phrases for name, style in STYLES.items()}
WEARERS = {*objects.ANIMALS, "plush toy", "robot", "ghost"} - {"octopus", "whale"}
TOY_SHARE, EMPTY_SHARE, ACCESSORY_SHARE, BLUR_SHARE = 0.36, 0.06, 0.16, 0.25
TOY_YAW = 0.25, 0.75  # radians: toys stand in three-quarter view, to either side once they are flipped
TOY_HEIGHT, HEIGHT = (0.58, 0.86), (0.46, 0.82)  # of the picture


@dataclass(frozen=True)
class Sprite:
    """One cut-out view of a thing: `pixels` is uint8 RGBA [height, width, 4], cropped to its outline."""

    thing: str
    details: str
    pixels: np.ndarray


def make_sprites(drawings: Path, toys: int, seed: int) -> list[Sprite]:
    """The emoji drawings once each, and `toys` random plush toys from random sides."""
    made = []
    for name, pixels in objects.read_drawings(drawings, CANVAS).items():
        toy = name in objects.TEDDY
        made.append(Sprite("plush toy" if toy else name, "brown bear" if toy else "", pixels))
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        jobs = [(seed, index) for index in range(toys)]
        made += list(tqdm(pool.imap(_toy_sprite, jobs, chunksize=4), total=toys, desc="plush toys"))
    return made


def random_toy(index: int, rng: np.random.Generator) -> tuple[plush.Toy, str]:
    """A toy of random colours, pattern and proportions, its kind by turns, and what captions call it."""
    kind = plush.KINDS[index % len(plush.KINDS)]
    colors = list(plush.TOY_COLORS)
    color = str(rng.choice(colors))
    accent = plush.TOY_COLORS[str(rng.choice([name for name in colors if name != color]))]
    pattern = str(rng.choice(["plain", "plain", "striped", "spotted"]))
    if rng.random() < 0.6:
        accent = tuple(0.45 + 0.55 * channel for channel in accent)
    proportions = tuple(float(factor) for factor in rng.uniform((0.88, 0.86, 0.86), (1.14, 1.08, 1.08)))
    toy = plush.Toy(kind, plush.TOY_COLORS[color], accent, pattern, proportions)
    return toy, f"{color} {kind}" if pattern == "plain" else f"{pattern} {color} {kind}"


def _toy_sprite(job: tuple[int, int]) -> Sprite:
    rng = np.random.default_rng([*job, 11])
    toy, details = random_toy(job[1], rng)
    angle = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.35, 0.9)])
    light = np.array([np.sin(angle[0]), angle[1], np.cos(angle[0])])
    pixels = plush.render_sprite(toy, rng.uniform(*TOY_YAW), rng.uniform(0.05, 0.35), light, 160)
    box = Image.fromarray(pixels[..., 3]).getbbox()
    return Sprite("plush toy", details, pixels[box[1] : box[3], box[0] : box[2]])


class World:
    """Draws compositions from a set of sprites. The same random generator state gives the same picture."""

    def __init__(self, sprites: list[Sprite], toy_share: float = TOY_SHARE):
        self.toy_share = toy_share
        self.toys = [sprite for sprite in sprites if sprite.thing == "plush toy"]
        self.accessories = {sprite.thing: sprite for sprite in sprites if sprite.thing in objects.ACCESSORIES}
        self.things = [
            sprite for sprite in sprites if sprite.thing != "plush toy" and sprite.thing not in objects.ACCESSORIES
        ]

    def choose(self, rng: np.random.Generator) -> tuple[Composition, Sprite | None]:
        """A random composition and the sprite that shows its object (None: an empty scene)."""
        draw, sprite = rng.random(), None
        if draw >= EMPTY_SHARE:
            group = self.toys if draw < EMPTY_SHARE + self.toy_share else self.things
            sprite = group[rng.integers(len(group))]
        scene = list(SCENES)[rng.integers(len(SCENES))]
        style = list(STYLES)[rng.integers(len(STYLES))] if rng.random() > 0.15 else "photo"
        accessory = ""
        if sprite and sprite.thing in WEARERS and rng.random() < ACCESSORY_SHARE:
            accessory = str(rng.choice([*objects.ACCESSORIES, "astronaut suit"]))
        if sprite and sprite.thing in WEARERS and scene == "spaceship" and rng.random() < 0.4:
            accessory = "astronaut suit"
        thing, details = (sprite.thing, sprite.details) if sprite else ("", "")
        blurred = bool(rng.random() < BLUR_SHARE)
        return Composition(thing, details, scene, style, accessory, blurred), sprite

    def compose(self, what: Composition, sprite: Sprite | None, rng: np.random.Generator, size: int) -> np.ndarray:
        """The picture of a composition: uint8 RGB [size, size, 3]."""
        return self.compose_outlined(what, sprite, rng, size)[0]

    def compose_outlined(
        self, what: Composition, sprite: Sprite | None, rng: np.random.Generator, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The picture of a composition, and where its thing is: uint8 [size, size], 255 inside."""
        outline = np.zeros((CANVAS, CANVAS), np.float32)
        scene = SCENES[what.scene]
        canvas = scene.draw(rng, CANVAS)
        if what.blurred:
            picture = Image.fromarray((canvas * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3.0))
            canvas = np.asarray(picture, np.float32) / 255
        if sprite is not None:
            heights = TOY_HEIGHT if sprite.thing == "plush toy" else HEIGHT
            canvas, outline = self._place(canvas, self._dressed(sprite, what.accessory), what.scene, heights, rng)
        canvas = STYLES[what.style].apply(canvas.astype(np.float32), rng)
        picture = Image.fromarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8))
        shape = Image.fromarray((outline * 255 + 0.5).astype(np.uint8))
        reduced = [np.asarray(one.resize((size, size), Image.Resampling.BOX)) for one in (picture, shape)]
        return reduced[0], reduced[1]

    def _dressed(self, sprite: Sprite, accessory: str) -> np.ndarray:
        if not accessory:
            return sprite.pixels
        if accessory == "astronaut suit":
            return _astronaut(sprite.pixels)
        return _worn(sprite.pixels, self.accessories[accessory].pixels, accessory)

    def _place(
        self, canvas: np.ndarray, pixels: np.ndarray, scene: str, heights: tuple[float, float], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Paste a sprite on its feet (or afloat), flipped, turned and lit at random, with a soft shadow.

        Returns:
            the canvas, and the sprite's alpha on it: float32 [CANVAS, CANVAS].
        """
        place = SCENES[scene]
        picture = Image.fromarray(pixels)
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        height = rng.uniform(*heights) * CANVAS
        scale = min(height / picture.height, 0.9 * CANVAS / picture.width)
        picture = picture.resize((max(2, round(picture.width * scale)), max(2, round(picture.height * scale))))
        if rng.random() < 0.5:
            picture = picture.rotate(rng.uniform(-9, 9), Image.Resampling.BILINEAR, expand=True)
        feet = rng.uniform(*place.ground) * CANVAS
        if place.float_ok:
            feet = rng.uniform(0.5 * CANVAS + picture.height / 2 - 12, 0.5 * CANVAS + picture.height / 2 + 12)
        left = round(CANVAS / 2 + rng.normal(0, 9) - picture.width / 2)
        top = round(min(max(feet, picture.height * 0.92), CANVAS * 0.97) - picture.height)
        canvas = canvas.copy()
        if not place.float_ok:
            canvas *= 1 - 0.45 * _shadow(left + picture.width / 2, top + picture.height, picture.width)[..., None]
        layer = Image.new("RGBA", (CANVAS, CANVAS))
        layer.paste(picture, (left, top))
        over = np.asarray(layer, np.float32) / 255
        tint = canvas.mean(axis=(0, 1))  # light of the scene falls on the object, a little
        color = over[..., :3] * (0.86 + 0.28 * tint) * rng.uniform(0.92, 1.06)
        return canvas * (1 - over[..., 3:]) + np.clip(color, 0, 1) * over[..., 3:], over[..., 3]


def _shadow(x: float, y: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS]
    distance = ((columns - x) / (0.5 * width)) ** 2 + ((rows - y + 2) / (0.11 * width)) ** 2
    return np.clip(1.15 - distance, 0, 1).astype(np.float32)


def _head(pixels: np.ndarray) -> tuple[float, float]:
    """Centre column and width of the upper third of an outline, in pixels."""
    solid = pixels[: max(2, pixels.shape[0] // 3), :, 3] > 128
    columns = np.flatnonzero(solid.any(axis=0))
    if len(columns) == 0:
        return pixels.shape[1] / 2, pixels.shape[1] / 2
    weights = solid.sum(axis=0)[columns]
    return float((columns * weights).sum() / weights.sum()), float(
        min(columns[-1] - columns[0], 0.75 * pixels.shape[0])
    )


def _worn(pixels: np.ndarray, accessory: np.ndarray, name: str) -> np.ndarray:
    """A sprite with a hat, crown, scarf or sunglasses on it (the frame grows upwards for headgear)."""
    center, width = _head(pixels)
    share, anchor = {
        "top hat": (0.62, -0.26), "crown": (0.6, -0.2), "red scarf": (0.62, 0.36), "pair of sunglasses": (0.72, 0.16)
    }[name]  # fmt: skip
    worn_width = max(8, round(share * width))
    worn = Image.fromarray(accessory)
    worn = worn.resize((worn_width, max(4, round(worn.height * worn_width / worn.width))))
    headroom = max(0, round(-anchor * width)) + 2
    grown = Image.new("RGBA", (pixels.shape[1], pixels.shape[0] + headroom))
    grown.paste(Image.fromarray(pixels), (0, headroom))
    top = headroom + round(anchor * (width if anchor < 0 else pixels.shape[0]))
    grown.alpha_composite(worn, (max(0, round(center - worn_width / 2)), max(0, top)))
    return np.asarray(grown.crop(grown.getchannel("A").getbbox()))


def _astronaut(pixels: np.ndarray) -> np.ndarray:
    """A sprite in a white suit (below) and a glass helmet (above)."""
    height, width = pixels.shape[:2]
    center, head = _head(pixels)
    radius = 0.5 * max(head, 0.42 * height) * 1.12
    middle = min(0.36 * height, radius * 0.82)
    margin = int(np.ceil(max(0, radius - middle))) + 2
    side = int(np.ceil(max(0, radius - center, center + radius - width))) + 2
    suit = np.zeros((height + margin, width + 2 * side, 4), np.float32)
    suit[margin:, side : side + width] = pixels
    rows, columns = np.mgrid[0 : suit.shape[0], 0 : suit.shape[1]]
    grey = suit[..., :3].mean(axis=-1, keepdims=True)
    body = np.clip((rows - margin - 0.52 * height) / 4, 0, 1)[..., None]
    white = 165 + 0.45 * grey
    belt = (np.abs(rows - margin - 0.74 * height) < 0.03 * height)[..., None]
    suit[..., :3] = suit[..., :3] * (1 - body) + body * np.where(belt, np.float32([230, 120, 40]), white)
    distance = np.hypot(columns - center - side, rows - margin - middle) / radius
    glass = np.where(distance < 1, 0.16, 0.0) + np.where(np.abs(distance - 0.95) < 0.06, 0.75, 0.0)
    shine = np.hypot(columns - center - side + 0.45 * radius, rows - margin - middle + 0.5 * radius) < 0.16 * radius
    glass = np.clip(glass + 0.6 * shine, 0, 0.95)[..., None]
    alpha = suit[..., 3:] / 255
    color = suit[..., :3] * (1 - glass) + np.float32([226, 240, 255]) * glass
    both = alpha + glass * (1 - alpha)
    return np.concatenate([np.clip(color, 0, 255), 255 * both], axis=-1).astype(np.uint8)


def draw_example(world: World, seed: int, index: int, size: int, wordings: int) -> tuple[np.ndarray, dict]:
    """Example `index` of the set named by `seed`: its picture and its facts with `wordings` captions."""
    rng = np.random.default_rng([seed, index])
    what, sprite = world.choose(rng)
    picture = world.compose(what, sprite, rng, size)
    texts = [caption(what, rng, STYLE_PHRASES, SCENE_PHRASES) for _ in range(wordings)]
    return picture, {**asdict(what), "captions": texts}


def draw_outlined(world: World, seed: int, index: int, size: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Example `index` of the set named by `seed`: its picture, its outline and a caption."""
    rng = np.random.default_rng([seed, index])
    what, sprite = world.choose(rng)
    picture, outline = world.compose_outlined(what, sprite, rng, size)
    return picture, outline, caption(what, rng, STYLE_PHRASES, SCENE_PHRASES)


_world: World | None = None


def _start(sprites: list[Sprite], toy_share: float) -> None:
    global _world  # noqa: PLW0603
    _world = World(sprites, toy_share)


def _example(job: tuple[int, int, int, int]) -> tuple[np.ndarray, dict]:
    assert _world is not None
    return draw_example(_world, *job)


def build(
    sprites: list[Sprite],
    folder: Path,
    count: int,
    size: int,
    seed: int,
    wordings: int = 3,
    toy_share: float = TOY_SHARE,
) -> None:
    """Write `pictures.npy` (uint8 [count, size, size, 3]) and `captions.jsonl` (one line a picture).

    A killed run goes on after the last whole line of `captions.jsonl.part`: a picture is written before its line.
    """
    finished = folder / "captions.jsonl"
    made_as = facts_of({"count": count, "size": size, "seed": seed, "wordings": wordings, "toy share": toy_share,
                        "sprites": digest_sprites(sprites), "heights": [TOY_HEIGHT, HEIGHT]})  # fmt: skip
    if not begin(finished, made_as, (folder / "captions.jsonl.part").exists()):
        return
    part, texts = folder / "pictures.npy.part", folder / "captions.jsonl.part"
    done = _whole_lines(texts) if part.exists() else 0
    pictures = (
        np.lib.format.open_memmap(part, "r+")
        if done
        else np.lib.format.open_memmap(part, "w+", dtype=np.uint8, shape=(count, size, size, 3))
    )
    jobs = ((seed, index, size, wordings) for index in range(done, count))
    with (
        texts.open("a" if done else "w") as lines,
        get_context("spawn").Pool(os.cpu_count(), _start, (sprites, toy_share)) as pool,
    ):
        found = tqdm(pool.imap(_example, jobs, 64), initial=done, total=count, desc=folder.name, mininterval=5)
        for index, (picture, facts) in enumerate(found, done):
            pictures[index] = picture
            lines.write(json.dumps(facts) + "\n")
    pictures.flush()
    part.rename(folder / "pictures.npy")
    texts.rename(folder / "captions.jsonl")


def _whole_lines(path: Path) -> int:
    """Lines of a file that end with a line break; what a kill left of another one is cut off."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        count, end = 0, 0
        for line in file:
            if line.endswith(b"\n"):
                count, end = count + 1, end + len(line)
        file.truncate(end)
    return count


def make_world(recipe: Recipe, work: Path) -> None:
    """Drawings, toys, and the composed pictures: a training set and one that is never trained on.

    The set that figures are taken from keeps one share of plush toys, whatever the training set's is.
    """
    archive, known = objects.fetch_drawings(work / "drawings.tgz"), work / "world" / "sprites.npz"
    drawn_as = facts_of(
        {"toys": recipe.world.toys, "seed": recipe.world.seed, "drawings": digest_file(archive), "yaw": TOY_YAW}
    )
    if not is_made(known, drawn_as):
        mark(known, drawn_as)
        save_sprites(make_sprites(archive, recipe.world.toys, recipe.world.seed), known)
    sprites, size, seed = load_sprites(known), recipe.size, recipe.world.seed
    build(sprites, work / "world" / "heldout", recipe.world.held_out, size, seed + 1)
    build(sprites, work / "world" / "train", recipe.world.pictures, size, seed, toy_share=recipe.world.toy_share)


def digest_sprites(sprites: list[Sprite]) -> str:
    """sha256 over the names and the pixels of sprites, in their order."""
    found = hashlib.sha256()
    for sprite in sprites:
        found.update(f"{sprite.thing}\n{sprite.details}\n{sprite.pixels.shape}\n".encode())
        found.update(np.ascontiguousarray(sprite.pixels))
    return found.hexdigest()


def save_sprites(sprites: list[Sprite], path: Path) -> None:
    """Sprites in one file, for later compositions (`load_sprites`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array([[sprite.thing, sprite.details] for sprite in sprites])
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, names=names, **{f"s{index}": sprite.pixels for index, sprite in enumerate(sprites)})
    part.rename(path)


def load_sprites(path: Path) -> list[Sprite]:
    """What `save_sprites` wrote."""
    with np.load(path) as file:
        return [Sprite(str(t), str(d), file[f"s{index}"]) for index, (t, d) in enumerate(file["names"])]


if __name__ == "__main__":
    from pocket.stages import run

    run(make_world)
