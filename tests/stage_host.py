"""Stages that DVC starts in tests are forked from one process that has imported the libraries already.

Each stage is a process of its own, as ever, that imports the code of the project anew; torch, diffusers and MLflow
take seconds to import, and are imported once a session. `tests/flows/test_fine_tune.py` starts a chain in the real way.

    python tests/stage_host.py host SOCKET      the process that forks
    python tests/stage_host.py stage SOCKET -m pipeline.stages.train      what stands in for `python`
"""

import array
import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
from functools import cache
from pathlib import Path

LIBRARIES = (
    "torch", "diffusers", "transformers", "peft", "bitsandbytes", "accelerate", "mlflow", "pandas", "PIL.Image",
    "safetensors.torch", "sklearn.metrics", "scipy.linalg", "jinja2", "pydantic", "yaml", "tqdm", "dvc.repo",
)  # fmt: skip
CLASSES = {
    "diffusers": ("StableDiffusionPipeline", "DDIMScheduler", "DPMSolverMultistepScheduler", "DDPMScheduler"),
    "transformers": ("CLIPModel", "CLIPTextModel", "CLIPTokenizer", "CLIPImageProcessor"),
}
GONE = 137


def serve(address: str) -> None:
    """Import the libraries, then fork a process for each stage that asks, until the parent is gone."""
    sys.path = [entry for entry in sys.path if entry not in ("", str(Path(__file__).parent))]
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            __import__(name)
    for name, wanted in CLASSES.items():
        for each in wanted:
            getattr(__import__(name), each)
    if any(name.split(".")[0] in ("pipeline", "flows", "pocket") for name in sys.modules):
        raise RuntimeError("the host must know none of the project's code")
    threads = [Path(f"/proc/self/task/{number}/comm").read_text().strip() for number in os.listdir("/proc/self/task")]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) != 1:  # jemalloc knows how to be forked
        raise RuntimeError(f"only a process of one thread can fork: {threads}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the supervisors are not waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address + ".part")
        listener.listen(16)
        os.rename(address + ".part", address)
        parent = os.getppid()
        listener.settimeout(5)
        while os.getppid() == parent:
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                if not os.fork():
                    listener.close()
                    _supervise(connection)
                connection.close()


def _supervise(connection: socket.socket) -> None:
    """In a fork of the host: run the stage in a fork of its own and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.setblocking(True)
    space = array.array("i", [0, 0, 0])
    size, sent, *_ = connection.recvmsg(8, socket.CMSG_LEN(space.itemsize * 3))
    space.frombytes(sent[0][2])
    files = list(space[3:])
    order = b""
    while len(order) < int.from_bytes(size, "little"):
        order += connection.recv(1 << 16)
    stage = os.fork()
    if not stage:
        connection.close()
        _run(json.loads(order), files)
    connection.sendall(stage.to_bytes(4, "little"))

    def watch() -> None:
        if not connection.recv(1):  # what stands in for `python` was killed
            with contextlib.suppress(ProcessLookupError):
                os.kill(stage, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    _, status = os.waitpid(stage, 0)
    with contextlib.suppress(OSError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
    os._exit(0)


def _run(order: dict, files: list[int]) -> None:
    """Become the stage: its folder, environment, files and arguments."""
    status = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"], DREAMTRACE_PRELOAD="")  # no restart for another malloc
        module = order["arguments"][1]
        sys.path[:0] = [order["folder"], *filter(None, order["environment"].get("PYTHONPATH", "").split(os.pathsep))]
        sys.argv = sys.orig_argv = [sys.executable, *order["arguments"]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def stand_in(address: str, arguments: list[str]) -> int:
    """Have the host run `python -m pipeline.stages...`; the exit status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        order = {"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}
        text = json.dumps(order).encode()
        files = array.array("i", [0, 1, 2])
        connection.sendmsg([len(text).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.sendall(text)
        stage = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "little")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: os.kill(stage, received))
        answer = connection.recv(4, socket.MSG_WAITALL)
    status = int.from_bytes(answer, "little", signed=True) if len(answer) == 4 else GONE
    return 128 - status if status < 0 else status


@cache
def quick_python() -> Path:
    """The folder with a `python` that has a host run the stages, to be put first on PATH; the host ends with us."""
    import subprocess
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="dreamtrace-stages-"))
    address, program, this = folder / "host", folder / "python", Path(__file__).resolve()
    python = f'exec "{sys.executable}"'
    program.write_text(
        "#!/bin/sh\n"
        f'case "$1 $2" in "-m pipeline.stages."*) {python} -S -E "{this}" stage "{address}" "$@";; esac\n'
        f'{python} "$@"\n'
    )
    program.chmod(0o755)
    process = subprocess.Popen([sys.executable, str(this), "host", str(address)], start_new_session=True)
    atexit.register(process.terminate)
    until = time.monotonic() + 300
    while not address.exists():
        assert process.poll() is None, "the host of the stages ended"
        assert time.monotonic() < until, "the host of the stages does not answer"
        time.sleep(0.05)
    return folder


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    sys.exit(stand_in(where, rest) if what == "stage" else serve(where))
