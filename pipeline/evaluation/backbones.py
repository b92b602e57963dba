"""Feature extractors behind one small interface: pictures and texts in, unit vectors out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from pipeline.base.components import best_device, quiet_loading
from pipeline.files import digest_file, read_json

BATCH = 32


class Encoder:
    """An image encoder with its own preprocessing: resize the shorter side (bicubic), crop the centre, normalise.

    The embedding is the class token of a transformer (DINO and its like), the pooled features of a convolutional
    network. `digest` is the sha256 of the weights file, so that figures say what they were measured with.
    """

    def __init__(self, folder: Path):
        from transformers import AutoModel

        self._load(AutoModel, folder)

    def _load(self, kind: Any, folder: Path) -> None:
        quiet_loading()
        self.device = best_device()
        self.model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().to(self.device)
        self.model.eval()
        settings = read_json(folder / "preprocessor_config.json")
        crop = settings.get("crop_size") if settings.get("do_center_crop", True) else None
        self.resized = _side(settings["size"])
        self.side = _side(crop) if crop else self.resized
        self.mean = torch.tensor(settings["image_mean"]).reshape(3, 1, 1)
        self.deviation = torch.tensor(settings["image_std"]).reshape(3, 1, 1)
        self.digest = digest_file(folder / "model.safetensors")

    @torch.inference_mode()
    def pictures(self, files: Sequence[Path]) -> torch.Tensor:
        """Image embeddings of unit length, float32 [files, dimensions] on the CPU."""
        found = []
        for at in range(0, len(files), BATCH):
            pixels = torch.stack([self._pixels(file) for file in files[at : at + BATCH]]).to(self.device)
            found.append(normalize(self._embed(pixels).float(), dim=-1).cpu())
        return torch.cat(found)

    def _embed(self, pixels: torch.Tensor) -> Any:
        hidden = self.model(pixel_values=pixels)
        states = hidden.last_hidden_state
        return states[:, 0] if states.ndim == 3 else hidden.pooler_output.flatten(1)

    def _pixels(self, file: Path) -> torch.Tensor:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        scale = max(self.resized, self.side) / min(picture.size)
        if scale != 1:
            size = (max(self.side, round(picture.width * scale)), max(self.side, round(picture.height * scale)))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = (picture.width - self.side) // 2, (picture.height - self.side) // 2
        picture = picture.crop((left, top, left + self.side, top + self.side))
        pixels = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)
        return (pixels - self.mean) / self.deviation


class Clip(Encoder):
    """A CLIP: pictures and texts in one space."""

    def __init__(self, folder: Path):
        from transformers import CLIPModel, CLIPTokenizer

        self._load(CLIPModel, folder)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def _embed(self, pixels: torch.Tensor) -> Any:
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Text embeddings of unit length, float32 [texts, dimensions] on the CPU; long texts are cut off."""
        tokens = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.device)
        vectors = self.model.text_projection(self.model.text_model(**tokens).pooler_output)
        return normalize(vectors.float(), dim=-1).cpu()


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])
