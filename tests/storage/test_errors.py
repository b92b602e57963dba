"""What S3 refuses now and may do later is told apart from what it will refuse again: only the first is tried again."""

import socket
from collections.abc import Callable

import pytest
from botocore import exceptions as boto

from pipeline.errors import NotNow
from pipeline.network import reachable
from pipeline.storage.s3 import ChangedMeanwhile, NothingThere, StorageError, StorageSilent, Store, storage_errors


def refusal(status: int, code: str) -> boto.ClientError:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "GetObject")  # type: ignore[arg-type]


ADDRESS = {"endpoint_url": "http://127.0.0.1:9"}
PASSING = {
    "slow down": refusal(503, "SlowDown"),
    "slow down, by another status": refusal(400, "SlowDown"),
    "request timeout": refusal(400, "RequestTimeout"),
    "throttled": refusal(400, "ThrottlingException"),
    "too many": refusal(429, "429"),
    "internal error": refusal(500, "InternalError"),
    "internal error of an upload's end": refusal(200, "InternalError"),
    "a proxy's": refusal(502, "Bad Gateway"),
    "read timeout": boto.ReadTimeoutError(**ADDRESS),
    "connect timeout": boto.ConnectTimeoutError(**ADDRESS),
    "no connection": boto.EndpointConnectionError(**ADDRESS),
    "closed": boto.ConnectionClosedError(**ADDRESS),
    "broken off": boto.ResponseStreamingError(error="cut"),
    "too short": boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
}
LASTING = {
    "access": (refusal(403, "AccessDenied"), StorageError),
    "no object": (refusal(404, "NoSuchKey"), NothingThere),
    "other writer": (refusal(412, "PreconditionFailed"), ChangedMeanwhile),
    "not implemented": (refusal(501, "NotImplemented"), StorageError),
    "credentials": (boto.NoCredentialsError(), StorageError),
    "certificate": (boto.SSLError(**ADDRESS, error="CERTIFICATE_VERIFY_FAILED"), StorageError),
    "parameters": (boto.ParamValidationError(report="x"), StorageError),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_not_now(error: Exception) -> None:
    wanted = r"s3://bucket/key.*run the same command again"
    with pytest.raises(StorageSilent, match=wanted) as told, storage_errors("bucket", "key"):
        raise error
    assert isinstance(told.value, NotNow)


@pytest.mark.parametrize(("error", "kind"), LASTING.values(), ids=LASTING)
def test_what_will_be_refused_again_is_not_tried_again(error: Exception, kind: type[StorageError]) -> None:
    with pytest.raises(kind, match="s3://bucket/key") as told, storage_errors("bucket", "key"):
        raise error
    assert not isinstance(told.value, NotNow)


@pytest.mark.parametrize(
    "ask",
    [lambda store, path: store.read("bucket", "key"), lambda store, path: store.download("bucket", "key", path)],
    ids=["read", "download"],
)
def test_a_server_that_went_away_after_the_first_question_is_not_now(
    ask: Callable[..., object], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachable, "_silent", {})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("pipeline.storage.s3.silence", lambda _: None)
    with socket.socket() as held:  # nobody listens there
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{held.getsockname()[1]}")
        store = Store()
        monkeypatch.setattr("time.sleep", lambda _: None)  # between boto's own tries
        with pytest.raises(StorageSilent, match="did not answer"):
            ask(store, tmp_path / "file")
