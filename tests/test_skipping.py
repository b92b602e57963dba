"""Continuous integration fails where a test lacks something, but for tests that say that they may."""

import os
import subprocess
import sys
from pathlib import Path

from tests.skipping import SKIP_NOTHING
from tests.workspace import ROOT

TESTS = """
import pytest

@pytest.fixture(scope="session")
def server():
    pytest.skip("no server: no way to packages")

def test_one(server): pass
def test_other(server): pass
def test_without(): pytest.skip("no compiler")
@pytest.mark.skipif(True, reason="no browser")
def test_page(): pass
@pytest.mark.may_skip
def test_gpu(): pytest.skip("no GPU")
@pytest.mark.xfail
def test_known(): raise AssertionError
def test_good(): pass
"""


def outcomes(folder: Path, **variables: str) -> str:
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_gone.py").write_text('import pytest\npytest.importorskip("no_such_package")\n')
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = may_skip: ...\n")
    given = {name: value for name, value in os.environ.items() if name != SKIP_NOTHING} | variables
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-ra",
        "-p",
        "tests.skipping",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run(
        command, cwd=folder, env={**given, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return done.stdout


def test_what_is_skipped_fails_where_nothing_may_be(tmp_path: Path) -> None:
    said = outcomes(tmp_path, **{SKIP_NOTHING: "1"})
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 4 errors" in said
    for lacking in ("no server: no way to packages", "no compiler", "no browser", "no_such_package"):
        assert lacking in said


def test_elsewhere_it_is_skipped(tmp_path: Path) -> None:
    assert "1 passed, 6 skipped, 1 xfailed" in outcomes(tmp_path)
