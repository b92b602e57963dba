"""Photos under DVC: `data.dvc` names what is in `data/` after everything that the studio does there."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.files import write_bytes, write_jsonl
from pipeline.layout import DATA, DATA_DVC
from pipeline.lineage.digests import dvc_folder_md5, tracked_md5
from pipeline.runs.proposals import CAPTIONS, PAINTED
from tests import tiny
from tests.studio.browser import Browser
from tests.workspace import equip


@pytest.fixture
def tracked(project: Callable[..., Path]) -> Iterator[Browser]:
    with (found := Browser(equip(project(photos=6)))).client:
        yield found


def picture(image: Image.Image, kind: str) -> bytes:
    target = io.BytesIO()
    image.save(target, kind)
    return target.getvalue()


def mask() -> bytes:
    made = Image.new("L", (80, 64), 0)
    made.paste(255, (10, 10, 50, 50))
    return picture(made, "PNG")


def before_of(browser: Browser, name: str) -> str:
    return browser.get(f"/masks?name={name}").partition('name="before" value="')[2].partition('"')[0]


def test_what_is_tracked_is_what_is_there(tracked: Browser) -> None:
    write_jsonl(Path(CAPTIONS), [{"file_name": "IMG_20.jpg", "text": "a photo of mysks plush toy", "by": "a network"}])
    write_bytes(Path(PAINTED) / "photo1.jpg.png", mask())
    seen = {tracked_md5(Path(DATA_DVC))}

    def send(where: str, data: dict[str, Any], files: Any = None) -> None:
        answer = tracked.send(where, data, files)
        assert answer.status_code == 200, answer.text
        assert tracked_md5(Path(DATA_DVC)) == dvc_folder_md5(Path(DATA)), where
        assert tracked_md5(Path(DATA_DVC)) not in seen, where  # each of them changed something
        seen.add(tracked_md5(Path(DATA_DVC)))

    send("/photos/add", {}, [("files", ("IMG_20.jpg", picture(tiny.picture(20), "JPEG"), "image/jpeg"))])
    shown = {"shown": "", "shown_scene": ""}
    send("/photos/captions", {"name": "photo5.jpg", "caption": "", "scene": "attic"} | shown)
    send("/masks/save", {"name": "photo0.jpg", "by": "Eve", "before": ""}, [("mask", ("m.png", mask(), "image/png"))])
    send("/masks/accept", {"by": "Eve", "photo": "photo1.jpg"})
    send("/masks/accept", {"by": "Eve", "photo": "IMG_20.jpg"})
    send("/masks/remove", {"name": "photo0.jpg", "before": before_of(tracked, "photo0.jpg")})
    send("/photos/leave-out", {"name": "photo1.jpg"})
