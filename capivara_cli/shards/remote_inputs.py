"""The shards that a URL names: one shard, all shards of a complete remote folder, or those that match a pattern."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.manifest import MANIFEST, Identity, Manifest, ShardEntry
from capivara_cli.storage.remote.filesystems import check_scheme, filesystem, on_the_web, patience
from capivara_cli.storage.remote.read import Version, WebFile, contents, version_in
from capivara_cli.urls import base_name, public_url

_SHARDS = (".tar", ".tar.gz", ".tgz")


def entries_url(url: str, file: str = MANIFEST) -> str:
    """The folder in an unfinished remote folder that holds one small object for each finished shard."""
    return child(url, file.removesuffix(".jsonl"))


def shards_of(url: str) -> list[str]:
    """The shards a URL names, in order. Raises ``CapivaraError`` for what is not there, empty or unfinished."""
    check_scheme(url)
    if on_the_web(url):
        return _on_the_web(url)
    if any(mark in url for mark in "*?["):
        return _matches(url)
    if url.endswith(_SHARDS):
        return [url]
    files, path = filesystem(url)
    return _in_folder(url) if url.endswith("/") or patience(url).over(lambda: files.isdir(path)) else [url]


def _on_the_web(url: str) -> list[str]:
    """A web server lists no files: the shards of a folder there are those in its manifest."""
    path = url.partition("?")[0].partition("://")[2].partition("/")[2]
    if any(mark in path for mark in "*["):
        raise CapivaraError(
            f"{public_url(url)}: a web server does not list its files", "name them: …/{00000..00009}.tar"
        )
    if path and not path.endswith("/"):
        return [url]
    manifest = load_manifest(url)
    manifest.check_complete(public_url(url))
    return [child(url, name) for name in sorted(manifest.done)]


def child(url: str, name: str) -> str:
    """``name`` in the folder ``url``, under the same query."""
    place, question, query = url.partition("?") if on_the_web(url) else (url, "", "")
    return f"{place.rstrip('/')}/{name}{question}{query}"


def _matches(url: str) -> list[str]:
    files, path = filesystem(url)
    found = sorted(patience(url).over(lambda: files.glob(path)))
    if not found:
        raise CapivaraError(f"{public_url(url)}: nothing matches")
    return [shard for match in found for shard in shards_of(files.unstrip_protocol(match))]


def _in_folder(url: str) -> list[str]:
    files = listing(url)
    shards = sorted(name for name in files if name.endswith(".tar") and not name.startswith("."))
    if MANIFEST in files:
        manifest = load_manifest(url)
        manifest.check_complete(public_url(url), len(listing(entries_url(url))))
        if lost := sorted(manifest.done.keys() - set(shards)):
            raise CapivaraError(
                f"{public_url(url)}: {MANIFEST} names {lost[0]}, which is not there",
                "run the command that makes the folder again",
            )
    if not shards:
        raise CapivaraError(f"{public_url(url)}: no .tar shards in this folder")
    return [child(url, name) for name in shards]


def listing(url: str) -> dict[str, Version]:
    """The files in a remote folder by name, without those in its subfolders; empty when there is no such folder."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def listed() -> list[dict[str, Any]]:
        try:
            return list(files.ls(path.rstrip("/"), detail=True))
        except FileNotFoundError:
            return []

    found = [info for info in patience(url).over(listed) if info.get("type") != "directory"]
    return {str(info["name"]).rpartition("/")[2]: version_in(info) for info in found}


def load_manifest(
    url: str, file: str = MANIFEST, more: Iterable[ShardEntry] = (), inputs: Mapping[str, Identity | None] | None = None
) -> Manifest:
    """The manifest of a remote folder; ``more`` and ``inputs`` as for ``Manifest.parse``.

    Raises ``CapivaraError`` when there is none, when it is damaged, or when it names files outside the folder.
    """
    place = child(url, file)
    if on_the_web(url):
        text = b"".join(contents(place, WebFile(place)))
    else:
        files, path = filesystem(place)
        text = patience(place).over(lambda: bytes(files.cat_file(path)))
    try:
        manifest = Manifest.parse(text, more, inputs)
        if strange := [name for name in manifest.done if base_name(name) != name or name.startswith(".")]:
            raise ValueError(f"it names {strange[0]!r}")
    except ValueError as error:
        shown = public_url(url).rstrip("/")
        raise CapivaraError(f"{shown}/{file}: damaged: {error}", "delete the folder and make it again") from None
    return manifest


def content_of(url: str) -> bytes | None:
    """The bytes of a small remote file; None when there is none."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def content() -> bytes | None:
        try:
            return bytes(files.cat_file(path))
        except FileNotFoundError:
            return None

    return patience(url).over(content)


def is_there(url: str) -> bool:
    """Whether there is a remote file."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def there() -> bool:
        try:
            files.info(path)
        except FileNotFoundError:
            return False
        return True

    return patience(url).over(there)


def text_of(url: str) -> str:
    """The text of a small remote file; "" when there is none."""
    return (content_of(url) or b"").decode()
