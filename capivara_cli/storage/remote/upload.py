"""Files put into a remote folder, where each appears only when it is whole."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.files import replacing
from capivara_cli.storage.remote.filesystems import filesystem, on_the_web, patience, scheme_of, trouble
from capivara_cli.storage.retry import Interrupted
from capivara_cli.urls import public_url

PART = 16 << 20
"""Bytes in one part of an upload to a bucket; more where a file would have over ``_MOST_PARTS``."""
_MOST_PARTS = 10_000
_SENDERS = 4
_BUCKETS = frozenset({"s3", "s3a"})


def check_writable(url: str) -> None:
    """Raise ``CapivaraError`` for a URL that nothing can be written to, or that has a secret in it."""
    if on_the_web(url):
        raise CapivaraError(
            f"--out {public_url(url)}: http is read, not written", "write to s3://, gs:// or hf://, or to a folder"
        )
    if public_url(url) != url:
        raise CapivaraError(
            f"--out {public_url(url)}: credentials belong into the environment, not into the URL",
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
    patience(url).over(lambda: files.pipe_file(path, data))


def put_file(url: str, local: Path) -> None:
    """Copy a file of this machine to a URL. An upload that is stopped starts again from the first byte."""
    files, path = filesystem(url)
    retry, size = patience(url), local.stat().st_size
    if scheme_of(url) == "file":
        with open(local, "rb") as source, replacing(Path(path)) as out:
            shutil.copyfileobj(source, out, 1 << 20)
    elif scheme_of(url) in _BUCKETS:
        _abort_left_over(files, path)
        parts = {"chunksize": max(PART, -(-size // _MOST_PARTS)), "max_concurrency": _SENDERS}
        retry.over(lambda: _put_parts(files, str(local), path, parts))
    else:
        retry.over(lambda: files.put_file(str(local), path))
    files.invalidate_cache()
    found = retry.over(lambda: files.info(path))["size"]
    if found != size:
        raise CapivaraError(f"{public_url(url)}: {found:,} bytes arrived of {size:,}")


def _put_parts(files: Any, local: str, path: str, parts: dict[str, int]) -> None:
    try:
        files.put_file(local, path, **parts)
    except FileNotFoundError as error:
        # s3fs aborts an upload after any error. One whose last answer was lost is complete: there is none to abort.
        if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") == "NoSuchUpload":
            raise Interrupted(str(error)) from error
        raise


def _abort_left_over(files: Any, path: str) -> None:
    """Abort uploads of this object that killed processes began: the bucket would keep and bill their parts."""
    bucket, key, _ = files.split_path(path)
    with contextlib.suppress(*trouble()):  # a user who may write need not be allowed to list or to abort uploads
        answer = files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
        for each in answer.get("Uploads", []):
            if each["Key"] == key:
                files.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=each["UploadId"])


def remove(url: str) -> None:
    """Delete a remote file, if it is there."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def removed() -> None:
        with contextlib.suppress(FileNotFoundError):
            files.rm_file(path)

    patience(url).over(removed)


def remove_folder(url: str) -> None:
    """Delete a remote folder with everything in it, if it is there."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def removed() -> None:
        with contextlib.suppress(FileNotFoundError):
            files.rm(path, recursive=True)

    patience(url).over(removed)
