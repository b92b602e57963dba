"""That the servers are what the tests that use them take them for."""

import psycopg
import pytest
from botocore.exceptions import ClientError

from tests.services.fixtures import Bucket
from tests.services.postgres import PostgresServer
from tests.services.s3 import S3Server


def test_s3_keeps_data_when_its_gateway_is_killed_and_knows_conditions(bucket: Bucket, s3_server: S3Server) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="a/b", Body=b"one", IfNoneMatch="*")
    s3_server.kill_gateway()
    s3_server.start_gateway()
    assert bucket.client.get_object(Bucket=bucket.name, Key="a/b")["Body"].read() == b"one"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        bucket.client.put_object(Bucket=bucket.name, Key="a/b", Body=b"two", IfNoneMatch="*")


def test_postgresql_keeps_data_over_a_restart(postgres: PostgresServer, new_database) -> None:
    url = new_database()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_trgm")
        cursor.execute("CREATE TABLE t AS SELECT 7 AS x")
    postgres.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres.start()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT x FROM t")
        assert cursor.fetchone() == (7,)
