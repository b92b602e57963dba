"""Official weight files, made up in their shapes, become judges."""

from pathlib import Path

import pytest
import torch

from pipeline.evaluation.backbones import Sscd, open_encoder
from pipeline.evaluation.convert import WeightsError, convert_lpips, convert_sscd
from pipeline.evaluation.perceptual import LAYERS, Lpips
from tests.tiny import picture


def torchvision_resnet50() -> dict[str, torch.Tensor]:
    """Names and shapes as torchvision's ResNet-50 has them, with a projection to 512."""
    found: dict[str, torch.Tensor] = {}

    def layer(conv: str, norm: str, ins: int, outs: int, kernel: int) -> None:
        found[f"{conv}.weight"] = torch.randn(outs, ins, kernel, kernel) * (2 / (ins * kernel**2)) ** 0.5
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            found[f"{norm}.{name}"] = torch.full((outs,), value)
        found[f"{norm}.num_batches_tracked"] = torch.tensor(0)

    layer("conv1", "bn1", 3, 64, 7)
    ins = 64
    for stage, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            layer(f"{at}.conv1", f"{at}.bn1", ins, width, 1)
            layer(f"{at}.conv2", f"{at}.bn2", width, width, 3)
            layer(f"{at}.conv3", f"{at}.bn3", width, 4 * width, 1)
            if block == 0:
                layer(f"{at}.downsample.0", f"{at}.downsample.1", ins, 4 * width, 1)
            ins = 4 * width
    found["fc.weight"], found["fc.bias"] = torch.randn(512, 2048), torch.zeros(512)
    return {f"backbone.{name}": value for name, value in found.items()}


def forward(weights: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """A ResNet-50 written out by its names: strides in the 3x3 convolutions, generalised mean, projection."""
    at = {name.removeprefix("backbone."): value for name, value in weights.items()}

    def norm(hidden: torch.Tensor, name: str) -> torch.Tensor:
        values = (at[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return torch.nn.functional.batch_norm(hidden, *values)

    conv = torch.nn.functional.conv2d
    hidden = norm(conv(pixels, at["conv1.weight"], stride=2, padding=3), "bn1").relu()
    hidden = torch.nn.functional.max_pool2d(hidden, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            inner = norm(conv(hidden, at[f"{name}.conv1.weight"]), f"{name}.bn1").relu()
            inner = norm(conv(inner, at[f"{name}.conv2.weight"], stride=stride, padding=1), f"{name}.bn2").relu()
            inner = norm(conv(inner, at[f"{name}.conv3.weight"]), f"{name}.bn3")
            if block == 0:
                hidden = norm(conv(hidden, at[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            hidden = (hidden + inner).relu()
    pooled = hidden.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    return torch.nn.functional.normalize(pooled @ at["fc.weight"].T + at["fc.bias"], dim=-1)


def test_a_converted_sscd_gives_what_the_network_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = torchvision_resnet50()
    torch.save(weights, tmp_path / "sscd.pt")
    convert_sscd(tmp_path / "sscd.pt", tmp_path / "sscd")
    detector = open_encoder(tmp_path / "sscd")
    assert isinstance(detector, Sscd)
    shown = picture(3, 288, 288)
    shown.save(tmp_path / "one.png")
    with torch.no_grad():
        expected = forward(weights, detector._pixels(shown)[None])
    assert torch.allclose(detector.pictures([tmp_path / "one.png"]), expected, atol=1e-4)
    with pytest.raises(WeightsError, match="exists"):
        convert_sscd(tmp_path / "sscd.pt", tmp_path / "sscd")


def test_a_converted_lpips_has_the_layers_in_their_places(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers, heads = {}, {}
    for at, (number, layer) in enumerate(zip((0, 3, 6, 8, 10), LAYERS, strict=True)):
        layers[f"features.{number}.weight"] = torch.randn(layer[2], layer[1], layer[3], layer[3]) * 0.05
        layers[f"features.{number}.bias"] = torch.randn(layer[2])
        heads[f"lin{at}.model.1.weight"] = torch.rand(1, layer[2], 1, 1)
    layers["classifier.1.weight"] = torch.zeros(1)
    torch.save(layers, tmp_path / "alexnet.pth")
    torch.save(heads, tmp_path / "heads.pth")
    convert_lpips(tmp_path / "alexnet.pth", tmp_path / "heads.pth", tmp_path / "lpips")
    lpips = Lpips(tmp_path / "lpips")
    assert torch.equal(lpips.convolutions[2].weight, layers["features.6.weight"])
    assert torch.equal(lpips.heads[4], heads["lin4.model.1.weight"].flatten())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not there"):
        convert_sscd(tmp_path / "none.pt", tmp_path / "out")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(WeightsError, match="plain tensors"):
        convert_sscd(tmp_path / "text.pt", tmp_path / "out")
    torch.save({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7), "other": torch.zeros(1)}, tmp_path / "half.pt")
    with pytest.raises(WeightsError, match="are missing, 1 foreign"):
        convert_sscd(tmp_path / "half.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
