"""A real S3 server on loopback (moto's), for tests of remote shards."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of its own; ``environment`` is what a process needs to find it."""

    name: str
    environment: dict[str, str]
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """The contents of all objects, by name without the prefix."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return {
            each["Key"].removeprefix(prefix): self.client.get_object(Bucket=self.name, Key=each["Key"])["Body"].read()
            for each in found
        }

    def pending(self) -> list[str]:
        """The keys of uploads that are neither complete nor aborted."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a server, while it runs; it takes parts of any size."""
    import logging

    import moto.s3.models
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    from capivara_cli.storage.remote import filesystems

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = 1
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    S3FileSystem.clear_instance_cache()  # those that know the address of the server before
    filesystems.shared_filesystem.cache_clear()
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@functools.cache
def _client(address: str) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def new_bucket(address: str) -> Bucket:
    client = _client(address)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(name, {**KEYS, "AWS_ENDPOINT_URL": address, "NO_PROXY": "127.0.0.1"}, client)
