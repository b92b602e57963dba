import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.evaluation.backbones import Clip, Encoder
from tests.tiny import picture


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


def test_preprocessing_is_that_of_the_usual_processor(tiny_scorer: Path, tmp_path: Path) -> None:
    file = tmp_path / "flat.png"
    picture(1).resize((64, 64)).save(file)
    picture(1).resize((64, 64)).convert("L").convert("RGB").point(lambda _: 128).save(file)
    pixels = Clip(tiny_scorer)._pixels(file)
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
    assert encoder._pixels(tmp_path / "one.png").shape == (3, 96, 96)
    (vector,) = encoder.pictures([tmp_path / "one.png"])
    assert abs(float(vector.norm()) - 1) < 1e-5
