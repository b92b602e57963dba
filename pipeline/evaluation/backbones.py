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


class Clip:
    """A CLIP model with its own preprocessing: resize the shorter side (bicubic), crop the centre, normalise.

    `digest` is the sha256 of its weights file, so that figures say what they were measured with.
    """

    def __init__(self, folder: Path):
        from transformers import CLIPModel, CLIPTokenizer

        quiet_loading()
        self.device = best_device()
        self.model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).to(self.device)
        self.model.eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        settings = read_json(folder / "preprocessor_config.json")
        self.side = _side(settings.get("crop_size", settings["size"]))
        self.mean = torch.tensor(settings["image_mean"]).reshape(3, 1, 1)
        self.deviation = torch.tensor(settings["image_std"]).reshape(3, 1, 1)
        self.digest = digest_file(folder / "model.safetensors")

    @torch.inference_mode()
    def pictures(self, files: Sequence[Path]) -> torch.Tensor:
        """Image embeddings of unit length, float32 [files, dimensions] on the CPU."""
        found = []
        for at in range(0, len(files), BATCH):
            pixels = torch.stack([self._pixels(file) for file in files[at : at + BATCH]]).to(self.device)
            vectors = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
            found.append(normalize(vectors.float(), dim=-1).cpu())
        return torch.cat(found)

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

    def _pixels(self, file: Path) -> torch.Tensor:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        scale = self.side / min(picture.size)
        if scale != 1:
            size = (max(self.side, round(picture.width * scale)), max(self.side, round(picture.height * scale)))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = (picture.width - self.side) // 2, (picture.height - self.side) // 2
        picture = picture.crop((left, top, left + self.side, top + self.side))
        pixels = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)
        return (pixels - self.mean) / self.deviation


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])
