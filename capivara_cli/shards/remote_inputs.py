"""List the shards of a URL (one shard, a complete remote folder, or a pattern) and read remote manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, Manifest, ShardEntry
from capivara_cli.shards.names import SHARD_SUFFIXES, is_shard_name
from capivara_cli.storage.network import NetworkLimits, Pace, TooSlow
from capivara_cli.storage.network_errors import network_errors, retry_for
from capivara_cli.storage.remote.filesystems import check_scheme, filesystem, is_http
from capivara_cli.storage.remote.read import Version, WebFile, contents, version_in, version_of
from capivara_cli.urls import base_name, public_url


def entries_url(url: str, file: str = MANIFEST) -> str:
    """The folder with one small object per finished shard, inside an unfinished remote folder."""
    return child(url, file.removesuffix(".jsonl"))


def shards_of(url: str) -> list[str]:
    """The shards of a URL, in order. Raises ``CapivaraError`` if it does not exist, is empty or unfinished."""
    check_scheme(url)
    if is_http(url):
        return _on_the_web(url)
    if any(mark in url for mark in "*?["):
        return _matches(url)
    if url.endswith(SHARD_SUFFIXES):
        return [url]
    files, path = filesystem(url)
    return _in_folder(url) if url.endswith("/") or retry_for(url).call(lambda: files.isdir(path)) else [url]


def _on_the_web(url: str) -> list[str]:
    """The shards of a folder on a web server, from its manifest: a web server does not list files."""
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
    """The URL of ``name`` in the folder ``url``, with the same query."""
    place, question, query = url.partition("?") if is_http(url) else (url, "", "")
    return f"{place.rstrip('/')}/{name}{question}{query}"


def _matches(url: str) -> list[str]:
    files, path = filesystem(url)
    found = sorted(retry_for(url).call(lambda: files.glob(path)))
    if not found:
        raise CapivaraError(f"{public_url(url)}: nothing matches")
    return [shard for match in found for shard in shards_of(files.unstrip_protocol(match))]


def _in_folder(url: str) -> list[str]:
    files = listing(url)
    shards = sorted(name for name in files if is_shard_name(name))
    if MANIFEST in files:
        manifest = load_manifest(url)
        manifest.check_complete(public_url(url), len(listing(entries_url(url))))
        if missing := sorted(manifest.done.keys() - set(shards)):
            raise CapivaraError(
                f"{public_url(url)}: {missing[0]} is missing, which its {MANIFEST} lists as finished",
                "run the command that makes it again: it makes only the missing shards",
            )
    if not shards:
        raise CapivaraError(f"{public_url(url)}: no .tar shards in this folder")
    return [child(url, name) for name in shards]


def identity_of(url: str) -> InputIdentity:
    """Distinguishes a remote shard from others of the same name: its public URL, size, and tag or modification time."""
    return {"name": public_url(url), **version_of(url).to_json()}


def listing(url: str) -> dict[str, Version]:
    """File name -> version, for the files of a remote folder but not of its subfolders. Empty if there is no folder."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def listed() -> list[Mapping[str, object]]:
        try:
            return list(files.ls(path.rstrip("/"), detail=True))
        except FileNotFoundError:
            return []

    found = [info for info in retry_for(url).call(listed) if info.get("type") != "directory"]
    return {str(info["name"]).rpartition("/")[2]: version_in(info) for info in found}


def load_manifest(
    url: str,
    file: str = MANIFEST,
    more: Iterable[ShardEntry] = (),
    inputs: Mapping[str, InputIdentity | None] | None = None,
) -> Manifest:
    """The manifest of a remote folder; ``more`` and ``inputs`` are those of ``Manifest.parse``.

    Raises ``CapivaraError`` if there is none, if it is damaged, or if it names files outside the folder.
    """
    place = child(url, file)
    if is_http(url):
        text = b"".join(contents(place, WebFile(place)))
    else:
        files, path = filesystem(place)
        text = retry_for(place).call(lambda: bytes(files.cat_file(path)))
    try:
        manifest = Manifest.parse(text, more, inputs)
        if unsafe := [name for name in manifest.done if base_name(name) != name or name.startswith(".")]:
            raise ValueError(f"it names {unsafe[0]!r}")
    except ValueError as error:
        shown = public_url(url).rstrip("/")
        raise CapivaraError(f"{shown}/{file}: damaged: {error}", "delete the folder and make it again") from None
    return manifest


def manifest_beside(folder: str) -> Manifest | None:
    """The manifest of the folder of a remote shard, to verify what is read; None if there is none that can be read.

    A web server is asked once: it has no list of files, and most have no manifest.
    """
    place = child(folder, MANIFEST)
    try:
        if is_http(folder):
            file = WebFile(place)
            return Manifest.parse(b"".join(file.blocks(0, Version(), Pace(NetworkLimits.from_environment()))))
        return Manifest.parse(read_bytes(place) or b"")
    except (ValueError, CapivaraError, TooSlow):
        return None
    except network_errors():
        return None


def read_bytes(url: str) -> bytes | None:
    """The bytes of a small remote file; None if there is none."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def read() -> bytes | None:
        try:
            return bytes(files.cat_file(path))
        except FileNotFoundError:
            return None

    return retry_for(url).call(read)


def exists(url: str) -> bool:
    """Whether a remote file exists."""
    files, path = filesystem(url)
    files.invalidate_cache()

    def found() -> bool:
        try:
            files.info(path)
        except FileNotFoundError:
            return False
        return True

    return retry_for(url).call(found)
