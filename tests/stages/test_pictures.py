"""Where drawn pictures are kept."""

from pathlib import Path

import pytest

from pipeline.sampling import source as sources
from pipeline.sampling.source import Source


@pytest.mark.parametrize(
    "changed", ["torch", "diffusers", "device", "sampling/sampler.py", "sampling/prompt_encoder.py"]
)
def test_pictures_of_other_code_libraries_or_devices_are_not_used_again(changed: str, monkeypatch) -> None:
    source, here = Source("base", Path("base"), "d" * 64), sources.drawing_environment()
    assert changed in here
    before = source.drawn(Path())
    assert source.drawn(Path()) == before
    monkeypatch.setattr(sources, "drawing_environment", lambda: here | {changed: "other"})
    assert source.drawn(Path()) != before
