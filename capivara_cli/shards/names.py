"""What the names of files and members say: which files are shards, and which ones an operating system left behind."""

from __future__ import annotations

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")

_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
SYSTEM_FOLDER = "__MACOSX"
SYSTEM_SUFFIXES = frozenset({"", "db", "ini"})
"""The suffixes of system files, as ``archive.split_name`` cuts them, outside of ``SYSTEM_FOLDER``: a quick test."""


def is_shard_name(name: str) -> bool:
    """Whether a file name is that of a shard: a tar, compressed or not, that is not hidden."""
    return name.lower().endswith(SHARD_SUFFIXES) and not name.startswith(".")


def plain_name(name: str) -> str:
    """The name of a shard as an uncompressed tar: ``a.tar.gz`` and ``a.tgz`` -> ``a.tar``; other names stay."""
    for suffix in SHARD_SUFFIXES[1:]:
        if name.lower().endswith(suffix):
            return f"{name[: -len(suffix)]}.tar"
    return name


def is_system_file(name: str) -> bool:
    """Whether macOS or Windows left a file beside the data: ``._a.jpg``, ``.DS_Store``, ``__MACOSX/…``, ``Thumbs.db``.

    ``name`` may have folders in front. macOS' tar and zip write a ``._`` file with attributes before each file.
    """
    base = name.rpartition("/")[2]
    return base.startswith("._") or base.lower() in _SYSTEM_FILES or SYSTEM_FOLDER in name.split("/")
