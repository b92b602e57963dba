"""This package's C files, compiled on first use for training on a CPU."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
THREADS = "-fopenmp"


@cache
def load_library(source: Path, *flags: str) -> ctypes.CDLL | None:
    """The shared library of a C file, or None (with a message, once) if it cannot be compiled here."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))), None)
    if compiler is None:
        print(f"no C compiler found (CC, cc, gcc, clang): training on the CPU works without {source.name}, but slower")
        return None
    problem = ""
    for more in ((*flags, THREADS), flags):  # multi-threaded if the compiler has OpenMP
        try:
            return ctypes.CDLL(str(_build(compiler, source, [*FLAGS, *more])))
        except (OSError, subprocess.CalledProcessError) as error:
            problem = (getattr(error, "stderr", b"") or str(error).encode()).decode(errors="replace").strip()
    first = next((line for line in problem.splitlines() if "error" in line), problem)
    print(f"{compiler} could not compile {source.name}: {first[-300:]}")
    print("training on the CPU works without it, but slower")
    return None


def _build(compiler: str, source: Path, flags: list[str]) -> Path:
    """The shared library in the user's cache, named by a digest of source, flags, compiler and processor."""
    parts = [source.read_text(encoding="utf-8"), *flags, compiler, _processor()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreamtrace"
    path = folder / f"{source.stem}-{key[:16]}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            built = Path(fresh) / path.name
            subprocess.run([compiler, *flags, "-o", built, source, "-lm"], check=True, capture_output=True)
            built.replace(path)
    return path


def _processor() -> str:
    """The processor's instruction sets: machines of different kinds may share one home folder."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
