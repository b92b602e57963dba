"""Makes buckets that are missing: `python deploy/buckets.py NAME...`."""

import sys

import boto3
from botocore.exceptions import ClientError


def main(names: list[str]) -> None:
    """One after the other; those that are there stay as they are."""
    client = boto3.client("s3")
    for name in names:
        try:
            client.head_bucket(Bucket=name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            client.create_bucket(Bucket=name)
            print(f"made the bucket {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
