"""Feature extractors behind one small interface: pictures and texts in, unit vectors out."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, pairwise
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from pipeline.base.components import best_device, quiet_loading
from pipeline.files import digest_file, digest_value, read_json

BATCH = 32


class PictureEncoder(Protocol):
    """Turns pictures into unit vectors."""

    digest: str

    def pictures(self, files: Sequence[Path]) -> torch.Tensor:
        """Vectors of unit length, float32 [files, dimensions] on the CPU."""


class Distance(Protocol):
    """Measures how different pictures of one prompt are."""

    digest: str

    def among(self, files: Sequence[Path]) -> float:
        """Mean distance over all pairs of two or more pictures."""


class Encoder:
    """An image encoder with its own preprocessing: resize the shorter side (bicubic), crop the centre, normalise.

    The embedding is the class token of a transformer (DINO and its like), the pooled features of a convolutional
    network. `digest` covers weights and preprocessing, so that figures say what they were measured with. Every
    picture is looked at once: embeddings are kept by the digest of the picture's file.
    """

    def __init__(self, folder: Path):
        from transformers import AutoModel

        self._load(AutoModel, folder)

    def _load(self, kind: Any, folder: Path) -> None:
        quiet_loading()
        model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
        self._use(model, folder)

    def _use(self, model: Any, folder: Path) -> None:
        self.device = best_device()
        self.model = model.float().to(self.device).eval()
        settings = read_json(folder / "preprocessor_config.json")
        crop = settings.get("crop_size") if settings.get("do_center_crop", True) else None
        self.resized = _side(settings["size"])
        self.side = _side(crop) if crop else self.resized
        self.mean = torch.tensor(settings["image_mean"]).reshape(3, 1, 1)
        self.deviation = torch.tensor(settings["image_std"]).reshape(3, 1, 1)
        self.digest = encoder_digest(folder)
        self.known: dict[str, torch.Tensor] = {}

    def pictures(self, files: Sequence[Path]) -> torch.Tensor:
        """Image embeddings of unit length, float32 [files, dimensions] on the CPU."""
        return self._embedded([(digest_file(file), partial(_open, file)) for file in files])

    def masked(self, files: Sequence[tuple[Path, Path]]) -> torch.Tensor:
        """The same of photos of which only the subject is shown, on the photo's mean colour: (photo, mask) each."""
        return self._embedded(
            [(f"{digest_file(photo)} {digest_file(mask)}", partial(_cut_out, photo, mask)) for photo, mask in files]
        )

    @torch.inference_mode()
    def _embedded(self, wanted: Sequence[tuple[str, Callable[[], Image.Image]]]) -> torch.Tensor:
        missing = {key: load for key, load in wanted if key not in self.known}
        keys = list(missing)
        for at in range(0, len(keys), BATCH):
            part = keys[at : at + BATCH]
            pixels = torch.stack([self._pixels(missing[key]()) for key in part]).to(self.device)
            self.known |= zip(part, normalize(self._embed(pixels).float(), dim=-1).cpu(), strict=True)
        return torch.stack([self.known[key] for key, _ in wanted])

    def _embed(self, pixels: torch.Tensor) -> Any:
        hidden = self.model(pixel_values=pixels)
        states = hidden.last_hidden_state
        return states[:, 0] if states.ndim == 3 else hidden.pooler_output.flatten(1)

    def _pixels(self, picture: Image.Image) -> torch.Tensor:
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

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Text embeddings of unit length, float32 [texts, dimensions] on the CPU; long texts are cut off."""
        return self._of_tokens(
            self.tokenizer(
                list(texts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
            )
        )

    @property
    def length(self) -> int:
        """Tokens that a text has room for, with its start and its end."""
        return int(self.model.config.text_config.max_position_embeddings)

    def whole_text(self, text: str) -> torch.Tensor:
        """Embeddings of unit length, float32 [windows, dimensions] on the CPU, of all windows of a text.

        A text that is too long is cut into as few windows as it takes, of about the same length; one that fits has the
        embedding that `texts` gives it.
        """
        tokens = list(self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)
        count = ceil(len(tokens) / (self.length - 2))  # beside start and end
        if count < 2:
            return self.texts([text])
        edges = [round(len(tokens) * number / count) for number in range(count + 1)]
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        rows = [[start, *tokens[first:last], end] for first, last in pairwise(edges)]
        return self._of_tokens(
            self.tokenizer.pad({"input_ids": rows}, padding="max_length", max_length=self.length, return_tensors="pt")
        )

    @torch.inference_mode()
    def _of_tokens(self, tokens: Any) -> torch.Tensor:
        vectors = self.model.text_projection(self.model.text_model(**tokens.to(self.device)).pooler_output)
        return normalize(vectors.float(), dim=-1).cpu()

    @torch.inference_mode()
    def follows(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        """The mean cosine of each picture to prompts; that to a long prompt is the mean over its windows."""
        pixels = torch.stack([self._pixels(picture.convert("RGB")) for picture in pictures]).to(self.device)
        seen = normalize(self._embed(pixels).float(), dim=-1).cpu()
        cosines = [torch.stack([seen @ window for window in self.whole_text(one)]).mean(0) for one in prompts]
        return torch.stack(cosines).mean(0).tolist()


def encoder_digest(folder: Path) -> str:
    """sha256 over an encoder's weights and the settings by which pictures are prepared for it."""
    return digest_value([digest_file(folder / name) for name in ("model.safetensors", "preprocessor_config.json")])


def sscd_model(trunk: Any, dimensions: int) -> torch.nn.ModuleDict:
    """The parts of a copy detector by name: trunk and projection."""
    return torch.nn.ModuleDict(
        {"trunk": trunk, "projection": torch.nn.Linear(trunk.config.hidden_sizes[-1], dimensions)}
    )


class Sscd(Encoder):
    """A copy detector (Pizzi et al. 2022, arXiv 2202.10261): ResNet-50, generalised mean over the places, a projection.

    `config.json` holds `trunk` (a ResNetConfig), `dimensions` and `model_type: sscd`; `model.safetensors` the weights
    `trunk.*` and `projection.*`.
    """

    def __init__(self, folder: Path):
        from safetensors.torch import load_file
        from transformers import ResNetConfig, ResNetModel

        settings = read_json(folder / "config.json")
        trunk = ResNetModel(ResNetConfig(**settings["trunk"]))
        model = sscd_model(trunk, settings["dimensions"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
        self._use(model, folder)

    def _embed(self, pixels: torch.Tensor) -> Any:
        places = self.model["trunk"](pixel_values=pixels).last_hidden_state
        pooled = places.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
        return self.model["projection"](pooled)


class Thumbnails:
    """Pictures reduced to 16x16 RGB, their mean taken off: the cosine is the correlation of what is seen from afar.

    It finds verbatim copies and nothing subtler, and needs no weights: a stand-in for SSCD where pictures are small.
    """

    SIDE = 16
    digest = "16x16"

    def pictures(self, files: Sequence[Path]) -> torch.Tensor:
        """Vectors of unit length, float32 [files, 768]."""
        found = []
        for file in files:
            small = _open(file).resize((self.SIDE, self.SIDE), Image.Resampling.BOX)
            pixels = torch.from_numpy(np.asarray(small, np.float32)).flatten()
            found.append(normalize(pixels - pixels.mean(), dim=0))
        return torch.stack(found)


def open_encoder(folder: Path) -> Encoder:
    """The encoder in a folder, of the kind that its config.json names."""
    return Sscd(folder) if read_json(folder / "config.json").get("model_type") == "sscd" else Encoder(folder)


class CosineDistance:
    """1 - cosine of an encoder's embeddings: a stand-in for LPIPS where the base is too small for it."""

    def __init__(self, encoder: Encoder):
        self.encoder, self.digest = encoder, encoder.digest

    def among(self, files: Sequence[Path]) -> float:
        """Mean of 1 - cosine over all pairs."""
        vectors = self.encoder.pictures(files)
        pairs = list(combinations(range(len(files)), 2))
        return float(np.mean([1 - float(vectors[a] @ vectors[b]) for a, b in pairs]))


def _open(file: Path) -> Image.Image:
    with Image.open(file) as opened:
        return opened.convert("RGB")


def _cut_out(photo: Path, mask: Path) -> Image.Image:
    picture = _open(photo)
    with Image.open(mask) as opened:
        shown = opened.convert("L").resize(picture.size)
    pixels = np.asarray(picture, np.float32)
    plain = Image.new("RGB", picture.size, tuple(int(value) for value in pixels.mean(axis=(0, 1))))
    plain.paste(picture, (0, 0), shown)
    return plain


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])
