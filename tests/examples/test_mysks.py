import json
from pathlib import Path

import numpy as np
from PIL import Image

from examples.mysks.make import file_name
from examples.mysks.photos import PHOTOS

DATA = Path(__file__).resolve().parents[2] / "data"


def test_no_two_photos_share_a_scene_or_a_caption_and_all_name_the_subject() -> None:
    assert len(PHOTOS) == 15
    assert len({photo.scene for photo in PHOTOS}) == len({photo.caption for photo in PHOTOS}) == 15
    assert all(photo.caption.startswith("a photo of mysks plush toy ") for photo in PHOTOS)


def test_the_tracked_photos_are_those_of_the_script() -> None:
    rows = [json.loads(line) for line in (DATA / "metadata.jsonl").read_text().splitlines()]
    expected = [
        {"file_name": file_name(index, photo), "text": photo.caption, "scene": photo.scene}
        for index, photo in enumerate(PHOTOS)
    ]
    assert rows == expected
    for row in rows:
        with Image.open(DATA / row["file_name"]) as photo:
            assert photo.size == (512, 512)
            assert np.asarray(photo.convert("L")).std() > 15
