"""The shards of a folder: compressed or not, and what cannot be read is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.foreign import write_foreign
from support.made import jpeg

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.output_folder import output_names
from capivara_cli.shards.inputs import find_shards

MEMBERS = {"a.jpg": b"i", "a.txt": b"t"}


@pytest.mark.parametrize(
    "names",
    [["0.tar.gz", "1.tar.gz"], ["0.tar", "1.tar.gz", "2.tgz"], ["0.tgz"], ["0.TAR", "1.tar.GZ"]],
)
def test_folders_of_compressed_and_plain_shards(names: list[str], tmp_path: Path) -> None:
    for name in [*names, "._0.tar", "0.tar.parquet", "stats.json"]:
        write_foreign(tmp_path / name, MEMBERS)
    found = find_shards([str(tmp_path)])
    assert [Path(shard).name for shard in found] == names
    assert output_names([name.lower() for name in names]) == [f"{number}.tar" for number in range(len(names))]


@pytest.mark.parametrize("twin", ["00000.tar.gz", "00000.tgz"])
def test_a_shard_that_is_there_compressed_and_plain_is_refused(twin: str, tmp_path: Path) -> None:
    for name in ("00000.tar", twin, "00001.tar"):
        write_foreign(tmp_path / name, MEMBERS)
    with pytest.raises(CapivaraError, match=f"has 00000.tar and {twin}, which look like the same shard"):
        find_shards([str(tmp_path)])


def test_links_and_folders_that_are_no_shards_are_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "good" / "00000.tar", MEMBERS)
    for name, make in {
        "dangling": lambda path: path.symlink_to("nowhere.tar"),
        "looping": lambda path: path.symlink_to(path.name),
        "folder": lambda path: path.mkdir(),
    }.items():
        write_foreign(tmp_path / name / "00000.tar", MEMBERS)
        make(tmp_path / name / "00001.tar")
        with pytest.raises(CapivaraError, match=r"00001\.tar: is a (link to a file that does not exist|folder)"):
            find_shards([str(tmp_path / "good"), str(tmp_path / name)])


def test_a_link_to_a_shard_is_a_shard(tmp_path: Path) -> None:
    write_foreign(tmp_path / "store" / "x.tar", MEMBERS)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.tar").symlink_to(tmp_path / "store" / "x.tar")
    assert find_shards([str(tmp_path / "shards")]) == [str(tmp_path / "shards" / "00000.tar")]


def test_unreadable_shards_and_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_foreign(tmp_path / "00000.tar", MEMBERS)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("00000.tar"))  # root may read all
    with pytest.raises(CapivaraError, match=r"00000\.tar: cannot be read: permission denied"):
        find_shards([str(tmp_path)])

    def refused(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(CapivaraError, match="cannot be read: Permission denied"):
        find_shards([str(tmp_path)])


def test_a_missing_second_input_is_refused_before_the_first_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(jpeg())
    with pytest.raises(CapivaraError, match=r"b\.tar: no such file or folder"):
        find_shards([str(tmp_path / "a.tar"), str(tmp_path / "b.tar")])
