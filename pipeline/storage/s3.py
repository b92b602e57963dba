"""S3 by boto3: objects uploaded in parts that survive a cut, and values that only one writer can replace."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import NotNow, UserError
from pipeline.files import CHUNK
from pipeline.network.reachable import silence

PART = 16 << 20  # bytes; larger for files that would have more parts than S3 takes
MOST_PARTS = 10_000
AT_ONCE = 8  # requests under way
# What S3 says when the same request may well succeed later; 5xx says so, too, but for "not implemented".
LATER = {
    "SlowDown", "RequestTimeout", "RequestTimeoutException", "RequestLimitExceeded", "RequestThrottled",
    "RequestThrottledException", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException",
    "BandwidthLimitExceeded", "InternalError", "ServiceUnavailable",
}  # fmt: skip
URL = re.compile(r"^s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>.*))?$")


class StorageError(UserError):
    """S3 does not answer, refuses, or holds other bytes than it should."""


class StorageSilent(StorageError, NotNow):
    """S3 does not answer, breaks off, or is too busy."""


class NothingThere(StorageError):
    """There is no such object."""


class ChangedMeanwhile(StorageError):
    """Another writer has changed the object since it was read."""


@dataclass(frozen=True)
class Place:
    """A bucket, and the prefix within it (without slashes at its ends)."""

    bucket: str
    prefix: str

    def key(self, *parts: str) -> str:
        """The key of an object below the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def read_url(url: str) -> Place:
    """The place that `s3://bucket/prefix` names.

    Raises:
        StorageError: of another form.
    """
    match = URL.match(url)
    if not match:
        raise StorageError(f"'{url}' is not an S3 address; write s3://bucket/prefix")
    return Place(match["bucket"], (match["prefix"] or "").strip("/"))


@dataclass(frozen=True)
class Upload:
    """An upload in parts that was cut off, when it was begun, and the bytes that are there."""

    key: str
    id: str
    begun: datetime
    size: int


class Store:
    """One S3 service, found by the usual AWS environment (AWS_ENDPOINT_URL, AWS_PROFILE, ...).

    Every method raises `StorageError`, in one sentence, where S3 refuses or does not answer.
    """

    def __init__(self, part: int = PART):
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            retries={"mode": "standard", "max_attempts": 4},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=AT_ONCE,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self.part = part
        try:
            self.client = boto3.session.Session().client("s3", config=config)
        except (BotoCoreError, ValueError) as error:  # a profile that does not exist, an endpoint that is no URL
            raise StorageError(f"the AWS settings cannot be used: {str(error).splitlines()[0]}") from None
        if (reason := silence(self.client.meta.endpoint_url)) is not None:
            raise StorageSilent(
                f"the S3 at {self.client.meta.endpoint_url} does not answer: {reason}; start it, or check "
                "AWS_ENDPOINT_URL, then run the same command again"
            )

    def size(self, bucket: str, key: str) -> tuple[int, str | None] | None:
        """Bytes of an object and the sha256 kept beside it; None where there is none."""
        with storage_errors(bucket, key):
            try:
                head = self.client.head_object(Bucket=bucket, Key=key)
            except self.client.exceptions.ClientError as error:
                if status(error) == 404:
                    return None
                raise
            return int(head["ContentLength"]), head["Metadata"].get("sha256")

    def read(self, bucket: str, key: str) -> tuple[bytes, str] | None:
        """A small object and its ETag; None where there is none."""
        with storage_errors(bucket, key):
            try:
                found = self.client.get_object(Bucket=bucket, Key=key)
                return found["Body"].read(), found["ETag"]
            except self.client.exceptions.ClientError as error:
                if status(error) == 404:
                    return None
                raise

    def list(self, place: Place) -> list[tuple[str, int, str]]:
        """Key, bytes and ETag of every object below a prefix."""
        prefix = f"{place.prefix}/" if place.prefix else ""
        with storage_errors(place.bucket, prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix)
            found = [entry for page in pages for entry in page.get("Contents", [])]
        return [(entry["Key"], entry["Size"], entry["ETag"]) for entry in found if not entry["Key"].endswith("/")]

    def download(self, bucket: str, key: str, path: Path) -> str:
        """Write an object to a file; returns the sha256 of what arrived.

        Raises:
            NothingThere: there is no such object.
        """
        digest = hashlib.sha256()
        with storage_errors(bucket, key), path.open("wb") as file:
            for chunk in self.client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def write(self, bucket: str, key: str, content: bytes) -> None:
        """Write a small object, whatever was there."""
        with storage_errors(bucket, key):
            self.client.put_object(Bucket=bucket, Key=key, Body=content, ContentMD5=_md5(content))

    def replace(self, bucket: str, key: str, content: bytes, etag: str | None) -> None:
        """Write a small object only if it still has this ETag, or (None) if there is none yet.

        Raises:
            ChangedMeanwhile: somebody else has written it in the meantime.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        for attempt in (0, 1):
            try:
                with storage_errors(bucket, key):
                    self.client.put_object(
                        Bucket=bucket, Key=key, Body=content, ContentType="application/json", **condition
                    )
                    return
            except ChangedMeanwhile:
                # Ceph's gateway compares without the quotes that belong to an ETag. Each try is conditional by itself.
                if attempt or etag is None or not etag.startswith('"'):
                    raise
                condition = {"IfMatch": etag.strip('"')}

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; none there is no error. In a bucket with versioning older versions of it remain."""
        with storage_errors(bucket, key):
            self.client.delete_object(Bucket=bucket, Key=key)

    def unfinished(self, place: Place, idle_s: float, ours: Callable[[str], bool]) -> Iterator["Upload"]:
        """Uploads below a prefix that were cut off, and of which no part came within the last `idle_s` seconds.

        Args:
            ours: whether a key is one that the caller would write; uploads of other programs are not looked at.
        """
        with storage_errors(place.bucket, place.prefix):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=place.bucket, Prefix=f"{place.prefix}/" if place.prefix else ""
            )
            for row in (row for page in pages for row in page.get("Uploads", [])):
                if ours(row["Key"]):
                    size, newest = self._sent(place.bucket, row["Key"], row["UploadId"], row["Initiated"])
                    if (datetime.now(UTC) - newest).total_seconds() >= idle_s:
                        yield Upload(row["Key"], row["UploadId"], row["Initiated"], size)

    def idle_s(self, bucket: str, upload: "Upload") -> float:
        """Seconds since an upload began, or since its newest part came; 0 where it was finished or removed."""
        with storage_errors(bucket, upload.key):
            try:
                _, newest = self._sent(bucket, upload.key, upload.id, upload.begun)
            except self.client.exceptions.ClientError as error:
                if status(error) == 404:
                    return 0.0
                raise
            return (datetime.now(UTC) - newest).total_seconds()

    def _sent(self, bucket: str, key: str, upload: str, begun: datetime) -> tuple[int, datetime]:
        """Bytes of an upload that are there, and when the newest came."""
        pages = self.client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload)
        there = [part for page in pages for part in page.get("Parts", [])]
        return sum(part["Size"] for part in there), max([begun, *(part["LastModified"] for part in there)])

    def abort(self, bucket: str, upload: "Upload") -> None:
        """Remove the parts of an upload that was cut off."""
        with storage_errors(bucket, upload.key):
            self.client.abort_multipart_upload(Bucket=bucket, Key=upload.key, UploadId=upload.id)

    def upload(self, bucket: str, key: str, path: Path, sha256: str) -> int:
        """Upload a file in parts, several at a time; parts that an earlier call uploaded are not sent again.

        Returns:
            Bytes that were sent.
        """
        length = path.stat().st_size
        if self.size(bucket, key) == (length, sha256):
            return 0
        if length <= self.part:
            content = path.read_bytes()
            with storage_errors(bucket, key):
                self.client.put_object(
                    Bucket=bucket, Key=key, Body=content, ContentMD5=_md5(content), Metadata={"sha256": sha256}
                )
            return length
        try:
            with storage_errors(bucket, key):
                return self._upload_parts(bucket, key, path, length, sha256)
        except StorageError:
            if self.size(bucket, key) == (length, sha256):  # another process has finished the same upload
                return 0
            raise

    def _upload_parts(self, bucket: str, key: str, path: Path, length: int, sha256: str) -> int:
        part = max(self.part, -(-length // MOST_PARTS))
        upload = self._begun(bucket, key, sha256)
        there = self._parts(bucket, key, upload)
        sent: list[int] = []

        def upload_part(number: int) -> dict[str, Any]:
            with path.open("rb") as file:
                file.seek((number - 1) * part)
                content = file.read(part)
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            if there.get(number) == etag:
                return {"PartNumber": number, "ETag": etag}
            done = self.client.upload_part(
                Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=content, ContentMD5=_md5(content)
            )
            sent.append(len(content))
            return {"PartNumber": number, "ETag": done["ETag"]}

        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                parts = list(pool.map(upload_part, range(1, -(-length // part) + 1)))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self.client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        if self.size(bucket, key) != (length, sha256):
            raise StorageError(f"s3://{bucket}/{key} does not hold what was sent; run the same command again")
        return sum(sent)

    def _begun(self, bucket: str, key: str, sha256: str) -> str:
        """The id of an upload of this key that was cut off, or of a new one."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
        begun = [found for page in pages for found in page.get("Uploads", []) if found["Key"] == key]
        if begun:
            return str(max(begun, key=lambda found: found["Initiated"])["UploadId"])
        new = self.client.create_multipart_upload(Bucket=bucket, Key=key, Metadata={"sha256": sha256})
        return str(new["UploadId"])

    def _parts(self, bucket: str, key: str, upload: str) -> dict[int, str]:
        pages = self.client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload)
        return {found["PartNumber"]: found["ETag"] for page in pages for found in page.get("Parts", [])}


@contextmanager
def storage_errors(bucket: str, key: str) -> Iterator[None]:
    """Errors of boto3 as one sentence that says what was asked for, and no secret."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
        PartialCredentialsError,
        SSLError,
    )
    from botocore.exceptions import ConnectionError as ConnectionFailed

    where = f"s3://{bucket}/{key}"
    try:
        yield
    except ClientError as error:
        if status(error) in (409, 412):
            raise ChangedMeanwhile(f"{where} was changed by another writer in the meantime") from None
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in LATER or status(error) == 429 or (status(error) >= 500 and status(error) != 501):
            raise StorageSilent(
                f"S3 could not do {error.operation_name} of {where} now: {code}; run the same command again to resume"
            ) from None
        hint = {403: "; check the AWS credentials", 404: "; check bucket and prefix"}.get(status(error), "")
        kind = NothingThere if code == "NoSuchKey" else StorageError
        raise kind(f"S3 refused {error.operation_name} of {where}: {code}{hint}") from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(
            f"there are no AWS credentials for {where} ({str(error).splitlines()[0]}); set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except SSLError as error:  # a certificate that nobody here trusts stays so
        raise StorageError(f"S3 cannot be asked for {where}: {str(error).splitlines()[0]}") from None
    except (HTTPClientError, ConnectionFailed, IncompleteReadError) as error:
        raise StorageSilent(
            f"S3 did not answer for {where}: {str(error).splitlines()[0]}; run the same command again to resume"
        ) from None
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(f"S3 cannot be asked for {where}: {str(error).splitlines()[0]}") from None


def status(error: Any) -> int:
    """The HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def read_json_object(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object that was read from `where`.

    Raises:
        StorageError: it is none.
    """
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StorageError(f"{where} holds no JSON object: it was not written by dreamtrace, or is damaged")
    return found


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
