import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.base.judges import resolve_copies
from pipeline.base.resolve import BaseNotFound
from pipeline.evaluation.backbones import (
    Clip,
    CosineDistance,
    Encoder,
    Sscd,
    Thumbnails,
    encoder_digest,
    open_encoder,
)
from pipeline.evaluation.perceptual import LAYERS, Lpips, is_lpips
from pipeline.params import load_params
from tests.tiny import picture
from tests.workspace import ROOT


def test_vectors_have_unit_length_and_do_not_depend_on_the_batch(tiny_scorer: Path, tmp_path: Path) -> None:
    clip = Clip(tiny_scorer)
    files = []
    for index in range(3):
        files.append(tmp_path / f"{index}.png")
        picture(index, 90, 50).save(files[-1])
    together = clip.pictures(files)
    assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(together[1], clip.pictures(files[1:2])[0], atol=1e-5)
    texts = clip.texts(["a plush toy", "word " * 200])
    assert torch.allclose(texts.norm(dim=1), torch.ones(2), atol=1e-5)


def test_a_prompt_is_followed_by_its_mean_over_windows_and_several_by_their_mean(tiny_scorer: Path) -> None:
    clip, shown = Clip(tiny_scorer), [picture(1), picture(2)]
    letters = "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n"  # 40, of room for 30
    first, last = letters[:39], letters[40:]
    long = clip.whole_text(letters)
    assert torch.allclose(long, clip.texts([first, last]), atol=1e-6)
    assert not torch.allclose(long[0], clip.texts([letters])[0], atol=1e-3)
    assert torch.equal(clip.whole_text("a plush toy"), clip.texts(["a plush toy"]))
    parts = {text: torch.tensor(clip.follows(shown, [text])) for text in (first, last, "a plush toy")}
    both = torch.tensor(clip.follows(shown, [letters]))
    assert torch.allclose(both, (parts[first] + parts[last]) / 2, atol=1e-6)
    assert torch.allclose(
        torch.tensor(clip.follows(shown, [letters, "a plush toy"])), (both + parts["a plush toy"]) / 2, atol=1e-6
    )
    assert not torch.allclose(both, torch.tensor(clip.follows(shown, [f"{letters} plush toy"])), atol=1e-5)


def test_preprocessing_is_that_of_the_usual_processor(tiny_scorer: Path, tmp_path: Path) -> None:
    file = tmp_path / "flat.png"
    picture(1).resize((64, 64)).save(file)
    picture(1).resize((64, 64)).convert("L").convert("RGB").point(lambda _: 128).save(file)
    pixels = Clip(tiny_scorer)._pixels(Image.open(file).convert("RGB"))
    assert pixels.shape == (3, 32, 32)
    assert torch.allclose(pixels, torch.full((3, 32, 32), (128 / 255 - 0.5) / 0.25), atol=1e-5)


def test_an_encoder_gives_the_class_token_of_a_transformer(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vit = ViTModel(ViTConfig(image_size=28, patch_size=7, **small), add_pooling_layer=False).eval()
    vit.save_pretrained(tmp_path / "vit")
    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}
    settings |= {"do_center_crop": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    shown = picture(3).resize((40, 32))
    shown.save(tmp_path / "one.png")
    inside = np.asarray(shown.crop((6, 2, 34, 30)), np.float32) / 127.5 - 1  # resized to 32, the middle 28
    with torch.no_grad():
        states = vit(torch.from_numpy(inside).permute(2, 0, 1)[None]).last_hidden_state
    expected = torch.nn.functional.normalize(states[:, 0], dim=-1)
    assert torch.allclose(Encoder(tmp_path / "vit").pictures([tmp_path / "one.png"]), expected, atol=1e-5)


def test_an_encoder_resizes_to_its_own_side(tmp_path: Path) -> None:
    from pipeline.layout import EMBEDDED_BASES

    encoder = Encoder(EMBEDDED_BASES / "identity")
    Image.new("RGB", (64, 80), (128, 0, 255)).save(tmp_path / "one.png")
    assert encoder._pixels(Image.open(tmp_path / "one.png")).shape == (3, 96, 96)
    (vector,) = encoder.pictures([tmp_path / "one.png"])
    assert abs(float(vector.norm()) - 1) < 1e-5


def make_sscd(folder: Path) -> Path:
    from safetensors.torch import save_file
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    trunk = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    model = {f"trunk.{name}": value for name, value in ResNetModel(ResNetConfig(**trunk)).state_dict().items()}
    model |= {f"projection.{name}": value for name, value in torch.nn.Linear(16, 4).state_dict().items()}
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in model.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "sscd", "trunk": trunk, "dimensions": 4}))
    settings = {"size": {"shortest_edge": 64}, "do_center_crop": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_a_copy_detector_is_the_cubic_mean_of_its_places_projected(tmp_path: Path) -> None:
    detector = open_encoder(make_sscd(tmp_path / "sscd"))
    assert isinstance(detector, Sscd)
    picture(3, 64, 64).save(tmp_path / "one.png")
    pixels = torch.from_numpy(np.asarray(picture(3, 64, 64), np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        places = detector.model["trunk"](pixels).last_hidden_state[0].flatten(1).clamp(min=1e-6).double()
        pooled = torch.tensor([float(sum(value**3 for value in row) / len(row)) ** (1 / 3) for row in places])
        expected = detector.model["projection"](pooled)
    (found,) = detector.pictures([tmp_path / "one.png"])
    assert torch.allclose(found, expected / expected.norm(), atol=1e-4)


def test_thumbnails_know_a_copy_whatever_its_brightness_and_not_its_negative(tmp_path: Path) -> None:
    shown = picture(3, 64, 64)
    shown.save(tmp_path / "a.png")
    shown.point(lambda value: value // 2 + 40).save(tmp_path / "b.png")
    shown.point(lambda value: 255 - value).save(tmp_path / "c.png")
    found = Thumbnails().pictures([tmp_path / f"{name}.png" for name in "abc"])
    assert found.shape == (3, 768)
    assert float(found[0] @ found[1]) > 0.999
    assert float(found[0] @ found[2]) < -0.999


def make_lpips(folder: Path) -> Path:
    """The first layer sees red in channel 0 and blue in channel 1, the others nothing."""
    from safetensors.torch import save_file

    weights: dict[str, torch.Tensor] = {}
    for at, (_, ins, outs, kernel, *_) in enumerate(LAYERS):
        weights[f"convolutions.{at}.weight"] = torch.zeros(outs, ins, kernel, kernel)
        weights[f"convolutions.{at}.bias"] = torch.zeros(outs)
        weights[f"heads.{at}"] = torch.zeros(outs)
    weights["convolutions.0.weight"][0, 0, 5, 5] = 1
    weights["convolutions.0.weight"][1, 2, 5, 5] = 1
    weights["heads.0"][:2] = torch.tensor([0.3, 0.5])
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "lpips"}))
    return folder


def test_lpips_weighs_the_squared_differences_of_unit_activations(tmp_path: Path) -> None:
    folder = make_lpips(tmp_path / "lpips")
    assert is_lpips(folder)
    files = []
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("again", (255, 0, 0))):
        files.append(tmp_path / f"{name}.png")
        Image.new("RGB", (64, 64), colour).save(files[-1])
    lpips = Lpips(folder)
    # Red is (1, 0), blue is (0, 1) in the first layer: 0.3 + 0.5.
    assert abs(lpips.among(files[:2]) - 0.8) < 1e-5
    assert lpips.among([files[0], files[2]]) < 1e-6
    assert abs(lpips.among(files) - 2 * 0.8 / 3) < 1e-5  # of three pairs one is equal


def test_the_cosine_distance_is_the_mean_over_pairs(tmp_path: Path) -> None:
    class Fixed:
        digest = "x"

        def pictures(self, files):
            return torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])[: len(files)]

    assert CosineDistance(Fixed()).among([Path("a"), Path("b"), Path("c")]) == (1 + 0 + 1) / 3


def test_the_digest_of_an_encoder_covers_its_preprocessing(tiny_scorer: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((tiny_scorer / name).read_bytes())
    before = encoder_digest(tmp_path)
    assert before == encoder_digest(tiny_scorer)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert encoder_digest(tmp_path) != before


def test_an_encoder_in_several_files_is_refused_before_anything_is_drawn(tiny_scorer: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((tiny_scorer / name).read_bytes())
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    settings = load_params(ROOT / "params.yaml").evaluate.model_copy(update={"copies": str(tmp_path)})
    with pytest.raises(BaseNotFound, match="split into several files"):
        resolve_copies(settings, load_params(ROOT / "params.yaml").base)
