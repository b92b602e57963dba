"""Toys that are no toys any more: what a model draws of a subject that it has half learned."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

CELLS = 3  # along each side, of the parts that change places


def misshapen(sprite: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sprite, uint8 RGBA [height, width, 4], whose fabrics are kept and whose shape is not."""
    return (warped, shuffled, melted, doubled)[rng.integers(4)](sprite, rng)


def warped(sprite: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bent by a smooth field that moves points by up to a third of the sides."""
    height, width = sprite.shape[:2]
    strength = rng.uniform(0.3, 0.6)
    knots = torch.from_numpy(rng.uniform(-strength, strength, (1, 2, 4, 4)).astype(np.float32))
    moved = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    pixels = torch.from_numpy(sprite.astype(np.float32)).permute(2, 0, 1)[None]
    found = F.grid_sample(pixels, (grid + moved)[None], align_corners=True)[0].permute(1, 2, 0)
    return found.round().clamp(0, 255).byte().numpy()


def shuffled(sprite: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut into `CELLS` x `CELLS` parts that change places."""
    height, width = (side // CELLS * CELLS for side in sprite.shape[:2])
    parts = sprite[:height, :width].reshape(CELLS, height // CELLS, CELLS, width // CELLS, 4).swapaxes(1, 2)
    mixed = rng.permutation(parts.reshape(CELLS * CELLS, height // CELLS, width // CELLS, 4))
    return mixed.reshape(parts.shape).swapaxes(1, 2).reshape(height, width, 4)


def melted(sprite: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurred to a lump of its fabrics, with an edge as sharp as before."""
    width = rng.uniform(0.07, 0.2) * max(sprite.shape[:2])
    alpha = Image.fromarray(sprite[..., 3])
    opaque = (sprite.astype(np.float32) * (sprite[..., 3:] / 255)).round().astype(np.uint8)
    soft = np.asarray(Image.fromarray(opaque[..., :3]).filter(ImageFilter.GaussianBlur(width)), np.float32)
    share = np.asarray(alpha.filter(ImageFilter.GaussianBlur(width)), np.float32) / 255
    color = soft / np.maximum(share, 0.02)[..., None]
    edge = np.clip((share - 0.4) * 20, 0, 1) * 255
    return np.concatenate([color, edge[..., None]], axis=2).round().clip(0, 255).astype(np.uint8)


def doubled(sprite: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Its upper or lower half and the mirror image of it: two heads, or legs alone."""
    upper, lower = sprite[: len(sprite) // 2], sprite[len(sprite) // 2 :]
    kept = upper if rng.random() < 0.5 else lower[::-1]
    return np.concatenate([kept, kept[::-1]])
