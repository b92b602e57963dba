"""Where drawn pictures are kept."""

from pathlib import Path

import pytest

from pipeline.stages import pictures
from pipeline.stages.pictures import Source


@pytest.mark.parametrize(
    "changed", ["torch", "diffusers", "device", "sampling/sampler.py", "sampling/prompt_encoder.py"]
)
def test_pictures_of_other_code_libraries_or_devices_are_not_used_again(changed: str, monkeypatch) -> None:
    source, here = Source("base", Path("base"), "d" * 64), pictures.drawing_environment()
    assert changed in here
    before = source.drawn(Path())
    assert source.drawn(Path()) == before
    monkeypatch.setattr(pictures, "drawing_environment", lambda: here | {changed: "other"})
    assert source.drawn(Path()) != before
