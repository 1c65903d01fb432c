"""A folder of images, with and without sidecar captions."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

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
        "cut.jpg": RED[:-40], "zero.jpg": b"", "text.jpg": b"hello", "kot.jpg": RED, "kot.txt": "кот".encode("cp1251"),
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


@pytest.mark.parametrize(
    ("data", "expected", "notes"),
    [
        ("café\nolá".encode("cp1252"), ["café", "olá"], 1),
        ("“a cat” – naïve".encode("cp1252"), ["“a cat” – naïve"], 1),
        ("café\nкот".encode("utf-16"), ["café", "кот"], 0),
        ("a cat on a mat".encode("utf-16-le"), ["a cat on a mat"], 0),
    ],
    ids=["latin", "quotes", "utf-16", "utf-16 without mark"],
)
def test_text_files_in_other_encodings(data: bytes, expected: list[str], notes: int, tmp_path: Path) -> None:
    found, tally = pack(write(tmp_path, {"a.jpg": RED, "a.txt": data}))
    assert [text for _, text in said(found[0])] == expected
    assert tally.notes.total() == notes


def test_an_unreadable_file_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": RED})
    (tmp_path / "b.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    found, tally = pack(tmp_path)
    assert [sample.key for sample in found] == ["a"]
    assert tally.dropped == {"no such image file": 1}


def test_a_broken_link_to_a_table_is_not_recommended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (write(tmp_path, {"a.jpg": RED}) / "metadata.csv").symlink_to("nowhere.csv")
    found, tally = pack(tmp_path)
    assert [sample.key for sample in found] == ["a"]
    assert tally.notes == {".csv files passed over": 1}
    assert "reads it" not in capsys.readouterr().err


def test_links_to_folders_are_read_once_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"c.jpg": RED, "c.txt": b"red"})
    photos = write(tmp_path / "photos", {"a.jpg": RED, "b/b.jpg": RED})
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "again").symlink_to(photos / "b")
    (photos / "b" / "loop").symlink_to(photos)
    (photos / "ring").symlink_to("ring")
    found, tally = pack(photos)
    assert [(sample.key, said(sample)) for sample in found] == [
        ("a", []), ("again/b", []), ("linked/c", [("en", "red")]),
    ]  # fmt: skip
    assert tally.notes == {"links to folders that are read already": 2, "other files passed over": 1}


def test_a_folder_that_cannot_be_read_is_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"a.jpg": RED, "closed/b.jpg": RED, "open/c.jpg": RED})
    scandir = os.scandir

    def refuse(path: str) -> Any:  # root may read every folder
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, tally = pack(tmp_path)
    assert [sample.key for sample in found] == ["a", "open/c"]
    assert tally.notes == {"folders that cannot be read": 1}
    assert "closed: cannot be read: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"a.jpg": RED, "train/metadata.txt": b"x", "train/list.jsonl": b"{}"}, "train/list.jsonl was passed over"),
        ({"a.jpg": RED, "x/labels.csv": b"", "x/labels.json": b""}, "x/labels.csv, x/labels.json was passed over"),
        ({"a.jpg": RED, "a.txt": b"red", "b.jpg": RED, "x/b.json": b"{}"}, "1 images have no captions; x/b.json"),
        ({f"{n}.jpg": RED for n in range(3)} | {f"x/{n}.csv": b"" for n in range(5)}, "x/2.csv and 2 more was passed"),
    ],
    ids=["jsonl", "csv and json", "of one image", "many"],
)
def test_files_that_may_hold_captions_are_named(
    files: dict[str, bytes], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(write(tmp_path, files))
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("name", ["notes.md", "b.pdf", "b.jpg~", "LICENSE", "b.1234567890123"])
def test_other_files_are_counted_but_not_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, tally = pack(write(tmp_path, {"a.jpg": RED, name: b""}))
    extension = {"notes.md": ".md", "b.pdf": ".pdf"}.get(name, "other")
    assert tally.notes == {f"{extension} files passed over": 1}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.TXT", "a.Caption", "a.text", "a.jpg.txt", "a.jpg.caption", "a.jpg.TXT"])
def test_text_files_of_every_name_hold_captions(name: str, tmp_path: Path) -> None:
    found, tally = pack(write(tmp_path, {"a.jpg": RED, name: "one\u2028still one\n\ntwo\n".encode()}))
    assert [said(sample) for sample in found] == [[("en", "one\u2028still one"), ("en", "two")]]
    assert tally.notes == {}


@pytest.mark.parametrize("name", ["a.json", "a.JSON", "a.jpg.json"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"caption": "red"}', [("en", "red")]),
        ('{"caption": null, "text": "red"}', [("en", "red")]),
        ('{"captions": ["red", {"caption": "rojo", "lang": "es"}]}', [("en", "red"), ("es", "rojo")]),
        ('{"caption_pt": "vermelho", "caption_id": 1790}', [("pt", "vermelho")]),
        ('{"sentences": [{"raw": "red", "tokens": ["red"]}]}', [("en", "red")]),
        ('{"en": "no", "caption": {"en": "red", "pt": "vermelho"}}', [("en", "red"), ("pt", "vermelho")]),
        ('["red", "a red square"]', [("en", "red"), ("en", "a red square")]),
        ('\ufeff{"caption": "&quot;red&quot;"}', [("en", '"red"')]),
    ],
)
def test_json_files_hold_captions(name: str, text: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    found, _ = pack(write(tmp_path, {"a.jpg": RED, name: text.encode()}))
    assert [said(sample) for sample in found] == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a red square", ["a red square"]),
        (b"a  red\nsquare", ["a red square"]),
        (b"another\na red square\nthird", ["a red square", "another", "third"]),
        (b" \n", ["a red square"]),
    ],
    ids=["the same", "in other lines", "more", "blank"],
)
def test_a_caption_in_json_and_in_text_is_found_once(text: bytes, expected: list[str], tmp_path: Path) -> None:
    document = b'{"caption": "a red square", "title": "IMG_0001", "width": 64}'
    found, _ = pack(write(tmp_path, {"a.jpg": RED, "a.json": document, "a.txt": text}))
    assert [text for _, text in said(found[0])] == expected
    assert {name: found[0].document[name] for name in ("file", "title", "width")} == {
        "file": "a.jpg", "title": "IMG_0001", "width": 64,
    }  # fmt: skip


def test_a_title_is_a_caption_only_where_there_is_no_other(tmp_path: Path) -> None:
    files = {"a.jpg": RED, "a.json": b'{"title": "Red"}', "b.jpg": RED, "b.json": b'{"title": "IMG"}', "b.txt": b"red"}
    found, _ = pack(write(tmp_path, files))
    assert [said(sample) for sample in found] == [[("en", "Red")], [("en", "red")]]


@pytest.mark.parametrize("text", [b"{", b"\xff{}", b"[" * 100_000])
def test_json_files_that_cannot_be_parsed_cost_their_image(text: bytes, tmp_path: Path) -> None:
    found, tally = pack(write(tmp_path, {"a.jpg": RED, "b.jpg": RED, "b.json": text}))
    assert [sample.key for sample in found] == ["a"]
    assert tally.dropped == {"json cannot be parsed": 1}


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


@pytest.mark.parametrize("name", ["{}.txt", "{}.jpg.txt", "{}.json"])
@pytest.mark.parametrize("word", ["açaí", "ảnh", "くだもの が"])
def test_captions_and_images_in_different_unicode_forms(name: str, word: str, tmp_path: Path) -> None:
    for image, text in (("NFC", "NFD"), ("NFD", "NFC")):
        folder = tmp_path / image
        files = {unicodedata.normalize(image, word) + ".jpg": RED}
        files[unicodedata.normalize(text, name.format(word))] = b'["red"]' if name.endswith("json") else b"red"
        found, tally = pack(write(folder, files))
        assert [said(sample) for sample in found] == [[("en", "red")]]
        assert tally.notes == {}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "utf-8-sig"])
def test_json_files_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    found, tally = pack(write(tmp_path, {"a.jpg": RED, "a.json": '{"caption": "Um cão"}'.encode(encoding)}))
    assert [said(sample) for sample in found] == [[("en", "Um cão")]]
    guesses = {"json files read as cp1252, as they are not UTF-8": 1} if encoding == "cp1252" else {}
    assert tally.notes == guesses


def test_a_json_file_in_no_known_encoding_costs_its_image(tmp_path: Path) -> None:
    text = '{"caption": "не собака"}'.encode("koi8-r")
    found, tally = pack(write(tmp_path, {"a.jpg": RED, "a.json": text}))
    assert (found, tally.dropped) == ([], {"json is not UTF-8": 1})


@pytest.mark.parametrize("name", ["list.csv.gz", "captions.pkl", "my_captions.lst", "x/a.jsonl.zst", "words.xlsx"])
def test_files_that_pack_cannot_read_are_named_without_a_promise(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(write(tmp_path, {"a.jpg": RED, name: b""}))
    said_so = capsys.readouterr().err
    assert f"no captions found; {name} was passed over: pack reads captions from CSV" in said_so


@pytest.mark.parametrize("name", ["labels.txt", "x/a.txt", "b.caption"])
def test_a_text_file_of_no_image_is_named_where_there_are_no_captions(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, tally = pack(write(tmp_path, {"a.jpg": RED, name: b"red"}))
    assert tally.notes == {"caption files without an image": 1}
    assert f"no captions found; {name} has the name of no image" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x/Flickr8k.token.txt", "x/results_20130124.token", "x/f.TOKEN"])
def test_token_files_in_another_folder_are_named_with_the_command_that_reads_them(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"x/A.lemma.token.txt": b"a.jpg#0\tdog\n", "x/a.jpg": RED, name.replace("x/", "y/"): b"a.jpg#0\tdogs\n"}
    pack(write(tmp_path, files))
    assert f"{tmp_path / name.replace('x/', 'y/')} reads it" in capsys.readouterr().err
