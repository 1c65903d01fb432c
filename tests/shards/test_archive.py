"""Tars of other programs: what macOS and Windows leave in them, and members that are not sorted."""

from __future__ import annotations

import io
import random
import subprocess
from pathlib import Path

import pytest
from support.foreign import foreign_tar, write_foreign

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.archive import ShardReader, open_shard, read_sample
from capivara_cli.shards.names import is_system_file

SYSTEM = "file of macOS or Windows"
Members = list[tuple[str, bytes]]


def read(members: Members) -> tuple[list[tuple[str, list[str]]], dict[str, int]]:
    reader = ShardReader(io.BytesIO(foreign_tar(members)), "x.tar")
    return [(sample.key, list(sample.members)) for sample in reader], dict(reader.ignored)


def pairs(count: int, folder: str = "") -> Members:
    suffixes = (("jpg", b"i"), ("txt", b"t"), ("json", b"{}"))
    return [(f"{folder}{number:04d}.{suffix}", data) for number in range(count) for suffix, data in suffixes]


def apple_double(members: Members, folder: str = "") -> Members:
    """Each member behind its ``._`` file, as macOS' tar writes them."""
    found: Members = []
    for name, data in members:
        parent, slash, base = name.rpartition("/")
        found += [(f"{folder}{parent}{slash}._{base}", b"\0\5\x16\7"), (name, data)]
    return found


@pytest.mark.parametrize(
    ("members", "count"),
    [
        (apple_double(pairs(3)), 9),
        (apple_double(pairs(3, "./")), 9),
        (apple_double(pairs(3, "photos/"), "__MACOSX/"), 9),
        ([(".DS_Store", b""), *pairs(2), ("photos/.DS_Store", b""), *pairs(1, "photos/")], 2),
        ([*pairs(1), ("Thumbs.db", b""), ("desktop.ini", b""), *pairs(1, "b/"), ("b/ehthumbs.db", b"")], 3),
        (
            [
                ("0000.jpg", b"i"),
                ("Thumbs.db", b""),
                ("0000.txt", b"t"),
                ("__MACOSX/0000.txt", b""),
                ("0000.json", b""),
            ],
            2,
        ),
    ],
    ids=["._", "._ in ./", "__MACOSX", ".DS_Store", "Windows", "inside a sample"],
)
def test_system_files_are_passed_over_without_ending_a_sample(members: Members, count: int) -> None:
    samples, ignored = read(members)
    assert ignored == {SYSTEM: count}
    assert [suffixes for _, suffixes in samples] == [["jpg", "txt", "json"]] * len(samples)
    assert len(samples) * 3 == len(members) - count


@pytest.mark.parametrize(
    "name", [".hidden", "a._b.jpg", "thumbs.dbx", "x/MACOSX/a.jpg", "my__MACOSX/a.jpg", "Thumbs.jpg"]
)
def test_other_names_are_not_system_files(name: str) -> None:
    assert not is_system_file(name)
    assert read([(name, b"i")])[1] == {}


def test_a_sample_between_system_files_is_read_again_from_its_range(tmp_path: Path) -> None:
    path = str(write_foreign(tmp_path / "x.tar", apple_double(pairs(3))))
    with open_shard(path) as reader:
        places = [(sample, reader.start, reader.end) for sample in reader]
    for sample, start, end in places:
        assert read_sample(path, start, end, sample.key) == sample


def shuffled(members: Members, seed: int) -> Members:
    members = list(members)
    random.Random(seed).shuffle(members)
    return members


@pytest.mark.parametrize(
    "members",
    [
        sorted(pairs(20), key=lambda member: member[0].partition(".")[2]),
        sorted(pairs(20), key=lambda member: member[0].partition(".")[2] != "txt"),
        [(f"images/{name}", data) for name, data in shuffled(pairs(20), 0)],
        shuffled(pairs(20), 1),
        shuffled(pairs(200, "photos/"), 2),
        [*pairs(5)[1:], ("0000.jpg", b"i")],
    ],
    ids=["images first", "texts first", "shuffled in a folder", "shuffled", "many shuffled", "one image at the end"],
)
def test_unsorted_tars_are_refused_with_a_hint_to_sort(members: Members) -> None:
    with pytest.raises(CapivaraError, match=r"^x\.tar: not sorted: .* belong together") as caught:
        read(members)
    assert "--sort=name" in caught.value.hint


def test_the_hint_to_sort_makes_a_tar_that_is_read(tmp_path: Path) -> None:
    write_foreign(tmp_path / "OLD.tar", shuffled(pairs(30, "photos/") + pairs(30), 3))
    hint = "mkdir new && tar xf OLD.tar -C new && tar --sort=name -cf NEW.tar -C new ."
    with pytest.raises(CapivaraError) as caught, open_shard(str(tmp_path / "OLD.tar")) as reader:
        list(reader)
    assert caught.value.hint.endswith(hint)
    subprocess.run(hint, shell=True, cwd=tmp_path, check=True)
    with open_shard(str(tmp_path / "NEW.tar")) as reader:
        assert [set(sample.members) for sample in reader] == [{"jpg", "txt", "json"}] * 60


def test_a_stream_may_repeat_keys(tmp_path: Path) -> None:
    one, other = foreign_tar(pairs(3)), foreign_tar([("0000.jpg", b"other"), ("0000.cls", b"1"), ("0001.png", b"p")])
    reader = ShardReader(io.BytesIO(one + other), "x.tar")
    assert [sample.key for sample in reader] == ["0000", "0001", "0002", "0000", "0001"]
