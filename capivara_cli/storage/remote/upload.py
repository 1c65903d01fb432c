"""Upload and delete remote files. A file appears only when its upload is complete."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.files import replacing
from capivara_cli.storage.network_errors import network_errors, retry_for
from capivara_cli.storage.remote.filesystems import filesystem, is_http, scheme_of
from capivara_cli.storage.retry import Interrupted
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PART = 16 << 20
"""Bytes of one part of an upload to a bucket; more if a file would need more than ``_MAX_PARTS`` parts."""
_MAX_PARTS = 10_000
_SENDERS = 4
_BUCKETS = frozenset({"s3", "s3a"})


def check_writable(url: str) -> None:
    """Raise ``CapivaraError`` if files cannot be written to a URL, or if it has a secret in it."""
    if is_http(url):
        raise CapivaraError(
            f"--out {public_url(url)}: a web server can only be read", "write to s3://, gs:// or hf://, or to a folder"
        )
    if public_url(url) != url:
        raise CapivaraError(
            f"--out {public_url(url)}: credentials belong in the environment, not in the URL",
            "s3: AWS_ACCESS_KEY_ID …, gs: GOOGLE_APPLICATION_CREDENTIALS, hf: HF_TOKEN",
        )
    filesystem(url)


def put_bytes(url: str, data: bytes) -> None:
    """Write a small remote file."""
    files, path = filesystem(url)
    if scheme_of(url) == "file":
        with replacing(Path(path)) as out:
            out.write(data)
        return
    retry_for(url).call(lambda: files.pipe_file(path, data))


def put_file(url: str, local: Path) -> None:
    """Copy a local file to a URL. An upload that is stopped starts again at the first byte."""
    files, path = filesystem(url)
    retry, size = retry_for(url), local.stat().st_size
    if scheme_of(url) == "file":
        with open(local, "rb") as source, replacing(Path(path)) as out:
            shutil.copyfileobj(source, out, 1 << 20)
    elif scheme_of(url) in _BUCKETS:
        _abort_left_over(files, path)
        parts = {"chunksize": max(PART, -(-size // _MAX_PARTS)), "max_concurrency": _SENDERS}
        retry.call(lambda: _put_parts(files, str(local), path, parts))
    else:
        retry.call(lambda: files.put_file(str(local), path))
    files.invalidate_cache()
    found = retry.call(lambda: files.info(path))["size"]
    if found != size:
        raise CapivaraError(f"{public_url(url)}: {found:,} of {size:,} bytes were uploaded")


def _put_parts(files: AbstractFileSystem, local: str, path: str, parts: dict[str, int]) -> None:
    try:
        files.put_file(local, path, **parts)
    except FileNotFoundError as error:
        # s3fs aborts an upload after any error. If only the last response was lost, there is no upload to abort.
        if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") == "NoSuchUpload":
            raise Interrupted(str(error)) from error
        raise


def _abort_left_over(files: AbstractFileSystem, path: str) -> None:
    """Abort uploads of this object that killed processes started: the bucket would keep and bill their parts."""
    bucket, key, _ = files.split_path(path)
    # Permission to write does not include permission to list or abort uploads.
    with contextlib.suppress(*network_errors()):
        answer = files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
        for upload in answer.get("Uploads", []):
            if upload["Key"] == key:
                files.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload["UploadId"])


def remove(url: str) -> None:
    """Delete a remote file if it exists."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def removed() -> None:
        with contextlib.suppress(FileNotFoundError):
            files.rm_file(path)

    retry_for(url).call(removed)


def remove_folder(url: str) -> None:
    """Delete a remote folder with everything in it if it exists."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def removed() -> None:
        with contextlib.suppress(FileNotFoundError):
            files.rm(path, recursive=True)

    retry_for(url).call(removed)
