"""That the servers are what the tests that use them take them for."""

import io

import boto3
import psycopg
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.services.fixtures import Bucket
from tests.services.postgres import PostgresServer
from tests.services.s3 import S3Server


@pytest.mark.slow
def test_s3_keeps_data_when_its_gateway_is_killed_and_knows_conditions(bucket: Bucket, s3_server: S3Server) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="a/b", Body=b"one", IfNoneMatch="*")
    s3_server.kill_gateway()
    s3_server.start_gateway()
    assert bucket.client.get_object(Bucket=bucket.name, Key="a/b")["Body"].read() == b"one"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        bucket.client.put_object(Bucket=bucket.name, Key="a/b", Body=b"two", IfNoneMatch="*")


def test_s3_puts_an_upload_in_parts_together(bucket: Bucket) -> None:
    content = bytes(range(256)) * (11 * 2**12)  # 11 MiB; a part has at least 5
    parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
    bucket.client.upload_fileobj(io.BytesIO(content), bucket.name, "big", Config=parts)
    found = bucket.client.get_object(Bucket=bucket.name, Key="big")
    assert found["ETag"].endswith('-3"')  # the number of parts
    assert found["Body"].read() == content


def test_s3_refuses_a_wrong_secret(bucket: Bucket) -> None:
    stranger = boto3.client("s3", aws_secret_access_key="wrong", aws_access_key_id=S3Server.key)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch") as refusal:
        stranger.list_objects_v2(Bucket=bucket.name)
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.slow
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
