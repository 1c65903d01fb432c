"""Which columns of a table hold captions."""

from __future__ import annotations

from typing import Any

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.stages.importers._columns import find_columns, unique_names

ENGLISH = ["A man in a hat", "A dog runs", "two cats"]
INDONESIAN = ["Seorang pria memakai topi", "Seekor anjing berlari", "kucing"]


def captions(**cells: Any) -> dict[str, str]:
    cells = {"image": ["a.jpg"], **cells}
    return find_columns(cells, "list.csv", cells).captions


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("caption_id", ["1790", "12"]),
        ("caption_id", [1790, 12]),
        ("caption_id", ["coco_17", "x-12"]),
        ("sentence_no", ["1", "2"]),
        ("text_len", [3, 4]),
        ("caption_score", [0.31, 0.2]),
        ("caption_hash", ["9f86d081", "884c7d65"]),
        ("caption_en_id", ["17", "18"]),
        ("text_ts", ["2024-01-01 12:00", "2024-01-02 13:00"]),
        ("caption_count", ["5", "5"]),
        ("no_caption", ["False", "True"]),
        ("caption_min", ["0.1", "0.2"]),
        ("caption_pt", ["12", "13"]),
        ("my_caption", ENGLISH),
        ("caption_clean", ENGLISH),
        ("caption_2", [7, 8]),
    ],
)
def test_ids_numbers_scores_and_unknown_words_are_no_captions(name: str, cells: list[object]) -> None:
    assert captions(caption=ENGLISH, **{name: cells}) == {"caption": ""}


def test_a_name_with_two_meanings_holds_captions_if_its_cells_are_texts() -> None:
    assert captions(caption_id=INDONESIAN) == {"caption_id": "id"}
    assert captions(caption=ENGLISH, text_no=["En mann med hatt", "To katter"]) == {"caption": "", "text_no": "nb"}
    assert captions(caption_en=ENGLISH, caption_my=["ခွေးတစ်ကောင်"]) == {"caption_en": "en", "caption_my": "my"}
    assert captions(caption_it=[["Un cane corre", "Un gatto"]]) == {"caption_it": "it"}


@pytest.mark.parametrize(
    ("name", "lang"),
    [
        ("caption_pt", "pt"), ("pt_caption", "pt"), ("caption (Hindi)", "hi"), ("text.en", "en"),
        ("sentence-xho", "xh"), ("captions_Portuguese", "pt"), ("portuguese_text", "pt"),
        ("caption_pt_2", "pt"), ("caption_zh", "zh"),
        ("caption_2_pt", "pt"), ("caption1_hi", "hi"), ("text.03.de", "de"),
        ("title:de", "de"),
    ],
)  # fmt: skip
def test_the_language_in_a_name(name: str, lang: str) -> None:
    assert captions(caption=ENGLISH, **{name: ENGLISH}) == {"caption": "", name: lang}


def test_numbered_columns() -> None:
    names = ["caption", "caption_2", "caption_3", "caption_4", "caption_5"]
    assert list(captions(**dict.fromkeys(names, ENGLISH))) == names
    assert list(captions(caption_0=ENGLISH, caption1=ENGLISH, text_1=ENGLISH)) == ["caption_0", "caption1"]
    assert list(captions(sentence=ENGLISH, **{"sentence.1": ENGLISH})) == ["sentence", "sentence.1"]


def test_of_several_columns_that_could_be_captions_the_best_named_with_texts_is() -> None:
    assert captions(title=["IMG"], caption=ENGLISH, text=ENGLISH) == {"caption": ""}
    assert captions(text=["7", "8"], title=ENGLISH) == {"title": ""}
    assert captions(title=["IMG one"], caption_pt=ENGLISH) == {"caption_pt": "pt"}
    assert captions(caption=["7", "8"]) == {"caption": ""}  # the only one, and named so


def test_columns_in_doubt_are_said() -> None:
    cells = {"image": ["a"], "caption_id": ["12"], "caption": ENGLISH, "text_pt": ENGLISH, "width": [3]}
    columns = find_columns(cells, "list.csv", cells)
    assert columns.doubtful
    assert columns.roles("en") == "captions in 'caption' (en), 'text_pt' (pt), not in 'caption_id'"
    assert columns.others == ("caption_id", "width")
    assert not find_columns(["image", "caption", "width", "lang"], "list.csv").doubtful


@pytest.mark.parametrize(
    ("cells", "taken"),
    [
        ({"caption_text": ENGLISH}, ["caption_text"]),
        ({"raw_caption": ENGLISH, "gt_caption": ENGLISH, "caption_source": ["the web"]}, ["raw_caption", "gt_caption"]),
        ({"generated_text": ENGLISH, "model": ["BLIP large"]}, ["generated_text"]),
        ({"caption_clean": ENGLISH, "caption_id": ["1", "2"]}, ["caption_clean"]),
        ({"gt-caption-1": ENGLISH, "gt-caption-2": ENGLISH}, ["gt-caption-1", "gt-caption-2"]),
        ({"description": ENGLISH, "licence": ["CC BY"]}, ["description"]),
        ({"alt": ENGLISH, "id": [1]}, ["alt"]),
        ({"Legenda": ["um homem de chapéu", "um cachorro"]}, ["Legenda"]),
        ({"texto": [["um homem", "um cachorro corre"]]}, ["texto"]),
        ({"text": ["7", "8"], "description": ENGLISH}, ["text"]),
        ({"caption": ENGLISH, "raw_caption": ENGLISH, "description": ENGLISH}, ["caption"]),
        ({"title": ENGLISH, "description": ENGLISH}, ["title"]),
    ],
)  # fmt: skip
def test_where_no_name_is_sure_the_likely_columns_with_sentences_are_taken_and_said(
    cells: dict[str, list[object]], taken: list[str]
) -> None:
    columns = find_columns({"image": [], **cells}, "list.csv", cells)
    assert list(columns.captions) == taken
    assert columns.doubtful == (taken[0] not in ("text", "caption", "title") or "raw_caption" in cells)


@pytest.mark.parametrize(
    "cells", [{"description": ["7", "8"]}, {"caption_source": ["web", "blip2"]}, {"alt": ["logo"]}, {"notes": ENGLISH}]
)
def test_likely_columns_without_sentences_are_not_taken(cells: dict[str, list[object]]) -> None:
    with pytest.raises(CapivaraError, match="no column holds captions"):
        find_columns({"image": [], **cells}, "list.csv", cells)


def test_no_column_hides_another_of_the_same_name() -> None:
    assert unique_names(["image", "caption", "caption", " Caption", "caption_2"]) == [
        "image", "caption", "caption_3", "Caption_4", "caption_2",
    ]  # fmt: skip


def test_only_ids_are_no_captions_at_all() -> None:
    with pytest.raises(CapivaraError, match="no column holds captions; there are 'image', 'caption_id'"):
        captions(caption_id=["1790", "12"])


@pytest.mark.parametrize("names", [["a dog", "http://x.org/1.jpg"], ["0001.jpg", "a dog"], ["1", "x/b.PNG", "a dog"]])
def test_a_table_without_a_header_is_told_to_write_one(names: list[str]) -> None:
    with pytest.raises(CapivaraError) as caught:
        find_columns(names, "list.tsv")
    assert caught.value.hint.startswith("write a first line with the names of the columns")
