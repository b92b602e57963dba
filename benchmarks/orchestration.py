"""What Prefect and DVC add to the stages, and whether a queue loses anything.

    python -m benchmarks.orchestration overhead [--rounds 1]     the demo: flow against bare stages
    python -m benchmarks.orchestration noop [--workspace .]      `dvc repro` with nothing to do against an empty project
    python -m benchmarks.orchestration queue [--runs 100]        queued runs on two workers

Every measurement is a ratio, or a count, of one call. `overhead` works in fresh clones of this repository without any
cache; `noop` needs a workspace that is up to date; `queue` starts a Prefect server of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register")
WORKERS = 2
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def timed(command: list[str], folder: Path, **environment: str) -> float:
    """Seconds that a command takes; its output goes to a log beside the folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    started = time.perf_counter()
    with folder.with_suffix(".log").open("ab") as log:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path, **QUIET, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {folder}; see {folder.with_suffix('.log')}")
    return time.perf_counter() - started


def clone(folder: Path) -> Path:
    """This repository with its photos, and nothing that was computed before."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    timed([sys.executable, "-m", "dvc", "pull", "--quiet", "data.dvc"], folder)
    return folder


def overhead(rounds: int, work: Path) -> None:
    """The demo as a flow and as bare stages, in alternating order."""
    seconds: dict[str, list[float]] = {"flow": [], "bare": []}
    for turn in range(rounds):
        for kind in ("bare", "flow") if turn % 2 == 0 else ("flow", "bare"):
            folder = clone(work / f"{kind}-{turn}")
            if kind == "flow":
                home = {"PREFECT_HOME": str(work / f"prefect-{turn}")}
                spent = timed([sys.executable, "-m", "flows.fine_tune"], folder, **home)
            else:
                spent = sum(timed([sys.executable, "-m", f"pipeline.stages.{stage}"], folder) for stage in STAGES)
            seconds[kind].append(spent)
            print(f"  {kind}: done", flush=True)
    ratio = sum(seconds["flow"]) / sum(seconds["bare"])
    print(f"flow / bare stages of the demo: {ratio:.3f} ({rounds} round(s); at most 1.10 is wanted)")


def noop(workspace: Path, rounds: int, work: Path) -> None:
    """`dvc repro` where nothing has to be done, against a project of as many stages that do nothing."""
    repro = [sys.executable, "-m", "dvc", "repro"]
    said = subprocess.run([*repro, "--dry"], cwd=workspace, capture_output=True, text=True, check=True).stdout
    if "Running stage" in said:
        raise SystemExit(f"{workspace.resolve()} is not up to date; run `dvc repro` there first, or name another")
    empty = work / "empty"
    empty.mkdir()
    stages: dict[str, Any] = {}
    for number, name in enumerate(STAGES):
        entry: dict[str, Any] = {"cmd": f"echo {number} > out-{number}", "outs": [f"out-{number}"]}
        stages[name] = entry | ({"deps": [f"out-{number - 1}"]} if number else {})
    (empty / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (empty / "data").mkdir()
    (empty / "data" / "photo").write_text("nothing")  # data.dvc is a stage, too
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["git", "init", "-q"], [*dvc, "init", "-q"], [*dvc, "add", "-q", "data"], repro):
        timed(command, empty)
    log = {"real": work / "real", "empty": empty}
    log["real"].symlink_to(workspace.resolve())
    spent: dict[str, list[float]] = {"real": [], "empty": []}
    for _ in range(rounds):
        for kind, seconds in spent.items():
            seconds.append(timed(repro, log[kind]))
    ratio = statistics.median(spent["real"]) / statistics.median(spent["empty"])
    of = f"an empty project with {len(STAGES)} stages and a data.dvc"
    print(f"no-op dvc repro / that of {of}: {ratio:.2f} (median of {rounds})")


def queue(count: int, work: Path) -> None:
    """Runs that only write their number, queued at once, drained by two workers."""
    from prefect.client.orchestration import SyncPrefectClient

    from pipeline.processes import Command
    from pipeline.servers.start_commands import prefect_server, program

    api, log = "http://127.0.0.1:4299/api", work / "numbers"
    given = {**os.environ, **QUIET, "PREFECT_HOME": str(work / "prefect"), "PREFECT_API_URL": api}
    given |= {"PREFECT_WORKER_QUERY_SECONDS": "2", "DREAMTRACE_SOURCE": str(ROOT)}
    with Command(prefect_server(4299), work, given, log=work / "server.log"):
        client = SyncPrefectClient(api)
        while client.api_healthcheck() is not None:
            time.sleep(0.5)
        deployment = ["-m", "benchmarks.trivial_flow", "deploy"]
        subprocess.run([sys.executable, *deployment], cwd=ROOT, env=given, check=True, capture_output=True)
        found = client.read_deployment_by_name("trivial/trivial")
        for number in range(count):
            client.create_flow_run_from_deployment(found.id, parameters={"number": number, "log": str(log)})
        started = time.perf_counter()
        worker = [program("prefect"), "worker", "start", "--type", "process", "--pool", "trivial", "--limit", "2"]
        with (
            Command([*worker, "--name", "one"], ROOT, given, log=work / "one.log"),
            Command([*worker, "--name", "two"], ROOT, given, log=work / "two.log"),
        ):
            while not finished(client) and time.perf_counter() - started < 60 + 12 * count:
                time.sleep(2)
        minutes = (time.perf_counter() - started) / 60
        states = Counter(run.state_name for run in pages(client))
    wrote = Counter(int(line) for line in log.read_text().split()) if log.is_file() else Counter()
    lost = [number for number in range(count) if not wrote[number]]
    doubled = [number for number, times in wrote.items() if times > 1]
    print(f"{count} queued runs on {WORKERS} workers: {dict(states)}; lost {len(lost)}, doubled {len(doubled)}")
    print(f"{count / minutes:.0f} runs a minute on this machine")


def pages(client: Any) -> list[Any]:
    """All flow runs of a server."""
    found: list[Any] = []
    while page := client.read_flow_runs(limit=200, offset=len(found)):
        found += page
    return found


def finished(client: Any) -> bool:
    """Whether no run waits or works."""
    return all(run.state is not None and run.state.is_final() for run in pages(client))


def main() -> None:
    """Run the measurement that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "noop", "queue"))
    parser.add_argument("--rounds", type=int, help="pairs; default: 1 of the demo, 7 without work")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--workspace", type=Path, default=ROOT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.what == "overhead":
            overhead(asked.rounds or 1, Path(folder))
        elif asked.what == "noop":
            noop(asked.workspace, asked.rounds or 7, Path(folder))
        else:
            queue(asked.runs, Path(folder))
    print(f"{os.cpu_count()} CPU cores")


if __name__ == "__main__":
    main()
