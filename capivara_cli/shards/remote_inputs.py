"""What a URL names: one shard, the shards of a remote folder that is complete, or those that a pattern matches."""

from __future__ import annotations

import tempfile
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.manifest import MANIFEST, Manifest
from capivara_cli.storage.remote.filesystems import Patience, check_scheme, filesystem, on_the_web
from capivara_cli.storage.remote.read import WebFile, contents
from capivara_cli.urls import base_name, public_url

_SHARDS = (".tar", ".tar.gz", ".tgz")
ENTRIES = "manifest"
"""The folder in an unfinished remote folder that has one small object per finished shard."""


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
    return _in_folder(url) if url.endswith("/") or Patience(url).over(lambda: files.isdir(path)) else [url]


def _on_the_web(url: str) -> list[str]:
    """A web server lists nothing; a folder there is what its manifest says."""
    path = url.partition("?")[0].partition("://")[2].partition("/")[2]
    if any(mark in path for mark in "*["):
        raise CapivaraError(
            f"{public_url(url)}: a web server does not list its files", "name them: …/{00000..00009}.tar"
        )
    if path and not path.endswith("/"):
        return [url]
    place = child(url, MANIFEST)
    manifest = manifest_in(b"".join(contents(place, WebFile(place))), public_url(url))
    check_complete(manifest, url, 0)
    return [child(url, name) for name in sorted(manifest.done)]


def child(url: str, name: str) -> str:
    """``name`` in the folder ``url``, under the same query."""
    place, question, query = url.partition("?") if on_the_web(url) else (url, "", "")
    return f"{place.rstrip('/')}/{name}{question}{query}"


def _matches(url: str) -> list[str]:
    files, path = filesystem(url)
    found = sorted(Patience(url).over(lambda: files.glob(path)))
    if not found:
        raise CapivaraError(f"{public_url(url)}: nothing matches")
    return [shard for match in found for shard in shards_of(files.unstrip_protocol(match))]


def _in_folder(url: str) -> list[str]:
    sizes = listing(url)
    shards = sorted(name for name in sizes if name.endswith(".tar") and not name.startswith("."))
    if MANIFEST in sizes:
        manifest = load_manifest(url)
        check_complete(manifest, url, len(listing(child(url, ENTRIES))))
        if lost := sorted(manifest.done.keys() - set(shards)):
            raise CapivaraError(
                f"{public_url(url)}: {MANIFEST} names {lost[0]}, which is not there",
                "run the command that makes the folder again",
            )
    if not shards:
        raise CapivaraError(f"{public_url(url)}: no .tar shards in this folder")
    return [child(url, name) for name in shards]


def listing(url: str) -> dict[str, int]:
    """The names and sizes of the files in a remote folder; empty when there is none."""
    files, path = filesystem(url)
    files.invalidate_cache()
    patience = Patience(url)

    def listed() -> list[dict[str, object]]:
        try:
            return list(files.ls(path.rstrip("/"), detail=True))
        except FileNotFoundError:
            return []

    found = [info for info in patience.over(listed) if info.get("type") != "directory"]
    return {str(info["name"]).rpartition("/")[2]: int(str(info["size"])) for info in found}


def load_manifest(url: str) -> Manifest:
    files, path = filesystem(child(url, MANIFEST))
    return manifest_in(Patience(url).over(lambda: files.cat_file(path)), public_url(url))


def text_of(url: str) -> str:
    """The text of a small remote file, "" when there is none."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def text() -> str:
        try:
            return bytes(files.cat_file(path)).decode()
        except FileNotFoundError:
            return ""

    return Patience(url).over(text)


def manifest_in(text: bytes, shown: str) -> Manifest:
    """A manifest read from its text. Raises ``CapivaraError`` when it is damaged or names what no folder holds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST).write_bytes(text)
        try:
            manifest = Manifest.load(Path(folder))
        except CapivaraError:
            manifest = None
    if manifest is None or any(base_name(name) != name or name.startswith(".") for name in manifest.done):
        raise CapivaraError(f"{shown}: its {MANIFEST} is damaged", "delete the folder and make it again")
    return manifest


def check_complete(manifest: Manifest, url: str, entries: int) -> None:
    """Raise ``CapivaraError`` for a folder that a plan has begun and not finished."""
    if not manifest.complete:
        total = "an unknown number of" if manifest.shards is None else manifest.shards
        names = " | ".join(step.get("step", "?") for step in manifest.plan)
        raise CapivaraError(
            f"{public_url(url)}: unfinished: {max(entries, len(manifest.done))} of {total} shards are there",
            f"run the command that makes it again, it goes on where it stopped ({names})",
        )
