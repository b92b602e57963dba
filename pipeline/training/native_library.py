"""C files of this package, compiled once on each machine, for training on a CPU."""

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
def compiled(source: Path, *flags: str) -> ctypes.CDLL | None:
    """The library made of a C file, or None where there is no C compiler; says so once."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))), None)
    if compiler is None:
        print(f"no C compiler here: {source.name} is not used, and training on a CPU goes at a slower pace")
        return None
    said = ""
    for more in ((*flags, THREADS), flags):  # with the threads that torch has, or with one
        try:
            return ctypes.CDLL(str(_made(compiler, source, [*FLAGS, *more])))
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", b"") or str(error).encode()).decode(errors="replace").strip()
    first = next((line for line in said.splitlines() if "error" in line), said)
    print(f"{compiler} could not compile {source.name}: {first[-300:]}")
    print("it is not used, and training on a CPU goes at a slower pace")
    return None


def _made(compiler: str, source: Path, flags: list[str]) -> Path:
    """The shared library in the user's cache, by its source, compiler and processor."""
    made_of = [source.read_text(encoding="utf-8"), *flags, compiler, _processor()]
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreamtrace"
    path = folder / f"{source.stem}-{key[:16]}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            made = Path(fresh) / path.name
            subprocess.run([compiler, *flags, "-o", made, source, "-lm"], check=True, capture_output=True)
            made.replace(path)
    return path


def _processor() -> str:
    """What the processor can do: a home folder may be shared by machines of several kinds."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
