"""A faster `malloc` for training on a CPU, if one is installed.

A training step on a CPU allocates thousands of aligned blocks, on which glibc spends a tenth of the time or more. With
tcmalloc or jemalloc instead, steps are faster and the results the same bits.
"""

import os
import sys
from pathlib import Path

LIBRARIES = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libjemalloc.so.2")
FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", f"{sys.prefix}/lib")
DEVICES = ("/dev/nvidia[0-9]*", "/dev/kfd")  # GPUs: torch has its own allocator for them
CACHE, CACHE_BYTES = "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", str(4 << 20)  # the default, 32 MiB, is no faster
EARLIER = "DREAMTRACE_PRELOAD"  # LD_PRELOAD as it was, "=" before it if it was set; passed to the restarted process


def use_fast_malloc() -> None:
    """Restart this process with the library preloaded; call it before anything else.

    Does nothing on a machine with a GPU, without such a library, or if LD_PRELOAD already names a malloc. Child
    processes get the environment as it was before the restart.
    """
    if (earlier := os.environ.pop(EARLIER, None)) is not None:
        _restore_environment(earlier)
        return
    preload = os.environ.get("LD_PRELOAD")
    if sys.platform != "linux" or "malloc" in (preload or "") or any(map(_matches, DEVICES)):
        return
    if (path := _find()) is None:
        return
    environment = {**os.environ, "LD_PRELOAD": f"{path} {preload or ''}".strip()}
    environment[EARLIER] = "" if preload is None else f"={preload}"
    environment.setdefault(CACHE, CACHE_BYTES)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _restore_environment(earlier: str) -> None:
    if earlier.startswith("="):
        os.environ["LD_PRELOAD"] = earlier[1:]
    else:
        os.environ.pop("LD_PRELOAD", None)
    if os.environ.get(CACHE) == CACHE_BYTES:
        del os.environ[CACHE]


def _find() -> Path | None:
    found = [path for name in LIBRARIES for folder in FOLDERS for path in _matches(f"{folder}/{name}")]
    return found[0] if found else None


def _matches(pattern: str) -> list[Path]:
    return sorted(Path("/").glob(pattern.lstrip("/")))
