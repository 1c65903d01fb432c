"""Layouts of data that ``pack`` reads: a small example of each, and what is found in it.

``test_layouts.py`` packs every example. ``docs/make_data.py`` writes docs/data.md from the same list, so the page shows
nothing that was not packed. The examples are in ``layout_tables.py`` and ``layout_folders.py``.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COLORS = [(200, 30, 30), (30, 30, 200), (30, 200, 30), (220, 220, 40)]
_FORMATS = {"png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP"}


@dataclass(frozen=True)
class Image:
    """An image of one colour; images of other numbers are other images."""

    number: int = 0

    def encoded(self, name: str = "a.jpg") -> bytes:
        """The bytes of the file, in the format that its name says."""
        from PIL import Image as Pictures

        out = io.BytesIO()
        picture = Pictures.new("RGB", (32, 24), _COLORS[self.number % len(_COLORS)])
        picture.save(out, _FORMATS.get(name.rpartition(".")[2].lower(), "JPEG"))
        return out.getvalue()


@dataclass(frozen=True)
class Parquet:
    """A parquet file with these rows; an ``Image`` in a cell becomes its bytes."""

    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Tar:
    """A tar file with these members, in their order; a name that ends in "gz" compresses it."""

    members: dict[str, str | bytes | Image]


Content = str | bytes | Image | Parquet | Tar


@dataclass(frozen=True)
class Layout:
    """One layout.

    ``name``: its title in the page. ``files``: the content by path; a text is shown in the page. ``source``: what is
    given to ``pack``, relative to the example; ``options``: of ``pack``. ``finds``: the captions (language, text) by
    key of the sample. ``notes``: the other counts of the summary line. ``about``: a sentence in the page.
    """

    name: str
    files: Mapping[str, Content]
    finds: Mapping[str, list[tuple[str, str]]]
    source: str = "photos"
    options: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    about: str = ""

    @property
    def needs_pyarrow(self) -> bool:
        return any(isinstance(content, Parquet) for content in self.files.values())

    @property
    def command(self) -> str:
        """The command line that packs it."""
        options = "".join(f" --{name} {value}" for name, value in self.options.items())
        return f"capivara pack {self.source}{options} --out shards"

    def write(self, folder: Path) -> Path:
        """Write the example into a folder; returns the source to pack."""
        for name, content in self.files.items():
            write_file(folder / name, content)
        return folder / self.source

    def lines(self) -> Iterator[str]:
        """The lines that show the example: the path of each file, and below it the text that it holds."""
        for name, content in self.files.items():
            yield name
            if isinstance(content, str):
                yield from (f"    {line}" for line in content.splitlines())
            elif isinstance(content, bytes):
                yield from (f"    {line}" for line in content.decode("cp1252").splitlines())
            elif isinstance(content, Parquet):
                yield from (f"    {json.dumps(row, ensure_ascii=False, default=_shown)}" for row in content.rows)
            elif isinstance(content, Tar):
                yield from (f"    {member}{_beside(text)}" for member, text in content.members.items())


def write_file(path: Path, content: Content) -> None:
    """Write a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Parquet):
        _write_parquet(path, content.rows)
    else:
        path.write_bytes(_tar(path.name, content) if isinstance(content, Tar) else _bytes(path.name, content))


def _beside(content: str | bytes | Image) -> str:
    """The text of a member, to be shown on the line of its name."""
    return "   " + " ⏎ ".join(content.splitlines()) if isinstance(content, str) else ""


def _shown(value: object) -> str:
    return "<image>" if isinstance(value, Image) else str(value)


def _bytes(name: str, content: str | bytes | Image) -> bytes:
    if isinstance(content, Image):
        return content.encoded(name)
    return content.encode() if isinstance(content, str) else content


def _tar(name: str, tar: Tar) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if name.endswith("gz") else "w") as archive:
        for member, content in tar.members.items():
            data = _bytes(member, content)
            header = tarfile.TarInfo(member)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_plain(row) for row in rows]), path)


def _plain(value: Any) -> Any:
    """The cell with its images as bytes."""
    if isinstance(value, Image):
        return value.encoded()
    return {name: _plain(cell) for name, cell in value.items()} if isinstance(value, dict) else value


def by_topic() -> dict[str, list[Layout]]:
    """Every layout, by topic in the order of the page."""
    from support import layout_folders, layout_tables

    return {**layout_tables.TOPICS, **layout_folders.TOPICS}
