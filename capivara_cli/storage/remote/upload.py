"""Files put into a remote folder: all or nothing, in parts that a killed upload goes on from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.files import replace_text, replacing
from capivara_cli.storage.remote.filesystems import Patience, filesystem, on_the_web, scheme_of, trouble
from capivara_cli.urls import public_url

PART = 16 << 20
"""Bytes of one part of an upload; more where the store's 10,000 parts would not do."""

_MOST_PARTS = 10_000
_SENDERS = 4
_BUCKETS = frozenset({"s3", "s3a"})


class Stopped(Exception):
    """The upload was told to stop, and can be gone on with."""


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
    """A small remote file, all or nothing."""
    files, path = filesystem(url)
    if scheme_of(url) == "file":
        with replacing(Path(path)) as out:
            out.write(data)
        return
    Patience(url).over(lambda: files.pipe_file(path, data))


def put_file(url: str, local: Path, stop: threading.Event) -> None:
    """A local file under a remote name, where it appears only when it is whole. Raises ``Stopped`` when told to."""
    files, path = filesystem(url)
    patience = Patience(url)
    if scheme_of(url) == "file":
        with open(local, "rb") as source, replacing(Path(path)) as out:
            shutil.copyfileobj(source, out, 1 << 20)
    elif scheme_of(url) in _BUCKETS:
        BucketUpload(url, local, stop).run()
    else:  # gs and hf: one resumable session or commit, memory: one assignment
        patience.over(lambda: files.put_file(str(local), path))
    files.invalidate_cache()
    found = patience.over(lambda: files.info(path))["size"]
    if found != local.stat().st_size:
        raise CapivaraError(f"{public_url(url)}: {found:,} bytes arrived of {local.stat().st_size:,}")


def remove(url: str) -> None:
    """Delete a remote file, if it is there."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def removed() -> None:
        with contextlib.suppress(FileNotFoundError):
            files.rm_file(path)

    Patience(url).over(removed)


@dataclass
class BucketUpload:
    """A multipart upload to S3. Beside the local file ``.NAME.upload`` remembers which one it is.

    After a kill the parts that arrived are kept, and only the others are sent. Uploads of the same name that were
    begun and left by someone else are aborted: they would be stored, and paid for, for ever.
    """

    url: str
    local: Path
    stop: threading.Event

    def __post_init__(self) -> None:
        self._files, path = filesystem(self.url)
        self._bucket, self._key, _ = self._files.split_path(path)
        self._size = self.local.stat().st_size
        self._part = max(PART, -(-self._size // _MOST_PARTS))
        self._state = self.local.with_name(f".{self.local.name}.upload")

    def run(self) -> None:
        upload = self._known()
        self._abort_others(upload)
        if self._size <= self._part:
            body = self.local.read_bytes()
            self._call("put_object", Body=body)
        else:
            tags = self._arrived(upload)
            if tags is None:
                upload, tags = self._begun(), {}
            self._send(upload, tags)
            self._complete(upload, tags)
        self._state.unlink(missing_ok=True)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        patience = Patience(self.url)
        return patience.over(lambda: self._files.call_s3(method, Bucket=self._bucket, Key=self._key, **arguments))

    def _mark(self) -> list[int]:
        info = self.local.stat()
        return [info.st_size, info.st_mtime_ns, self._part]

    def _known(self) -> str:
        """The upload of this very file that was begun before, "" for none."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self._state.read_text("utf-8"))
            if state["file"] == self._mark():
                return str(state["upload"])
        return ""

    def _begun(self) -> str:
        upload = str(self._call("create_multipart_upload")["UploadId"])
        replace_text(self._state, json.dumps({"upload": upload, "file": self._mark()}))
        return upload

    def _arrived(self, upload: str) -> dict[int, str] | None:
        """The parts that are there, by number; None when there is no such upload any more."""
        if not upload:
            return None
        tags: dict[int, str] = {}
        marker = 0
        while True:
            try:
                answer = self._files.call_s3(
                    "list_parts", Bucket=self._bucket, Key=self._key, UploadId=upload, PartNumberMarker=marker
                )
            except trouble():  # gone, or not ours to look at: sending all of it is right in any case
                return None
            for part in answer.get("Parts", []):
                if part["Size"] == self._length(part["PartNumber"]):
                    tags[part["PartNumber"]] = part["ETag"]
            if not answer.get("IsTruncated"):
                return tags
            marker = answer["NextPartNumberMarker"]

    def _length(self, number: int) -> int:
        return min(self._part, self._size - (number - 1) * self._part)

    def _send(self, upload: str, tags: dict[int, str]) -> None:
        missing = [number for number in range(1, -(-self._size // self._part) + 1) if number not in tags]

        def send(number: int) -> tuple[int, str]:
            if self.stop.is_set():
                raise Stopped
            with open(self.local, "rb") as source:
                source.seek((number - 1) * self._part)
                body = source.read(self._part)
            return number, self._call("upload_part", UploadId=upload, PartNumber=number, Body=body)["ETag"]

        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="capivara-upload") as pool:
            try:
                tags.update(pool.map(send, missing))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _complete(self, upload: str, tags: dict[int, str]) -> None:
        parts = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
        try:
            self._call("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts})
        except CapivaraError:
            # The answer to a first try may have been lost: then the upload is gone because it is complete.
            if not self._is_there([tags[number] for number in sorted(tags)]):
                raise

    def _is_there(self, tags: list[str]) -> bool:
        """Whether the object is the one of these parts: its tag is the MD5 of theirs, and how many they are."""
        try:
            found = self._files.info(f"{self._bucket}/{self._key}")["ETag"].strip('"')
        except trouble():
            return False
        together = hashlib.md5(usedforsecurity=False)
        with contextlib.suppress(ValueError):  # encrypted buckets have tags of another kind
            together.update(b"".join(bytes.fromhex(tag.strip('"')) for tag in tags))
        return bool(found == f"{together.hexdigest()}-{len(tags)}")

    def _abort_others(self, own: str) -> None:
        for upload in self._pending():
            if upload != own:
                with contextlib.suppress(*trouble()):
                    self._files.call_s3("abort_multipart_upload", Bucket=self._bucket, Key=self._key, UploadId=upload)

    def _pending(self) -> Iterator[str]:
        try:
            answer = self._files.call_s3("list_multipart_uploads", Bucket=self._bucket, Prefix=self._key)
        except trouble():  # a user who may write need not be allowed to list what others write
            return
        for each in answer.get("Uploads", []):
            if each["Key"] == self._key:
                yield each["UploadId"]
