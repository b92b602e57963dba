from pathlib import Path
from typing import Any

import pytest

from tests.training.jobs import make_job


@pytest.fixture
def job(tiny_base: Path, tmp_path: Path, values: dict[str, Any]):
    """`job(steps=3)`: three photos and two class images on the tiny base."""
    return make_job(tiny_base, tmp_path, values["train"])
