"""A folder of images, with and without sidecar captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made import jpeg
from support.packed import pack, said

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.stages.importers._packing import PackOptions, importer_of, samples

RED = jpeg((255, 0, 0))


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_sidecars_hold_one_caption_a_line(tmp_path: Path) -> None:
    files = {
        "b/2.jpg": RED, "b/2.txt": b"\xef\xbb\xbfone\r\n\r\n two \r\n", "a.png": RED, "z.jpg": RED, "z.txt": b"",
        ".hidden.jpg": RED, ".git/x.jpg": RED, "orphan.txt": b"alone", "notes.md": b"#",
    }  # fmt: skip
    found, tally = pack(write(tmp_path, files), lang="xh")
    assert [(sample.key, said(sample)) for sample in found] == [
        ("a", []),
        ("z", []),
        ("b/2", [("xh", "one"), ("xh", "two")]),
    ]
    assert found[0].members == {"png": RED, "json": b'{"file": "a.png", "captions": []}'}
    assert tally.notes == {"empty captions": 1, "caption files without an image": 1, ".md files passed over": 1}


def test_keys_are_unique_and_end_at_no_dot(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "a.b.jpg", "a_b.jpg", "x.y/c.JPG", "..odd.jpg", "नीला फूल.jpg", "-n.jpg", "tab\there.jpg"]
    found, _ = pack(write(tmp_path, {name: RED for name in names if not name.startswith(".")}))
    assert {sample.document["file"]: sample.key for sample in found} == {
        "a.jpg": "a", "a.png": "a_png", "a.b.jpg": "a_b", "a_b.jpg": "a_b_jpg", "x.y/c.JPG": "x.y/c",
        "नीला फूल.jpg": "नीला फूल", "-n.jpg": "-n", "tab\there.jpg": "tab_here",
    }  # fmt: skip
    assert [suffix for sample in found for suffix in sample.members if suffix != "json"] == [
        "jpg", "jpg", "jpg", "png", "jpg", "jpg", "jpg", "jpg",
    ]  # fmt: skip


def test_file_names_that_are_not_utf_8(tmp_path: Path) -> None:
    (Path(tmp_path) / "caf\udce9.jpg").write_bytes(RED)
    found, _ = pack(tmp_path)
    assert [(sample.key, sample.image) for sample in found] == [("caf_", RED)]


def test_damaged_images_and_captions_are_counted(tmp_path: Path) -> None:
    files = {
        "cut.jpg": RED[:-40], "zero.jpg": b"", "text.jpg": b"hello", "latin.jpg": RED, "latin.txt": b"caf\xe9",
        "good.jpg": RED,
    }  # fmt: skip
    found, tally = pack(write(tmp_path, files))
    assert [sample.key for sample in found] == ["good"]
    assert tally.dropped == {
        "image cannot be decoded: truncated": 1, "image has zero bytes": 1, "image cannot be decoded: not an image": 1,
        "captions are not UTF-8": 1,
    }  # fmt: skip
    found, tally = pack(tmp_path, verify=False)
    assert [sample.key for sample in found] == ["cut", "good", "text", "zero"]


def test_an_unreadable_file_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": RED})
    (tmp_path / "b.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    found, tally = pack(tmp_path)
    assert [sample.key for sample in found] == ["a"]
    assert tally.dropped == {"no such image file": 1}


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(CapivaraError, match="no such file or folder"):
        pack(tmp_path / "none")
    with pytest.raises(CapivaraError, match="an empty folder"):
        pack(tmp_path)
    with pytest.raises(CapivaraError, match="no images in this folder"):
        pack(tmp_path, format="folder")
    with pytest.raises(CapivaraError, match="no such file or folder") as caught:
        list(samples("https://example.org/photos", PackOptions(), Env(Settings(), "pack")))
    assert "download it first" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PackOptions(lang="klingonish"), "there is no language 'klingonish'"),
        (PackOptions(format="tabel"), "did you mean table?"),
        (PackOptions(images="nowhere/at/all"), "--images nowhere/at/all: no such folder"),
    ],
)
def test_options_are_checked_before_anything_is_read(options: PackOptions, message: str) -> None:
    with pytest.raises(CapivaraError) as caught:
        check_options(options)
        options.check()
    assert message in caught.value.message


def test_what_is_recognised_as_what(tmp_path: Path) -> None:
    files = {
        "photos/a.jpg": RED, "list/l.csv": b"image,caption\n", "list/a.jpg": RED, "two/a.csv": b"", "two/b.csv": b"",
        "two/a.jpg": RED, "named/captions.tsv": b"", "named/b.csv": b"", "coco.json": b'{"images": []}',
        "karpathy.json": b'{"images": [{"sentids": [0]}]}', "hf/data/train.parquet": b"PAR1",
    }  # fmt: skip
    write(tmp_path, files)
    assert {name: importer_of(str(tmp_path / name)) for name in
            ["photos", "list", "two", "named", "coco.json", "karpathy.json", "hf", "list/l.csv"]} == {
        "photos": "folder", "list": "table", "two": "folder", "named": "table", "coco.json": "coco",
        "karpathy.json": "karpathy", "hf": "parquet", "list/l.csv": "table",
    }  # fmt: skip
