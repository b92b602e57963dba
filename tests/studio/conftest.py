"""Browsers at studios: one whose workspace holds photos, one whose model was judged."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.studio.browser import Browser


@pytest.fixture
def browser(project: Callable[..., Path]) -> Iterator[Browser]:
    workspace = project(photos=6)
    (workspace / "dvc.yaml").touch()
    with (found := Browser(workspace)).client:
        yield found


@pytest.fixture
def judged(copy: Path) -> Iterator[Browser]:
    with (found := Browser(copy)).client:
        yield found
