"""Environment of every process: no telemetry leaves the machine, and the libraries print no chatter."""

import getpass
import logging
import os
import warnings

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "GIT_PYTHON_REFRESH": "quiet",
}

LOOPBACK = ("127.0.0.1", "localhost")
DEVICE_SLOT = "DREAMTRACE_SLOT"  # names the concurrency limit that a stage holds while it computes on a device


def prepare_environment() -> None:
    """Set what is not set yet; call it before torch, mlflow, prefect, dvc or a Hugging Face library is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if busy() and "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _reach_this_machine_without_a_proxy()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels that nothing here needs
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def _reach_this_machine_without_a_proxy() -> None:
    """Where requests go through a proxy, those to this machine's own servers do not: the proxy is another machine."""
    for name in ("no_proxy", "NO_PROXY"):
        given = os.environ.get(name) or os.environ.get(name.swapcase()) or ""
        hosts = [host.strip() for host in given.split(",") if host.strip()]
        if "*" not in hosts:
            os.environ[name] = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])


def busy() -> bool:
    """Whether other processes keep all cores of this machine at work already.

    There, torch's threads must not spin while they wait for each other: each takes the core that another one needs, and
    a training step takes several times as long (`python -m benchmarks.threads`). Results are the same bits either way.
    """
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    except OSError:
        return False


def user_name() -> str:
    """The name of the person at this machine; "uid 1000" for a user without an account, as containers have them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
