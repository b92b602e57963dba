import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.make import file_name
from examples.photos import PHOTOS

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.mark.parametrize("toy", ["mysks", "tarlo"])
def test_no_two_photos_share_a_scene_or_a_caption_and_all_name_the_subject(toy: str) -> None:
    photos = PHOTOS[toy]
    assert len({photo.scene for photo in photos}) == len({photo.caption for photo in photos}) == 15
    assert all(photo.caption.startswith(f"a photo of {toy} plush toy ") for photo in photos)


def test_the_tracked_photos_are_those_of_the_script() -> None:
    rows = [json.loads(line) for line in (DATA / "metadata.jsonl").read_text().splitlines()]
    expected = [
        {"file_name": file_name(index, photo), "text": photo.caption, "scene": photo.scene}
        for index, photo in enumerate(PHOTOS["mysks"])
    ]
    assert rows == expected
    for row in rows:
        with Image.open(DATA / row["file_name"]) as photo:
            assert photo.size == (512, 512)
            assert np.asarray(photo.convert("L")).std() > 15
