"""Rows to photos: one image under several spellings, splits, images that are not there."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from support.layouts import Image
from support.packed import pack, said

from capivara_cli.errors import CapivaraError

RED, BLUE = Image(0).encoded(), Image(1).encoded()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").write_bytes(RED)
    (tmp_path / "sub" / "b.jpg").write_bytes(BLUE)
    return tmp_path


def listed(folder: Path, *names: str) -> Path:
    """A table with one caption for each name: one, two, …"""
    rows = [json.dumps({"image": name, "caption": f"caption {number}"}) for number, name in enumerate(names)]
    (folder / "list.jsonl").write_text("\n".join(rows))
    return folder / "list.jsonl"


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("a.jpg", "./a.jpg"), ("./a.jpg", "a.jpg"), ("a.jpg", "sub/../a.jpg"), ("sub/b.jpg", "sub\\b.jpg"),
        ("sub/b.jpg", ".//sub//b.jpg"), ("a.jpg", "{}/a.jpg"), ("{}/sub/b.jpg", "sub/b.jpg"), (" a.jpg ", "a.jpg"),
    ],
)  # fmt: skip
def test_one_image_under_two_spellings_is_one_sample(photos: Path, first: str, other: str) -> None:
    found, _ = pack(listed(photos, first.format(photos), other.format(photos)))
    assert [said(sample) for sample in found] == [[("en", "caption 0"), ("en", "caption 1")]]
    assert found[0].key in ("a", "sub/b")


def test_the_absolute_path_through_a_link_is_the_same_image(photos: Path, tmp_path: Path) -> None:
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(photos)
    listed(photos, "a.jpg", f"{photos}/a.jpg", f"{link}/a.jpg")
    found, _ = pack(link / "list.jsonl")
    assert [(sample.key, len(sample.captions)) for sample in found] == [("a", 3)]


def test_paths_relative_to_the_working_folder_change_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    listed(photos, "a.jpg", f"{photos}/a.jpg")
    assert [sample.key for sample in pack(Path(photos.name) / "list.jsonl")[0]] == ["a"]


@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["café.jpg", "São Tomé/pássaro.jpg", "한국어.jpg"])
def test_names_in_another_unicode_form_than_on_disk(tmp_path: Path, name: str, in_table: str) -> None:
    on_disk = tmp_path / unicodedata.normalize("NFD" if in_table == "NFC" else "NFC", name)
    on_disk.parent.mkdir(exist_ok=True)
    on_disk.write_bytes(RED)
    found, tally = pack(listed(tmp_path, unicodedata.normalize(in_table, name)))  # type: ignore[arg-type]
    assert ([sample.image for sample in found], dict(tally.dropped)) == ([RED], {})


def test_a_folder_and_a_file_in_different_unicode_forms(tmp_path: Path) -> None:
    folder = tmp_path / unicodedata.normalize("NFC", "São")
    folder.mkdir()
    (folder / unicodedata.normalize("NFD", "é.jpg")).write_bytes(RED)
    assert len(pack(listed(tmp_path, "São/é.jpg"))[0]) == 1


def test_both_unicode_forms_in_a_table_are_one_image(tmp_path: Path) -> None:
    (tmp_path / "caf\u00e9.jpg").write_bytes(RED)
    assert [len(sample.captions) for sample in pack(listed(tmp_path, "caf\u00e9.jpg", "cafe\u0301.jpg"))[0]] == [2]


def test_dangling_and_looping_links_cost_their_own_image(photos: Path) -> None:
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / "loop.jpg").symlink_to("loop.jpg")
    (photos / "loop").symlink_to(photos)
    found, tally = pack(listed(photos, "gone.jpg", "loop.jpg", "a.jpg", "loop/loop/a.jpg", "a" * 5000 + ".jpg", "\0"))
    assert [sample.key for sample in found] == ["a", "loop/loop/a"]
    assert tally.dropped == {"no such image file": 4}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_of_images_is_counted(photos: Path) -> None:
    (photos / "sub").chmod(0)
    found, tally = pack(listed(photos, "a.jpg", "sub/b.jpg"))
    (photos / "sub").chmod(0o755)
    assert ([sample.key for sample in found], dict(tally.dropped)) == (["a"], {"no such image file": 1})


def test_images_are_looked_for_where_data_sets_have_them(photos: Path) -> None:
    (photos / "images").mkdir()
    (photos / "images" / "c.jpg").write_bytes(RED)
    assert [sample.key for sample in pack(listed(photos, "a.jpg", "c.jpg"))[0]] == ["a", "c"]


def test_images_that_no_row_names_are_counted(photos: Path) -> None:
    (photos / "c.jpg").write_bytes(RED)
    listed(photos, "./a.jpg")
    assert pack(photos)[1].notes == {"images that no row names": 2}
    assert pack(photos / "list.jsonl")[1].notes == {}  # the table was given, not the folder


def imagefolder(folder: Path, **splits: str) -> Path:
    for split, caption in splits.items():
        (folder / split).mkdir(parents=True)
        (folder / split / "1.jpg").write_bytes(RED)
        (folder / split / "metadata.jsonl").write_text(json.dumps({"file_name": "1.jpg", "text": caption}))
    return folder


def test_splits_of_an_imagefolder(tmp_path: Path) -> None:
    folder = imagefolder(tmp_path / "photos", train="one", test="two")
    found, _ = pack(folder)
    assert [(sample.key, said(sample)) for sample in found] == [
        ("test/1", [("en", "two")]),
        ("train/1", [("en", "one")]),
    ]
    assert [sample.document["split"] for sample in found] == ["test", "train"]
    assert [sample.key for sample in pack(folder, split="train")[0]] == ["train/1"]
    with pytest.raises(CapivaraError, match="there is no split 'val'; there are test, train"):
        pack(folder, split="val")


def test_splits_below_a_folder_called_data(tmp_path: Path) -> None:
    imagefolder(tmp_path / "data", train="one", validation="two")
    assert [sample.key for sample in pack(tmp_path, split="validation")[0]] == ["data/validation/1"]


def test_splits_in_a_column_and_in_the_names_of_files(photos: Path) -> None:
    (photos / "train").mkdir()
    (photos / "train" / "1.jpg").write_bytes(RED)
    rows = ["image,caption,split", "a.jpg,red,test", "sub/b.jpg,blue,train", "train/1.jpg,one,"]
    (photos / "list.csv").write_text("\n".join(rows))
    assert [sample.key for sample in pack(photos / "list.csv", split="train")[0]] == ["sub/b", "train/1"]


def test_a_table_without_splits_has_none_to_choose(photos: Path) -> None:
    with pytest.raises(CapivaraError, match="there is no split 'train'; there are none"):
        pack(listed(photos, "a.jpg"), split="train")
