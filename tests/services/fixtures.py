"""Fixtures: one S3 server and one PostgreSQL for the whole session, an empty bucket or database for a test."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.services.debian import Unavailable
from tests.services.postgres import PostgresServer
from tests.services.s3 import S3Server


@dataclass(frozen=True)
class Bucket:
    """An empty bucket, and a client that is allowed to use it."""

    name: str
    url: str
    client: Any


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    try:
        server = S3Server()
    except Unavailable as reason:
        pytest.skip(f"no S3 server: {reason}")
    yield server
    server.stop()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, reachable by the usual AWS environment of this process."""
    import boto3

    environment = {
        "AWS_ACCESS_KEY_ID": s3_server.key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret,
        "AWS_ENDPOINT_URL": s3_server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": s3_server.url,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    return Bucket(name, f"s3://{name}", client)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except Unavailable as reason:
        pytest.skip(f"no PostgreSQL: {reason}")
    yield server
    server.remove()


@pytest.fixture
def new_database(postgres: PostgresServer) -> Callable[[], str]:
    """Makes an empty database; its SQLAlchemy URL."""
    return lambda: postgres.database(f"d{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def mlflow_template(postgres: PostgresServer) -> str:
    """The name of a database with MLflow's tables, to be copied."""
    url = postgres.database("mlflow")
    subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", url], check=True, capture_output=True)
    return "mlflow"


@pytest.fixture
def mlflow_postgres(postgres: PostgresServer, mlflow_template: str) -> str:
    """An empty tracking store and registry on PostgreSQL; its URI."""
    return postgres.database(f"d{uuid.uuid4().hex[:12]}", mlflow_template)
