"""What masks tell of how photos show their subject."""

import numpy as np
import pytest
from PIL import Image

from pipeline.runs.photo_survey import Survey, _distances


def survey(*boxes: tuple[int, int, int, int]) -> Survey:
    found = Survey()
    for number, box in enumerate(boxes):
        mask = np.zeros((100, 100), np.uint8)
        left, top, right, bottom = box
        mask[top:bottom, left:right] = 255
        found.prepared[f"{number}.jpg"] = (Image.new("RGB", (100, 100)), Image.fromarray(mask))
    return found


NEAR, FAR, CUT = (10, 10, 80, 80), (40, 40, 70, 70), (0, 0, 50, 50)  # 49 %, 9 % and 25 % of the picture


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([NEAR] * 5, ["fills 49% to 49% of it"]),
        ([NEAR] * 4 + [FAR], []),
        ([NEAR] * 4, []),  # too few to tell
        ([CUT] * 4 + [(0, 20, 90, 90)], ["cuts the subject off"]),
        ([CUT] * 5, ["fills 25% to 25%", "cuts the subject off"]),
        ([CUT] * 4 + [NEAR], []),
    ],
)
def test_one_distance_and_cut_subjects_are_told_where_masks_show_them(boxes, words) -> None:
    found = list(_distances(survey(*boxes)))
    assert len(found) == len(words) and all(word in line for word, line in zip(words, found, strict=True))


def test_photos_without_masks_tell_nothing() -> None:
    found = survey(*[NEAR] * 5)
    found.prepared = {name: (picture, None) for name, (picture, _) in found.prepared.items()}
    assert list(_distances(found)) == []
