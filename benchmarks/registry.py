"""How long `dreamtrace impact` takes over a large registry, on SQLite and on PostgreSQL.

    python -m benchmarks.registry --work FOLDER [--versions 10000]

Fills two empty registries through MLflow's own interface with the same versions: subjects of 50 versions, each subject
with photo sets of 15 that grow and change. Then asks for photos by file, by altered copy and by digest, in a new
process each time as a person does, and with the index built anew. A killed run goes on.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.environment import prepare_environment

prepare_environment()

SETS_PER_SUBJECT, PHOTOS = 5, 15
ASK = """
import sys, time, json
from pathlib import Path
import mlflow
from pipeline.registry.impact import impact
from pipeline.registry.store import connect
connect(Path(sys.argv[1]))  # the connection is not what is measured
start = time.perf_counter()
found = impact(Path(sys.argv[1]), sys.argv[2], rebuild=sys.argv[3] == "rebuild")
print(json.dumps([time.perf_counter() - start, len(found.affected), len(found.unresolved)]))
"""


def photo(number: int) -> tuple[str, str]:
    """sha256 and perceptual hash of a photo that does not exist."""
    rng = np.random.default_rng(number)
    return rng.bytes(32).hex(), rng.bytes(8).hex()


def tags(version: int, per_subject: int) -> dict[str, str]:
    """The tags that matter of the n-th version."""
    subject, number = divmod(version, per_subject)
    first = subject * 1000 + 3 * (number * SETS_PER_SUBJECT // per_subject)  # each set drops 3 photos and adds 3
    photos = [list(photo(first + at)) for at in range(PHOTOS)]
    return {"photos": json.dumps(photos), "content_digest": f"{version:064x}", "dataset_md5": f"{first:032x}.dir"}


def fill(uri: str, count: int, per_subject: int) -> None:
    """Add the versions that a registry lacks."""
    import mlflow

    client = mlflow.MlflowClient(uri, uri)
    for subject in range(count // per_subject):
        name = f"subject-{subject:04d}"
        with contextlib.suppress(mlflow.MlflowException):  # it is there
            client.create_registered_model(name)
        there = len(client.search_model_versions(f"name = '{name}'", max_results=1000))
        for number in range(there, per_subject):
            client.create_model_version(name, "s3://bucket/x", tags=tags(subject * per_subject + number, per_subject))
        client.set_registered_model_alias(name, "champion", str(per_subject))
        if subject % 20 == 0:
            print(f"{uri.partition(':')[0]}: {(subject + 1) * per_subject} versions", flush=True)


def ask(uri: str, workspace: Path, asked: str, how: str) -> tuple[float, int, int]:
    """Seconds, versions found, versions unknown; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(workspace), asked, how],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, found, unknown = json.loads(done.stdout.splitlines()[-1])
    return seconds, found, unknown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--per-subject", type=int, default=50)
    parser.add_argument("--postgres", help="URI of an empty PostgreSQL database; default: a throwaway server")
    options = parser.parse_args()
    from tests.services.postgres import PostgresServer

    server = None if options.postgres else PostgresServer()
    try:
        options.work.mkdir(parents=True, exist_ok=True)
        uris = {
            "SQLite": f"sqlite:///{(options.work / 'registry.db').resolve()}",
            "PostgreSQL": options.postgres or server.database("registry"),
        }
        for name, uri in uris.items():
            start = time.perf_counter()
            fill(uri, options.versions, options.per_subject)
            print(f"{name}: filled in {time.perf_counter() - start:.0f} s", flush=True)
        for name, uri in uris.items():
            workspace = options.work / name
            workspace.mkdir(exist_ok=True)
            built, *_ = ask(uri, workspace, photo(0)[0], "rebuild")
            print(f"{name}: index of {options.versions} versions built from nothing: {built:.2f} s")
            for what, number in (("in 10 versions", 0), ("in all 50 of a subject", 13), ("in none", 999_999_999)):
                times = [ask(uri, workspace, photo(number)[0], "again") for _ in range(5)]
                seconds = sorted(row[0] for row in times)
                print(
                    f"{name}: photo {what}: {times[0][1]} found, median {statistics.median(seconds):.3f} s, "
                    f"slowest of 5 {seconds[-1]:.3f} s"
                )
    finally:
        if server:
            server.remove()


if __name__ == "__main__":
    main()
