"""A photo of the toy: rays through a lens, marched to the toy and its props, lit with soft shadows."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from examples.solids import Solid, Texture
from pocket.plush import Body, _rotation, shade


@dataclass(frozen=True)
class Photo:
    """One scene and how it was taken. Angles in degrees, lengths in toy units (the toy is about 1.6 high)."""

    name: str
    scene: str
    caption: str
    ground: Texture
    backdrop: Texture  # colour of a far wall or sky by ray direction [n, 3]
    turn: float = 0.0  # which side the toy shows: 0 front, positive to its left
    pitch: float = 14.0
    distance: float = 4.7
    lens: float = 40.0  # field of view
    aim: tuple[float, float] = (0.0, -0.25)
    light: tuple[float, float, float] = (0.5, 0.9, 0.6)
    warmth: tuple[float, float, float] = (1.0, 0.97, 0.92)
    shadow: float = 0.55
    floor: float = -1.0  # height of the ground; the toy always stands on -1
    blur: float = 5.0  # background out of focus, pixels at 512
    props: tuple[Solid, ...] = field(default_factory=tuple)


class Stage:
    """Everything solid in one photo, as one distance field."""

    def __init__(self, photo: Photo, body: Body):
        self.photo, self.body = photo, body
        self.turn = _rotation((0, photo.turn, 0))

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Distances to the toy and to each prop, float32 [n, 1 + props]."""
        found = np.empty((len(points), 1 + len(self.photo.props)), np.float32)
        local = points @ self.turn
        far = np.linalg.norm(local - np.float32([0, -0.2, 0.1]), axis=1) - 1.6
        found[:, 0] = far + 0.25
        near = far < 0.1
        found[near, 0] = self.body.distance(local[near])
        for index, prop in enumerate(self.photo.props):
            found[:, 1 + index] = prop.distance(points)
        return found

    def march(
        self, start: np.ndarray, along: np.ndarray, limit: np.ndarray, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Travelled distance [n] (at least `limit`: nothing met) and the narrowest relative gap on the way [n]."""
        travelled = np.zeros(len(start), np.float32)
        narrow = np.ones(len(start), np.float32)
        alive = np.arange(len(start))
        for _ in range(steps):
            gap = self.distances(start[alive] + travelled[alive, None] * along[alive]).min(axis=1)
            narrow[alive] = np.minimum(narrow[alive], 9 * gap / (travelled[alive] + 0.05))
            met = gap < 0.003
            travelled[alive] += np.where(met, 0, gap * 0.92)
            alive = alive[~met & (travelled[alive] < limit[alive])]
            if len(alive) == 0:
                break
        return travelled, np.clip(narrow, 0, 1)


def take(photo: Photo, body: Body, size: int = 512, over: int = 704) -> Image.Image:
    """Render the photo of a toy at `over` pixels and reduce to `size`: RGB."""
    stage = Stage(photo, body)
    eye, along = _rays(photo, over)
    start = np.broadcast_to(eye, along.shape)
    down = np.where(along[:, 1] < -1e-4, (photo.floor - eye[1]) / np.minimum(along[:, 1], -1e-4), 60.0).astype(
        np.float32
    )
    limit = np.minimum(down, 14.0)
    travelled, _ = stage.march(start, along, limit, 90)
    solid = travelled < limit
    ground = ~solid & (down < 40)
    points = start + np.where(solid, travelled, np.minimum(down, 40.0))[:, None] * along
    color = photo.backdrop(along).astype(np.float32)
    light = np.float32(photo.light) / np.linalg.norm(photo.light)
    color[ground] = _fade(photo, photo.ground(points[ground]), color[ground], down[ground])
    lit = np.flatnonzero(solid | (ground & (np.linalg.norm(points, axis=1) < 7)))
    normals = np.zeros_like(points)
    normals[:, 1] = 1
    which = stage.distances(points[solid]).argmin(axis=1)
    color[solid], normals[solid] = _materials(stage, points[solid], along[solid], which, light)
    dark = np.ones(len(points), np.float32)
    begin = points[lit] + 0.03 * normals[lit]
    _, open_sky = stage.march(begin, np.broadcast_to(light, begin.shape), np.full(len(lit), 6, np.float32), 36)
    dark[lit] = 1 - photo.shadow * (1 - open_sky)
    near = sum(
        np.clip(step - np.minimum(stage.distances(begin + step * normals[lit]).min(1), step), 0, 1) / step
        for step in (0.12, 0.35)
    )
    dark[lit] *= 1 - 0.28 * near
    picture = np.clip(color * dark[:, None], 0, 1).reshape(over, over, 3)
    return _develop(photo, picture, solid.reshape(over, over), size)


def outline(photo: Photo, body: Body, size: int = 512, over: int = 256) -> Image.Image:
    """Where in the photo the toy is seen: white on black, mode L."""
    stage = Stage(photo, body)
    eye, along = _rays(photo, over)
    start = np.broadcast_to(eye, along.shape)
    down = np.where(along[:, 1] < -1e-4, (photo.floor - eye[1]) / np.minimum(along[:, 1], -1e-4), 60.0)
    limit = np.minimum(down, 14.0).astype(np.float32)
    travelled, _ = stage.march(start, along, limit, 90)
    solid = travelled < limit
    toy = np.zeros(len(along), np.uint8)
    toy[solid] = 255 * (stage.distances(start[solid] + travelled[solid, None] * along[solid]).argmin(axis=1) == 0)
    picture = Image.fromarray(toy.reshape(over, over)).resize((size, size), Image.Resampling.BICUBIC)
    return picture.point(lambda value: 255 * (value > 127))


def _rays(photo: Photo, over: int) -> tuple[np.ndarray, np.ndarray]:
    tilt = np.radians(photo.pitch)
    target = np.float32([photo.aim[0], photo.aim[1], 0])
    eye = target + photo.distance * np.float32([0, np.sin(tilt), np.cos(tilt)])
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    across = ((np.arange(over) + 0.5) / over * 2 - 1) * np.tan(np.radians(photo.lens / 2))
    x, y = np.meshgrid(across, -across)
    along = forward + x.reshape(-1, 1) * right + y.reshape(-1, 1) * up
    return eye.astype(np.float32), (along / np.linalg.norm(along, axis=1, keepdims=True)).astype(np.float32)


def _fade(photo: Photo, near: np.ndarray, far: np.ndarray, distance: np.ndarray) -> np.ndarray:
    haze = np.clip((distance - 16) / 20, 0, 1)[:, None]
    tint = np.float32(photo.warmth)
    return near * tint * (1 - haze) + far * haze


def _materials(
    stage: Stage, points: np.ndarray, along: np.ndarray, which: np.ndarray, light: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    color, normals = np.zeros_like(points), np.zeros_like(points)
    toy = which == 0
    local = points[toy] @ stage.turn
    normals[toy] = stage.body.normals(local) @ stage.turn.T
    color[toy] = shade(stage.body, local, along[toy] @ stage.turn, light @ stage.turn, stage.photo.warmth)
    for index, prop in enumerate(stage.photo.props):
        mine = which == index + 1
        if not mine.any():
            continue
        at, step = points[mine], 0.004
        corners = np.float32([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        normal = sum(corner * prop.distance(at + step * corner)[:, None] for corner in corners)
        normal = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)
        diffuse = np.clip((normal @ light + 0.25) / 1.25, 0, 1)[:, None]
        half = light - along[mine]
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        shine = prop.gloss * np.clip((normal * half).sum(1), 0, 1) ** 50
        base = prop.texture(at)
        color[mine] = (
            base * (0.42 + 0.14 * normal[:, 1:2] + 0.55 * diffuse * np.float32(stage.photo.warmth)) + shine[:, None]
        )
        normals[mine] = normal
    return color, normals


def _develop(photo: Photo, picture: np.ndarray, solid: np.ndarray, size: int) -> Image.Image:
    """Blur what is far (above the toy's feet and not solid), add vignette and a little sensor noise, reduce."""
    over = len(picture)
    image = Image.fromarray((picture * 255).astype(np.uint8))
    soft = image.filter(ImageFilter.GaussianBlur(photo.blur * over / 512))
    rows = np.linspace(1.0, 0.0, over)[:, None]
    mask = np.clip((rows - 0.42) * 4, 0, 1) * ~solid
    mask = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    mask = Image.fromarray(np.minimum(np.asarray(mask), np.where(solid, 0, 255).astype(np.uint8)))
    image.paste(soft, (0, 0), mask)
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    vignette = 1 - 0.12 * np.clip(rows**2 + columns**2 - 0.4, 0, 2)
    grain = np.random.default_rng(len(photo.caption)).normal(0, 0.008, (size, size, 1))
    developed = np.asarray(image, np.float32) / 255 * vignette[..., None] + grain
    return Image.fromarray((np.clip(developed, 0, 1) * 255 + 0.5).astype(np.uint8))
