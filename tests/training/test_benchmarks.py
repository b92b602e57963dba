"""The benchmarks of training measure what they say."""

import json
import os
from pathlib import Path

import pytest

from benchmarks import threads
from benchmarks.training import Work, official_images, whole_batches


def work(folder: Path, photos: int, classes: int = 0) -> Work:
    for name, count in (("photos", photos), ("classes", classes)):
        (folder / name).mkdir()
        for number in range(count):
            (folder / name / f"{number}.jpg").touch()
    return Work(
        "", str(folder / "photos"), str(folder / "classes") if classes else "", 64, 8, 30, "bf16", "adamw", False
    )


def test_the_official_script_is_credited_with_the_photos_that_its_loader_hands_out(tmp_path: Path) -> None:
    found = work(tmp_path, photos=15)  # batches of 8 and 7 in turns
    assert [official_images(found, step, step + 1) for step in range(4)] == [8, 7, 8, 7]
    assert (official_images(found, 3, 30), whole_batches(found, 3, 30)) == (202, 216)


def test_with_class_images_a_pass_is_as_long_as_there_are_more_of(tmp_path: Path) -> None:
    assert official_images(work(tmp_path, photos=15, classes=32), 0, 8) == 64


@pytest.mark.parametrize("load", [0.0, 99.0])
@pytest.mark.parametrize("setting", threads.SETTINGS)
def test_threads_wait_as_the_setting_says_however_busy_the_machine_is(setting: str, load: float, monkeypatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load,) * 3)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in threads.SETTINGS[setting].items():
        monkeypatch.setenv(name, value)
    seen: list[str | None] = []
    monkeypatch.setattr(threads, "ours", lambda _: seen.append(os.environ.get("OMP_WAIT_POLICY")))
    threads.train(json.dumps(vars(Work("", "", "", 64, 8, 30, "bf16", "adamw", False))))
    assert seen == [threads.SETTINGS[setting].get("OMP_WAIT_POLICY")]
