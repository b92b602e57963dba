from pathlib import Path

import torch

from pipeline.evaluation.backbones import Clip
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
