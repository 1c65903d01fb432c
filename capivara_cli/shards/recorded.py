"""What the manifest beside a shard says of its content, so that a reader notices damage."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.manifest import MANIFEST, Manifest
from capivara_cli.storage.digests import Hash, digest_text, new_hash
from capivara_cli.urls import base_name, is_url, public_url

_CHUNK = 1 << 20


class DamagedShard(CapivaraError):
    """A shard of a finished folder has another content than its command wrote. ``source`` is its path or URL."""

    def __init__(self, source: str, made_by: str) -> None:
        by = f" ({made_by})" if made_by else ""
        super().__init__(
            f"{public_url(source)}: damaged: its content is not what its command wrote (digest differs)",
            f"delete it, and run the command that made it again{by}: it makes only the missing shards",
        )
        self.source = source


@dataclass(frozen=True)
class Recorded:
    """The digest that the content of a shard must have, and the names of the steps that made it, for a message."""

    digest: str
    made_by: str = ""


def recorded(source: str) -> Recorded | None:
    """What the manifest beside a shard, a path or URL, says of it; None without a manifest or digest."""
    if is_url(source):
        folder, name = _parent(source), base_name(source)
        return _beside_remote(folder).get(name) if name else None
    path = Path(source)
    file = path.parent / MANIFEST
    try:
        info = file.stat()
    except OSError:
        return None
    return _beside(file, (info.st_mtime_ns, info.st_size, info.st_ino)).get(path.name)


@functools.lru_cache(maxsize=64)
def _beside(file: Path, state: tuple[int, ...]) -> Mapping[str, Recorded]:
    """The digests in a manifest. ``state`` changes when the file does. A file that is no manifest has none."""
    try:
        return _digests(Manifest.parse(file.read_bytes()))
    except (OSError, ValueError):
        return {}


@functools.lru_cache(maxsize=64)
def _beside_remote(folder: str) -> Mapping[str, Recorded]:
    """The digests in the manifest of a remote folder, read once per process. A folder without a manifest has none."""
    from capivara_cli.shards.remote_inputs import manifest_beside  # imports network libraries

    manifest = manifest_beside(folder)
    return {} if manifest is None else _digests(manifest)


def _digests(manifest: Manifest) -> Mapping[str, Recorded]:
    made_by = manifest.steps
    return {name: Recorded(entry.digest, made_by) for name, entry in manifest.done.items() if entry.digest}


def _parent(url: str) -> str:
    place, question, query = url.partition("?")
    return place.rpartition("/")[0] + question + query


class ContentCheck:
    """Compares the content of one shard, while it is read, with what is recorded. ``digest`` gets all bytes read."""

    def __init__(self, source: str, expected: Recorded) -> None:
        self.digest: Hash = new_hash()
        self._source, self._expected = source, expected

    def at_end(self) -> None:
        """Raise ``DamagedShard`` if the content, of which all has been read, differs."""
        if self._differs():
            raise DamagedShard(self._source, self._expected.made_by)

    @contextlib.contextmanager
    def explaining(self, stream: BinaryIO) -> Iterator[None]:
        """Raise ``DamagedShard`` in place of an exception inside if it may come from a damaged shard.

        The rest of a local shard is read for that. What reads a damaged shard may fail in any way.
        """
        try:
            yield
        except DamagedShard:
            raise
        except Exception as error:
            if not is_url(self._source) and _is_drained(stream) and self._differs():
                raise DamagedShard(self._source, self._expected.made_by) from error
            raise

    def _differs(self) -> bool:
        if digest_text(self.digest) == self._expected.digest:
            return False
        _beside_remote.cache_clear()  # the folder may have been made again since its manifest was read
        now = recorded(self._source)
        return now is not None and digest_text(self.digest) != now.digest


def _is_drained(stream: BinaryIO) -> bool:
    """Read the rest of a stream; return whether that is possible."""
    try:
        while stream.read(_CHUNK):
            pass
    except Exception:  # noqa: BLE001  a damaged compressed stream, or a closed one: the first error is the one to show
        return False
    return True
