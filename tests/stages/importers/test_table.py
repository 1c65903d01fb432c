"""CSV, TSV and JSON lines as people write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.made import PHOTOS, jpeg
from support.packed import pack, said

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import encode_json
from capivara_cli.stages.importers._downloads import Downloads
from capivara_cli.stages.importers._packing import PackOptions, importer_of, samples
from capivara_cli.stages.importers.table import _tables_of

RED, BLUE = jpeg((255, 0, 0)), jpeg((0, 0, 255))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.jpg").write_bytes(RED)
    (tmp_path / "img" / "b.JPEG").write_bytes(BLUE)
    return tmp_path


def table(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def test_rows_of_one_image_are_captions_of_one_sample(photos: Path) -> None:
    text = "image,caption,lang\nimg/a.jpg,A red one,en\nimg/b.JPEG,blue,en\nimg/a.jpg,vermelho,pt-BR\n"
    found, tally = pack(table(photos, text))
    assert [(sample.key, list(sample.members)) for sample in found] == [
        ("img/a", ["jpg", "json"]),
        ("img/b", ["jpeg", "json"]),
    ]
    assert [sample.image for sample in found] == [RED, BLUE]
    assert [said(sample) for sample in found] == [[("en", "A red one"), ("pt", "vermelho")], [("en", "blue")]]
    assert found[0].document["file"] == "img/a.jpg"
    assert found[0].document["captions"][0] == {
        "text": "A red one", "lang": "en", "by": "alt", "of": None, "score": None,
    }  # fmt: skip
    assert (tally.read, tally.dropped.total(), dict(tally.notes)) == (2, 0, {})


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("path,text", "img/a.jpg,red"),
        ("FileName , Sentence", "img/a.jpg,red"),
        ("file_name;title", "img/a.jpg;red"),
        ("filepath\tcaption", "img/a.jpg\tred"),
        ("file,caption_en", "img/a.jpg,red"),
        ("caption,image", "red,./img/a.jpg"),
    ],
)
def test_columns_are_found_by_name_and_delimiters_by_looking(photos: Path, header: str, row: str) -> None:
    found, _ = pack(table(photos, f"\ufeff{header}\r\n{row}\r\n\r\n"))
    assert [(sample.key, said(sample)) for sample in found] == [("img/a", [("en", "red")])]


def test_tsv_keeps_commas_and_stray_quotes(photos: Path) -> None:
    found, tally = pack(
        table(photos, 'image\tcaption\nimg/a.jpg\ta 5" pipe, red\nimg/b.JPEG\t"half a quote\n', "l.tsv")
    )
    assert [said(sample) for sample in found] == [[("en", 'a 5" pipe, red')], [("en", '"half a quote')]]
    assert tally.dropped.total() == 0


def test_utf_16_of_spreadsheets(photos: Path) -> None:
    found, _ = pack(table(photos, "image\tcaption\nimg/a.jpg\tनीला\n".encode("utf-16"), "l.tsv"), lang="Hindi")
    assert said(found[0]) == [("hi", "नीला")]


def test_quoted_line_breaks_stay_in_the_caption(photos: Path) -> None:
    found, _ = pack(table(photos, 'image,caption\nimg/a.jpg,"one, ""two""\nthree"\nimg/b.JPEG,blue\n'))
    assert [said(sample) for sample in found] == [[("en", 'one, "two"\nthree')], [("en", "blue")]]


def test_a_quote_never_closed_costs_no_other_row(photos: Path) -> None:
    text = 'image,caption\nimg/a.jpg,"never closed\nimg/b.JPEG,blue\nimg/b.JPEG,"x" y,z,"\n'
    found, tally = pack(table(photos, text))
    assert [said(sample) for sample in found] == [[("en", "never closed")], [("en", "blue")]]
    assert list(tally.dropped.values()) == [1]


def test_captions_in_several_languages_side_by_side(photos: Path) -> None:
    found, tally = pack(table(photos, "image,caption_pt,caption_xh\nimg/a.jpg,vermelho,obomvu\nimg/b.JPEG,azul,\n"))
    assert [said(sample) for sample in found] == [[("pt", "vermelho"), ("xh", "obomvu")], [("pt", "azul")]]
    assert tally.notes == {"empty captions": 1}


def test_other_columns_are_kept_but_cannot_pose_as_ours(photos: Path) -> None:
    found, _ = pack(table(photos, "image,caption,label,clip\nimg/a.jpg,red,square,evil\n"))
    assert found[0].document == {
        "label": "square", "file": "img/a.jpg",
        "captions": [{"text": "red", "lang": "en", "by": "alt", "of": None, "score": None}],
    }  # fmt: skip


def test_of_two_caption_columns_the_better_named_wins_and_the_other_is_kept(photos: Path) -> None:
    found, _ = pack(table(photos, "title,image,caption\nIMG_1,img/a.jpg,red\n"))
    assert (said(found[0]), found[0].document["title"]) == ([("en", "red")], "IMG_1")


def test_bad_rows_are_counted_and_named_and_nothing_else_is_lost(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "img" / "empty.jpg").touch()
    (photos / "img" / "text.jpg").write_text("<html>")
    rows = [
        b"image,caption,lang", b"img/a.jpg,red,en", b"img/a.jpg,\xd1\xee\xe1\xe0\xea\xe0,en", b"missing.jpg,gone,en",
        b",nobody,en", b"img/b.JPEG,,en", b"img/a.jpg,?,klingonish", b"img/a.jpg,one,en,two", b"img/empty.jpg,void,en",
        b"img/text.jpg,words,en", b"img/b.JPEG," + b"word " * 10_000 + b",en", b"img,a folder,en",
    ]  # fmt: skip
    found, tally = pack(table(photos, b"\n".join(rows)))
    assert [(sample.key, len(sample.captions)) for sample in found] == [("img/a", 1), ("img/b", 1)]
    assert found[1].captions[0].text.count("word") == 10_000
    assert tally.dropped == {
        "not UTF-8": 1, "no such image file": 2, "a row without an image": 1, "unknown language 'klingonish'": 1,
        "more cells than columns": 1, "image has zero bytes": 1, "image cannot be decoded: not an image": 1,
    }  # fmt: skip
    assert (tally.read, tally.failed, tally.notes) == (10, 8, {"empty captions": 1})
    errors = capsys.readouterr().err
    assert "list.csv:3: not UTF-8" in errors
    assert errors.count("warning: ") == 6  # the first five are named, then it is said that there are more


@pytest.mark.parametrize("text", ["picture,caption\nimg/a.jpg,red\n", "picture,caption\n"])
def test_a_missing_image_column_lists_those_there_are(photos: Path, text: str) -> None:
    with pytest.raises(CapivaraError, match=r"no column names the images; there are 'picture', 'caption'") as caught:
        pack(table(photos, text))
    assert "image" in caught.value.hint


def test_a_missing_caption_column_lists_those_there_are(photos: Path) -> None:
    with pytest.raises(CapivaraError, match=r"no column holds captions; there are 'image', 'captn'"):
        pack(table(photos, "image,captn\nimg/a.jpg,red\n"))


@pytest.mark.parametrize("text", ["", "image,caption\n", "\n\n"])
def test_a_table_without_rows(photos: Path, text: str) -> None:
    with pytest.raises(CapivaraError, match="no rows"):
        pack(table(photos, text))


def test_all_images_elsewhere_is_one_error_that_names_the_option(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "lists").mkdir(parents=True)
    listed = table(tmp_path / "other" / "lists", "image,caption\nimg/a.jpg,red\n")
    with pytest.raises(CapivaraError, match="none of the first 1 images exists") as caught:
        pack(listed)
    assert "--images" in caught.value.hint
    assert pack(listed, images=str(photos))[0][0].image == RED


def test_absolute_and_windows_paths_give_keys_without_the_machine(photos: Path) -> None:
    text = f"image,caption\n{photos}/img/a.jpg,red\nimg\\b.JPEG,blue\n"
    found, _ = pack(table(photos, text))
    assert [sample.key for sample in found] == ["img/a", "img/b"]


def test_json_lines(photos: Path) -> None:
    lines = [
        json.dumps({"image": "img/a.jpg", "caption": ["red", "rouge", ""], "lang": "fr", "id": 7}),
        "not json", "[1]", '{"image": "img/b.JPEG"}', '{"image": 5, "caption": "x"}',
        '{"image": "img/b.JPEG", "caption": "lone \\ud83d surrogate"}', "",
    ]  # fmt: skip
    found, tally = pack(table(photos, "\n".join(lines), "l.jsonl"))
    assert [said(sample) for sample in found] == [[("fr", "red"), ("fr", "rouge")], [("en", "lone \ud83d surrogate")]]
    assert found[0].document["id"] == 7
    assert tally.dropped == {
        "not JSON": 1, "not a JSON object": 1, "an image or a caption is missing": 1, "a row without an image": 1,
    }  # fmt: skip


def test_a_folder_that_cannot_be_read_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(CapivaraError, match="cannot be read: Permission denied"):
        _tables_of(photos)


def test_a_text_file_of_captions_without_a_header_is_no_table(photos: Path) -> None:
    table(photos, "A red one\nblue\n", "captions.txt")
    assert importer_of(str(photos)) == "folder"


def test_a_folder_with_one_table_is_that_table(photos: Path) -> None:
    table(photos, "image,caption\nimg/a.jpg,red\n", "metadata.csv")
    assert [sample.key for sample in pack(photos)[0]] == ["img/a"]


@pytest.mark.parametrize(
    "names",
    [("train.csv", "val.csv"), ("captions_train.jsonl", "captions-test.csv"), ("Train.tsv", "dev.captions.csv")],
)
def test_a_folder_with_a_table_for_each_split_is_all_of_them(photos: Path, names: tuple[str, str]) -> None:
    for name, file in zip(names, ("img/a.jpg", "img/b.JPEG"), strict=True):
        row = {"image": file, "caption": f"in {name}"}
        if name.endswith("jsonl"):
            table(photos, json.dumps(row), name)
        else:
            between = "\t" if name.endswith("tsv") else ","
            table(photos, "\n".join(between.join(line) for line in (row, row.values())) + "\n", name)
    found, _ = pack(photos)
    given = sorted(names)
    assert sorted(said(sample)[0][1] for sample in found) == [f"in {name}" for name in given]
    splits = {said(sample)[0][1]: sample.document["split"] for sample in found}
    for split in splits.values():
        (only,), _ = pack(photos, split=split)
        assert splits[said(only)[0][1]] == split
    assert len(set(splits.values())) == 2


def test_tables_of_splits_without_captions_leave_the_folder_of_images_as_it_is(photos: Path) -> None:
    table(photos, "image,label\nimg/a.jpg,7\n", "train.csv")
    table(photos, "image,label\nimg/b.JPEG,7\n", "test.csv")
    found, _ = pack(photos)
    assert [said(sample) for sample in found] == [[], []]


def test_images_from_the_web(photos: Path, server: str) -> None:
    text = f"url,caption\n{server}/img/a.jpg?w=9,red\n{server}/none.jpg,gone\nhttp://127.0.0.1:9/x.jpg,off\n"
    text += f"{server}/img/नीला 2.jpg,blue\nhttp://[x/y.jpg,odd\n"
    (photos / "img" / "नीला 2.jpg").write_bytes(BLUE)
    found, tally = pack(table(photos, text))
    assert [(sample.key, list(sample.members), sample.image) for sample in found] == [
        ("img/a", ["jpg", "json"], RED),
        ("img/नीला 2", ["jpg", "json"], BLUE),
    ]
    assert tally.dropped == {"download failed: HTTP 404": 1, "download failed: not reachable": 1, "not a valid URL": 1}


def test_an_unreachable_web_is_said_early(photos: Path) -> None:
    rows = "".join(f"http://127.0.0.1:9/{number}.jpg,x\n" for number in range(40))
    with pytest.raises(CapivaraError, match=r"none of the first \d+ images can be reached") as caught:
        pack(table(photos, "url,caption\n" + rows))
    assert "online" in caught.value.hint
    assert Downloads()._patience == 12


def test_the_same_table_gives_the_same_samples(photos: Path) -> None:
    listed = table(photos, "image,caption\nimg/b.JPEG,blue\nimg/a.jpg,red\n")
    assert pack(listed)[0] == pack(listed)[0]


def test_keys_stay_unique_over_several_tables(photos: Path) -> None:
    listed = table(photos, "image,caption\nimg/a.jpg,red\n")
    env = Env(Settings(), "pack")
    keys = [sample.key for _ in range(3) for sample in samples(str(listed), PackOptions(), env)]
    assert keys == ["img/a", "img/a_jpg", "img/a_jpg_2"]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the real photos are not beside this checkout")
def test_two_hundred_real_photos() -> None:
    found, tally = pack(PHOTOS / "captions.csv")
    assert (len(found), tally.dropped.total(), dict(tally.notes)) == (
        200,
        0,
        {"captions with HTML entities, unescaped": 1},
    )
    first = found[0]
    assert first.key == "images/1007129816_e794419615"
    assert first.image == (PHOTOS / "images" / "1007129816_e794419615.jpg").read_bytes()
    assert [caption.lang for caption in first.captions] == ["en"] * 5 + ["hi"]
    assert encode_json(first.document) == first.members["json"]


@pytest.mark.parametrize("name", ["Flickr8k.token.txt", "results_20130124.token", "other.TOKEN"])
def test_the_token_files_of_flickr(name: str, tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "a.jpg").write_bytes(RED)
    text = 'a.jpg#0\tA child , "red" .\r\na.jpg#1\tA girl .\nno caption\n'
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("a.jpg\n")
    table(tmp_path, text, name)
    for source in (tmp_path, tmp_path / name):
        found, tally = pack(source)
        assert [said(sample) for sample in found] == [[("en", 'A child , "red" .'), ("en", "A girl .")]]
        assert tally.dropped == {"not IMAGE#NUMBER, a tab and a caption": 1}


@pytest.mark.parametrize("images", ["Flicker8k_Dataset", "Flickr8k_text/images"])
@pytest.mark.parametrize("lemmas", ["Flickr8k.lemma.token.txt", "Flickr8k.lemma.token", "f.LEMMA.token.txt"])
def test_the_text_folder_of_flickr8k_with_its_lemmas(images: str, lemmas: str, tmp_path: Path) -> None:
    for folder in ("Flickr8k_text", images):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / images / "a.jpg").write_bytes(RED)
    texts = tmp_path / "Flickr8k_text"
    table(texts, "a.jpg#0\tTwo dogs run .\n", "Flickr8k.token.txt")
    table(texts, "a.jpg#0\tTwo dog run .\n", lemmas)
    table(texts, "a.jpg\ta.jpg#0\t1\t2\t4\n", "ExpertAnnotations.txt")
    found, _ = pack(texts)
    assert [said(sample) for sample in found] == [[("en", "Two dogs run .")]]
    found, _ = pack(texts / lemmas)
    assert [said(sample) for sample in found] == [[("en", "Two dog run .")]]
