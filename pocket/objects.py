"""The drawings that pocket's world is made of: 50 objects of the Fluent emoji 3D set (Microsoft, MIT licence).

They come from the npm package `@lobehub/fluent-emoji-3d`, one pinned version, checked by digest. The package is
needed only to make pocket again, never to use it.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
ARCHIVE_SHA256 = "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"

ANIMALS = {
    "cat": "1f408", "dog": "1f415", "rabbit": "1f407", "tiger": "1f405", "elephant": "1f418", "horse": "1f40e",
    "cow": "1f404", "pig": "1f416", "wild boar": "1f417", "sheep": "1f411", "monkey": "1f412", "panda": "1f43c",
    "koala": "1f428", "penguin": "1f427", "owl": "1f989", "duck": "1f986", "turtle": "1f422", "frog": "1f438",
    "fox": "1f98a", "lion": "1f981", "whale": "1f40b", "octopus": "1f419", "hedgehog": "1f994", "giraffe": "1f992",
    "squirrel": "1f43f-fe0f", "camel": "1f42b",
}  # fmt: skip
THINGS = {
    "car": "1f697", "bus": "1f68c", "bicycle": "1f6b2", "rocket": "1f680", "steam train": "1f682",
    "tractor": "1f69c", "guitar": "1f3b8", "camera": "1f4f7", "teapot": "1fad6", "umbrella": "2602-fe0f",
    "chair": "1fa91", "house": "1f3e0", "apple": "1f34e", "pineapple": "1f34d", "strawberry": "1f353",
    "hamburger": "1f354", "mushroom": "1f344", "sunflower": "1f33b", "cactus": "1f335", "robot": "1f916",
    "ghost": "1f47b", "snowman": "26c4", "balloon": "1f388", "cupcake": "1f9c1",
}  # fmt: skip
TEDDY = {"teddy bear": "1f9f8"}
ACCESSORIES = {"top hat": "1f3a9", "crown": "1f451", "red scarf": "1f9e3", "pair of sunglasses": "1f576-fe0f"}


class DrawingsError(RuntimeError):
    """The package of drawings could not be had, or is not the pinned one."""


def fetch_drawings(archive: Path) -> Path:
    """Download the pinned npm package to `archive` unless it is there already; check its digest either way.

    Raises:
        DrawingsError: npm is missing or failed, or the archive's sha256 is not `ARCHIVE_SHA256`.
    """
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=_made(archive.parent)) as folder:
            command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", folder]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                raise DrawingsError(f"npm is needed to download {PACKAGE}; install Node.js") from error
            packed = list(Path(folder).glob("*.tgz"))
            if done.returncode or not packed:
                raise DrawingsError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
            shutil.move(packed[0], archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != ARCHIVE_SHA256:
        raise DrawingsError(f"{archive} has sha256 {digest}, expected {ARCHIVE_SHA256}; remove it and run again")
    return archive


def read_drawings(archive: Path, size: int) -> dict[str, np.ndarray]:
    """All objects and accessories by name, each uint8 RGBA [height, width, 4], cropped, longest side `size`."""
    wanted = {code: name for group in (ANIMALS, THINGS, TEDDY, ACCESSORIES) for name, code in group.items()}
    drawings = {}
    with tarfile.open(archive) as tar:
        for code, name in wanted.items():
            member = tar.extractfile(f"package/assets/{code}.webp")
            if member is None:
                raise DrawingsError(f"{archive} has no drawing {code}.webp for '{name}'")
            drawings[name] = _fitted(Image.open(io.BytesIO(member.read())).convert("RGBA"), size)
    return drawings


def _fitted(image: Image.Image, size: int) -> np.ndarray:
    image = image.crop(image.getchannel("A").getbbox())
    scale = size / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(shape, Image.Resampling.LANCZOS))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
