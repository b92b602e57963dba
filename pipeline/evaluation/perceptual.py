"""LPIPS: how different two pictures look, from the layers of an AlexNet (Zhang et al. 2018, arXiv 1801.03924)."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize

from pipeline.base.components import best_device
from pipeline.files import digest_file, read_json

# Convolutions as (in, out, kernel, stride, padding); True: a 3x3 maximum with stride 2 before it.
LAYERS = (
    (False, 3, 64, 11, 4, 2),
    (True, 64, 192, 5, 1, 2),
    (True, 192, 384, 3, 1, 1),
    (False, 384, 256, 3, 1, 1),
    (False, 256, 256, 3, 1, 1),
)
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pixels in -1..1


def is_lpips(folder: Path) -> bool:
    """Whether the folder's config.json says that it holds an LPIPS."""
    return bool(read_json(folder / "config.json").get("model_type") == "lpips")


class Lpips(nn.Module):
    """Weights from `model.safetensors`: `convolutions.<n>.weight`, `.bias`, `heads.<n>` of [channels], n 0 to 4."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, folder: Path):
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(*layer[1:]) for layer in LAYERS])
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(layer[2])) for layer in LAYERS])
        self.load_state_dict(load_file(folder / "model.safetensors"))
        self.register_buffer("mean", torch.tensor(MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(3, 1, 1), persistent=False)
        self.digest = digest_file(folder / "model.safetensors")
        self.device = best_device()
        self.to(self.device).eval().requires_grad_(False)

    def features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Activations of the five layers, each position's channels scaled to unit length; `pixels` in -1..1."""
        hidden, found = (pixels - self.mean) / self.deviation, []
        for layer, convolution in zip(LAYERS, self.convolutions, strict=True):
            if layer[0]:
                hidden = nn.functional.max_pool2d(hidden, 3, 2)
            hidden = convolution(hidden).relu()
            found.append(normalize(hidden, dim=1, eps=1e-10))
        return found

    @torch.inference_mode()
    def among(self, files: Sequence[Path]) -> float:
        """Mean LPIPS over all pairs of two or more pictures of one size."""
        batch = torch.stack([_pixels(file) for file in files]).to(self.device)
        layers = self.features(batch)
        pairs = list(combinations(range(len(files)), 2))
        first, second = [a for a, _ in pairs], [b for _, b in pairs]
        total = torch.zeros(len(pairs), device=self.device)
        for head, layer in zip(self.heads, layers, strict=True):
            squared = (layer[first] - layer[second]) ** 2
            total += (squared * head.reshape(-1, 1, 1)).sum(dim=1).mean(dim=(1, 2))
        return float(total.mean())


def _pixels(file: Path) -> torch.Tensor:
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(2, 0, 1)
