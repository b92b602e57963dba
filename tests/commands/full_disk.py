"""Runs commands in a workspace on a disk without a byte free; prints a line of JSON for each. Not a test by itself.

    unshare --user --map-root-user --mount python -m tests.commands.full_disk WORKSPACE SCRATCH < commands.json

mounts a small disk over SCRATCH, copies the workspace there, and fills it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

SIZE_MB = 64
PATIENCE_S = 120  # of a busy machine, after which a command counts as hanging
LOADED_BEFORE = (  # once, and not for each command
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.pyfunc",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "pipeline.runs.readiness",
    "pipeline.training.estimate",
    "pipeline.registry.lookup",
    "pipeline.commands.app",
)


def main() -> None:
    """Make the disk, then run the commands one after the other."""
    origin, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    commands: list[list[str]] = json.load(sys.stdin)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(scratch)], check=True)
    workspace = Path(shutil.copytree(origin, scratch / "w", symlinks=True))
    for name in ("tmp", "home"):
        (scratch / name).mkdir()
    os.environ |= {
        "TMPDIR": str(scratch / "tmp"),
        "HOME": str(scratch / "home"),
        "XDG_CACHE_HOME": str(scratch / "home"),
        "PREFECT_HOME": str(scratch / "home" / "prefect"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.chdir(workspace)
    for name in LOADED_BEFORE:
        import_module(name)
    outcome(["list"])  # corrects the addresses of the copy while there is room
    fill(scratch)
    for arguments in commands:
        print(json.dumps(outcome(arguments)), flush=True)


def fill(folder: Path) -> None:
    """Use up every byte."""
    with suppress(OSError), (folder / "filled").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0


def outcome(arguments: list[str]) -> dict[str, Any]:
    """Run `dreamtrace ARGUMENTS` in a process of its own: its status, what it printed, its seconds of a processor."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _become(arguments, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    return {"command": arguments, "status": os.waitstatus_to_exitcode(status), "said": said, "seconds": seconds}


def _become(arguments: list[str], out: int) -> None:
    from pipeline.commands.app import main as dreamtrace

    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["dreamtrace", *arguments]
        signal.alarm(PATIENCE_S)
        dreamtrace()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
