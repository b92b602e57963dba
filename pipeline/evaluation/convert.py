"""The official weights of SSCD and LPIPS, turned once into folders that `params.yaml` can name.

    python -m pipeline.evaluation.convert sscd sscd_disc_mixup.torchvision.pt sscd
    python -m pipeline.evaluation.convert lpips alexnet-owt-7be5be79.pth alex.pth lpips

Those files are pickles; they are read by torch's restricted reader, which makes tensors and runs no code, and what is
written is safetensors.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.evaluation.backbones import sscd_model
from pipeline.evaluation.perceptual import LAYERS
from pipeline.files import whole_folder, write_json

if TYPE_CHECKING:
    import torch

RESNET50 = {
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024, 2048],
    "depths": [3, 4, 6, 3],
    "layer_type": "bottleneck",
}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SSCD_SIDE = 288  # of the shorter side, as its authors recommend
BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv|bn|downsample)(?:\.)?(\d)\.(.+)")


class WeightsError(UserError):
    """The file is not the expected one."""


def convert_sscd(source: Path, target: Path) -> None:
    """The ResNet-50 of `sscd_*.torchvision.pt` as a folder for `evaluate.copies`.

    Raises:
        WeightsError: not that file; or the folder exists.
    """
    from transformers import ResNetConfig, ResNetModel

    found = {name.removeprefix("backbone."): value for name, value in _tensors(source).items()}
    weights = {(_sscd_name(name) or name): value for name, value in found.items()}
    dimensions = len(found["fc.bias"]) if "fc.bias" in found else 512
    known = sscd_model(ResNetModel(ResNetConfig(**RESNET50)), dimensions).state_dict()
    _check(source, weights, {name: tuple(value.shape) for name, value in known.items()})
    config = {"model_type": "sscd", "trunk": RESNET50, "dimensions": dimensions}
    settings = {"size": {"shortest_edge": SSCD_SIDE}, "do_center_crop": False, **IMAGENET}
    _write(target, weights, config, settings)


def convert_lpips(alexnet: Path, heads: Path, target: Path) -> None:
    """torchvision's AlexNet and the `alex.pth` of LPIPS v0.1 as a folder for `evaluate.perceptual`.

    Raises:
        WeightsError: not those files; or the folder exists.
    """

    layers, linear = _tensors(alexnet), _tensors(heads)
    weights, shapes = {}, {}
    for at, (number, layer) in enumerate(zip((0, 3, 6, 8, 10), LAYERS, strict=True)):
        _, ins, outs, kernel = layer[:4]
        for kind, shape in (("weight", (outs, ins, kernel, kernel)), ("bias", (outs,))):
            shapes[f"convolutions.{at}.{kind}"] = shape
            if (name := f"features.{number}.{kind}") in layers:
                weights[f"convolutions.{at}.{kind}"] = layers[name]
        shapes[f"heads.{at}"] = (outs,)
        if (name := f"lin{at}.model.1.weight") in linear:
            weights[f"heads.{at}"] = linear[name].flatten()
    _check(alexnet, weights, shapes)
    _write(target, weights, {"model_type": "lpips"}, None)


def _sscd_name(name: str) -> str | None:
    """torchvision's name of a ResNet weight as that of `Sscd`."""
    if name.startswith("fc."):
        return name.replace("fc.", "projection.")
    if name.startswith(("conv1.", "bn1.")):
        layer, rest = name.split(".", 1)
        return f"trunk.embedder.embedder.{'convolution' if layer == 'conv1' else 'normalization'}.{rest}"
    if not (match := BLOCK.fullmatch(name)):
        return None
    stage, block, kind, number, rest = match.groups()
    place = f"trunk.encoder.stages.{int(stage) - 1}.layers.{block}"
    if kind == "downsample":
        return f"{place}.shortcut.{'convolution' if number == '0' else 'normalization'}.{rest}"
    return f"{place}.layer.{int(number) - 1}.{'convolution' if kind == 'conv' else 'normalization'}.{rest}"


def _tensors(file: Path) -> "dict[str, torch.Tensor]":
    import torch

    if not file.is_file():
        raise WeightsError(f"{file} is not there")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{file} is not a file of plain tensors: {reason}") from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{file} holds something other than named tensors")
    return dict(found)


def _check(source: Path, weights: "dict[str, torch.Tensor]", shapes: Mapping[str, tuple[int, ...]]) -> None:
    missing, foreign = sorted(shapes.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
    wrong = [name for name in shapes.keys() & weights.keys() if tuple(weights[name].shape) != shapes[name]]
    if missing or foreign or wrong:
        examples = ", ".join([*missing, *foreign, *sorted(wrong)][:3])
        raise WeightsError(
            f"{source} is not the network expected: of its weights {len(missing)} are missing, {len(foreign)} "
            "foreign, and "
            f"{len(wrong)} of another shape, such as {examples}"
        )


def _write(
    target: Path, weights: "dict[str, torch.Tensor]", config: dict[str, object], settings: dict[str, object] | None
) -> None:
    from safetensors.torch import save_file

    if target.exists():
        raise WeightsError(f"{target} exists; name a folder that does not")
    with whole_folder(target) as fresh:
        save_file({name: value.contiguous() for name, value in weights.items()}, fresh / "model.safetensors")
        write_json(fresh / "config.json", config)
        if settings:
            write_json(fresh / "preprocessor_config.json", settings)
    print(f"{target} is ready")


def main() -> None:
    """Run one conversion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    sscd = kinds.add_parser("sscd")
    lpips = kinds.add_parser("lpips")
    sscd.add_argument("source", type=Path)
    lpips.add_argument("alexnet", type=Path)
    lpips.add_argument("heads", type=Path)
    for part in (sscd, lpips):
        part.add_argument("target", type=Path)
    asked = parser.parse_args()
    try:
        if asked.kind == "sscd":
            convert_sscd(asked.source, asked.target)
        else:
            convert_lpips(asked.alexnet, asked.heads, asked.target)
    except UserError as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
