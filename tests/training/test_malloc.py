"""The trainer under another `malloc`: with a library made here, in processes of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.training import malloc as allocator

PROGRAM = """
import os, sys
from pipeline.training import malloc as allocator
allocator.FOLDERS, allocator.DEVICES = (sys.argv[1],), tuple(sys.argv[2:])
print("began")
allocator.use_fast_malloc()
names = {line.rpartition("/")[2].strip() for line in open("/proc/self/maps") if sys.argv[1] in line}
print("loaded", *sorted(names))
print("preload", os.environ.get("LD_PRELOAD"), os.environ.get("DREAMTRACE_PRELOAD"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    if (compiler := shutil.which("cc") or shutil.which("gcc")) is None or sys.platform != "linux":
        pytest.skip("no C compiler on this machine, or not Linux")
    found = tmp_path_factory.mktemp("libraries")
    (found / "empty.c").write_text("int nothing;")
    library = found / allocator.LIBRARIES[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, found / "empty.c"], check=True)
    return found


def run(folder: Path, *devices: str, preload: str | None = None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if preload is not None:
        environment["LD_PRELOAD"] = preload
    command = [sys.executable, "-c", PROGRAM, str(folder), *devices]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_process_starts_again_with_the_library(folder: Path) -> None:
    assert run(folder) == ["began", "began", f"loaded {allocator.LIBRARIES[0]}", "preload None None"]


def test_without_a_library_nothing_happens(tmp_path: Path) -> None:
    assert run(tmp_path) == ["began", "loaded", "preload None None"]


def test_beside_a_gpu_nothing_happens(folder: Path) -> None:
    assert run(folder, "dev/null") == ["began", "loaded", "preload None None"]


def test_what_was_preloaded_before_stays(folder: Path) -> None:
    other = folder / "libother.so"
    shutil.copy(folder / allocator.LIBRARIES[0], other)
    both = f"loaded libother.so {allocator.LIBRARIES[0]}"
    assert run(folder, preload=str(other)) == ["began", "began", both, f"preload {other} None"]


def test_a_malloc_that_somebody_chose_stays(folder: Path) -> None:
    chosen = folder / "libmymalloc.so"
    shutil.copy(folder / allocator.LIBRARIES[0], chosen)
    assert run(folder, preload=str(chosen)) == ["began", "loaded libmymalloc.so", f"preload {chosen} None"]
