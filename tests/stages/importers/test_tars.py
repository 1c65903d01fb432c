"""Tars of img2dataset and of the original CAPIVARA."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.foreign import write_foreign
from support.made import jpeg
from support.packed import pack, said

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.shards.sample import Caption, encode_json
from capivara_cli.stages.importers._packing import importer_of

RED = jpeg((255, 0, 0))


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return out.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """As Python's tarfile, which img2dataset and webdataset use, writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000.5
            tar.addfile(info, io.BytesIO(data))
    return path


def img2dataset_json(number: int, **changes: Any) -> bytes:
    document = {"caption": f"caption {number}", "url": "http://x/1.jpg", "key": f"{number:09d}", "status": "success",
                "width": 64, "height": 48, "sha256": "00"}  # fmt: skip
    return json.dumps({**document, **changes}).encode()


def test_img2dataset_shards_keep_keys_and_members(tmp_path: Path) -> None:
    members = {"000000000.jpg": RED, "000000000.json": img2dataset_json(0), "000000000.txt": b"caption 0"}
    write_tar(tmp_path / "00000.tar", members)
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    (tmp_path / "00000_stats.json").write_text("{}")
    assert importer_of(str(tmp_path)) == "img2dataset"
    found, tally = pack(tmp_path)
    assert [(sample.key, list(sample.members)) for sample in found] == [("000000000", ["jpg", "json", "txt"])]
    assert found[0].captions == [Caption("caption 0", "en", "alt")]
    assert found[0].document["url"] == "http://x/1.jpg"
    assert (found[0].image, found[0].members["txt"], tally.read) == (RED, b"caption 0", 1)


def test_captions_from_txt_lists_and_languages(tmp_path: Path) -> None:
    members = {
        "a.jpg": RED, "a.txt": "\ufeffvermelho \n".encode(),
        "b.jpg": RED, "b.json": b'{"caption": "red", "LANGUAGE": "xhosa"}',
        "c.jpg": RED, "c.json": b'{"captions": ["one", "two"]}',
        "d.jpg": RED,
        "e.jpg": RED, "e.json": b'{"caption": null}',
    }  # fmt: skip
    found, tally = pack(write_tar(tmp_path / "x.tar", members), lang="pt")
    assert [said(sample) for sample in found] == [
        [("pt", "vermelho")], [("xh", "red")], [("pt", "one"), ("pt", "two")], [], [],
    ]  # fmt: skip
    assert tally.notes == {"samples without a caption": 1, "empty captions": 1}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"txt": b"one\r\ntwo\n\nthree\n"}, ["one", "two", "three"]),
        ({"txt": "one\u0085still one\ntwo".encode()}, ["one\u0085still one", "two"]),
        ({"json": b'{"caption": null}', "txt": b"one"}, ["one"]),
        ({"json": b'{"caption": " "}', "txt": b"one\ntwo"}, ["one", "two"]),
        ({"json": b'{"caption": NaN}', "txt": b"one"}, ["one"]),
        ({"json": b'{"captions": []}', "txt": b"one"}, ["one"]),
        ({"json": b'{"caption": ["one", "two"]}'}, ["one", "two"]),
        ({"json": b'{"captions": [{"raw": "one"}, {"caption": "two"}, {"text": "three"}]}'}, ["one", "two", "three"]),
        ({"json": b'{"sentences": [{"raw": "one", "sentid": 4}]}'}, ["one"]),
        ({"json": b'{"caption": "one", "caption_2": "two", "id": 17}'}, ["one", "two"]),
        ({"json": b'{"caption": "one\\ntwo"}', "txt": b"one\ntwo"}, ["one\ntwo"]),
        ({"json": b'{"caption": "one"}', "txt": b"one\ntwo"}, ["one", "two"]),
        ({"TXT": b"one"}, ["one"]),
        ({"caption": b"one"}, ["one"]),
        ({"jpg.txt": b"one", "jpg.json": b'{"caption": "two"}'}, ["two", "one"]),
    ],
)
def test_captions_in_every_form(members: dict[str, bytes], expected: list[str], tmp_path: Path) -> None:
    given = {"a.jpg": RED, **{f"a.{suffix}": data for suffix, data in members.items()}}
    found, tally = pack(write_tar(tmp_path / "x.tar", given))
    assert [said(sample) for sample in found] == [[("en", text) for text in expected]]
    assert {suffix: found[0].members[suffix] for suffix in members if suffix != "json"} == {
        suffix: data for suffix, data in members.items() if suffix != "json"
    }
    assert tally.notes == {}


@pytest.mark.parametrize(
    ("document", "note"),
    [
        ({"description": "a red square", "id": 17}, "samples with captions in 'description' (en)"),
        ({"alt": "a red square", "caption": ""}, "samples with captions in 'alt' (en)"),
        ({"my_text": "a red square", "text_by": "web"}, "samples with captions in 'my_text' (en), not in 'text_by'"),
        ({"caption": "a red square", "caption_id": 17}, "samples with captions in 'caption' (en), not in 'caption_id'"),
    ],
)  # fmt: skip
def test_fields_in_doubt_are_said(document: dict[str, object], note: str, tmp_path: Path) -> None:
    found, tally = pack(write_tar(tmp_path / "x.tar", {"a.jpg": RED, "a.json": json.dumps(document).encode()}))
    assert [said(sample) for sample in found] == [[("en", "a red square")]]
    assert tally.notes == {note: 1}


def test_a_description_beside_a_text_file_is_no_caption(tmp_path: Path) -> None:
    members = {"a.jpg": RED, "a.txt": b"a red square", "a.json": b'{"description": "taken in May in the park"}'}
    (sample,), _ = pack(write_tar(tmp_path / "x.tar", members))
    assert said(sample) == [("en", "a red square")]


@pytest.mark.parametrize("names", [["0.tar.gz", "1.tar.gz"], ["0.tar", "1.tar.gz"], ["0.tgz", "1.tar"]])
def test_compressed_and_mixed_folders(names: list[str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        write_foreign(tmp_path / name, {f"{number}.jpg": RED, f"{number}.txt": b"red"})
    found, _ = pack(tmp_path)
    assert [(sample.key, said(sample)) for sample in found] == [("0", [("en", "red")]), ("1", [("en", "red")])]


@pytest.mark.parametrize("name", ["metadata.jsonl", "captions.csv", "list.json"])
def test_a_list_beside_tars_without_captions_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tar(tmp_path / "0.tar", {"0.jpg": RED})
    (tmp_path / name).write_bytes(b"{}")
    _, tally = pack(tmp_path)
    assert tally.notes == {"samples without a caption": 1, f"{Path(name).suffix} files passed over": 1}
    assert f"no captions found; {name} was passed over" in capsys.readouterr().err


def test_our_own_samples_pass_untouched(tmp_path: Path) -> None:
    document = b'{"captions":[{"text":"a","lang":"pt","by":"argos:en-pt","of":"b","score":0.25}],"x":1}'
    found, _ = pack(write_tar(tmp_path / "x.tar", {"k.jpg": RED, "k.json": document}))
    assert found[0].members == {"jpg": RED, "json": document}


def test_bad_samples_in_tars_are_counted(tmp_path: Path) -> None:
    members = {
        "a.json": b"{}", "b.jpg": RED, "b.json": b"[1]", "c.jpg": RED, "c.json": b"{", "d.jpg": RED,
        "d.txt": b"\xea\xee\xf2", "e.jpg": RED[:-30], "f.jpg": RED, "f.json": b'{"captions": [1]}',
        "g.jpg": RED, "README": b"read me",
    }  # fmt: skip
    found, tally = pack(write_tar(tmp_path / "x.tar", members))
    assert [sample.key for sample in found] == ["g"]
    assert tally.dropped == {
        "no image": 2, "json is not an object": 1, "json cannot be parsed": 1, "captions are not UTF-8": 1,
        "image cannot be decoded: truncated": 1,
        'json "captions" is not a list of {"text", "lang", "by", "of", "score"}': 1,
    }  # fmt: skip


def test_the_same_key_in_two_shards_and_twice_in_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", {"s.jpg": RED, "s.txt": b"one"})
    write_tar(tmp_path / "00001.tar", {"s.jpg": RED, "s.txt": b"two"})
    with tarfile.open(tmp_path / "00001.tar", "a") as tar:
        info = tarfile.TarInfo("s.jpg")
        info.size = len(RED)
        tar.addfile(info, io.BytesIO(RED))
    found, tally = pack(tmp_path)
    assert [(sample.key, said(sample)) for sample in found] == [("s", [("en", "one")]), ("s_00001", [("en", "two")])]
    assert tally.dropped == {"duplicate key": 1}


def test_a_cut_tar_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.jpg": RED, "b.jpg": RED})
    path.write_bytes(path.read_bytes()[:2048])
    with pytest.raises(TruncatedInput):
        pack(path)


GENERATED_EN = [
    "the foreground features businesswoman in glasses and suit holding a tablet computer - stock image",
    *[f"a photo of a woman {number}" for number in range(1, 10)],
]
GENERATED_PT = [
    "o primeiro plano apresenta empresária de óculos e terno segurando um tablet - Imagem em Alta Resolução ...",
    *[f"uma foto de uma mulher {number}" for number in range(1, 10)],
]
ORIGINAL_PT = ["jovem mulher de negócios em um banco", "mulher de negócios jovem em um banco"]
SCORES = [0.178, 0.181, 0.228, 0.296, *[0.2 + number / 1000 for number in range(8)]]
CC3M = {
    "key": "000012345",
    "url": "http://x/y.jpg",
    "captions-pt": ORIGINAL_PT + GENERATED_PT,
    "generated-captions-pt": GENERATED_PT,
    "captions-en": ["young business woman on a bench"],
    "generated-captions-en": GENERATED_EN,
    "similarities-pt": SCORES,
}
"""One record as in a ``*_sim`` shard: texts and scores of the original's notebook, the tail of the lists made up."""


def original(tmp_path: Path, document: dict[str, Any]) -> tuple[Any, Any]:
    path = write_tar(tmp_path / "00000.tar", {"sample00000.png": png(), "sample00000.json": encode_json(document)})
    assert importer_of(str(path)) == "capivara-original"
    found, tally = pack(path)
    assert [sample.key for sample in found] == ["sample00000"]
    return found[0], tally


def check_cc3m(sample: Any, scores: list[float | None]) -> None:
    english = "young business woman on a bench"
    captions = sample.captions
    assert captions[0] == Caption(english, "en", "alt")
    assert captions[1:11] == [
        Caption(text, "en", "Salesforce/blip2-opt-2.7b-coco", prefix=prefix)
        for text, prefix in zip(GENERATED_EN, PREFIXES, strict=True)
    ]
    assert captions[11:13] == [
        Caption(ORIGINAL_PT[0], "pt", "marian:en-pt", english, scores[0]),
        Caption(ORIGINAL_PT[1], "pt", "google:en-pt", english, scores[1]),
    ]
    assert captions[13:] == [
        Caption(text, "pt", "google:en-pt", of, score)
        for text, of, score in zip(GENERATED_PT, GENERATED_EN, scores[2:], strict=True)
    ]


def test_original_shards_after_scoring_the_twelve_entry_form(tmp_path: Path) -> None:
    sample, tally = original(tmp_path, CC3M)
    check_cc3m(sample, [*SCORES])
    assert sample.members["png"] == png()
    assert {name: sample.document[name] for name in sample.document if name != "captions"} == {
        "key": "000012345", "url": "http://x/y.jpg",
    }  # fmt: skip
    assert tally.notes == {}


def test_original_shards_before_scoring_the_two_entry_form(tmp_path: Path) -> None:
    document = {name: value for name, value in CC3M.items() if name != "similarities-pt"}
    sample, _ = original(tmp_path, {**document, "captions-pt": ORIGINAL_PT})
    check_cc3m(sample, [None] * 12)


def test_flickr_and_coco_alternate_marian_and_google(tmp_path: Path) -> None:
    english = [f"sentence {number}" for number in range(5)]
    portuguese = [f"{engine} {number}" for number in range(5) for engine in ("m", "g")]
    hindi = [f"वाक्य {number}" for number in range(5)]
    document = {"image": "1.jpg", "captions-en": english, "captions-pt": portuguese, "captions-hi": hindi}
    sample, _ = original(tmp_path, document)
    captions = sample.captions
    assert [caption.lang for caption in captions] == ["en"] * 5 + ["pt"] * 10 + ["hi"] * 5
    assert captions[5:9] == [
        Caption("m 0", "pt", "marian:en-pt", "sentence 0"), Caption("g 0", "pt", "google:en-pt", "sentence 0"),
        Caption("m 1", "pt", "marian:en-pt", "sentence 1"), Caption("g 1", "pt", "google:en-pt", "sentence 1"),
    ]  # fmt: skip
    assert captions[15] == Caption("वाक्य 0", "hi", "machine:en-hi", "sentence 0")
    assert sample.document["image"] == "1.jpg"


def test_pracegover_is_native_portuguese(tmp_path: Path) -> None:
    document = {"captions-en": [], "captions-pt": ["Foto de um gato."], "similarities-pt": 0.3}
    sample, _ = original(tmp_path, document)
    assert sample.captions == [Caption("Foto de um gato.", "pt", "alt", None, 0.3)]


def test_oddities_of_original_shards(tmp_path: Path) -> None:
    document = {"captions-en": ["a", " "], "captions-pt": ["x", "y", "z"], "similarities-pt": [0.1, 0.2]}
    sample, tally = original(tmp_path, document)
    assert sample.captions == [
        Caption("a", "en", "alt"), *[Caption(text, "pt", "machine:en-pt") for text in ("x", "y", "z")],
    ]  # fmt: skip
    assert tally.notes == {"similarity lists whose length differs from that of the captions": 1, "empty captions": 1}


NAN = float("nan")


@pytest.mark.parametrize("missing", [None, NAN])
def test_missing_texts_and_scores_leave_the_others_in_their_places(missing: Any, tmp_path: Path) -> None:
    document = {
        "captions-en": ["a", "b"], "captions-pt": ["m a", missing, missing, "g b"],
        "similarities-pt": [0.1, 0.2, missing, 0.4], "captions-xh": missing, "similarities-en": missing,
    }  # fmt: skip
    sample, tally = original(tmp_path, document)
    assert sample.captions == [
        Caption("a", "en", "alt"), Caption("b", "en", "alt"),
        Caption("m a", "pt", "marian:en-pt", "a", 0.1), Caption("g b", "pt", "google:en-pt", "b", 0.4),
    ]  # fmt: skip
    assert tally.notes == {"empty captions": 2}


@pytest.mark.parametrize("missing", [None, NAN])
def test_the_twelve_entry_form_with_missing_texts(missing: Any, tmp_path: Path) -> None:
    generated_pt = [GENERATED_PT[0], missing, *GENERATED_PT[2:]]
    document = {
        **CC3M, "captions-pt": [*ORIGINAL_PT, *generated_pt], "generated-captions-pt": generated_pt,
        "generated-captions-en": [*GENERATED_EN[:3], missing, *GENERATED_EN[4:]],
        "similarities-pt": [SCORES[0], missing, *SCORES[2:]],
    }  # fmt: skip
    sample, tally = original(tmp_path, document)
    found = {caption.text: caption for caption in sample.captions}
    assert tally.notes == {"empty captions": 2}
    assert len(sample.captions) == 1 + 9 + 2 + 9
    assert found[GENERATED_EN[4]].prefix == PREFIXES[4]
    assert (found[ORIGINAL_PT[0]].score, found[ORIGINAL_PT[1]].score) == (SCORES[0], None)
    assert (found[GENERATED_PT[3]].of, found[GENERATED_PT[3]].score) == (None, SCORES[5])
    assert (found[GENERATED_PT[9]].of, found[GENERATED_PT[9]].score) == (GENERATED_EN[9], SCORES[11])


def test_broken_original_records_are_counted(tmp_path: Path) -> None:
    members = {
        "sample00000.png": png(), "sample00000.json": b'{"captions-en": ["a"]}',
        "sample00001.png": png(), "sample00001.json": b'{"captions-en": "a"}',
        "sample00002.png": png(), "sample00002.json": b'{"captions-klingonish": ["a"]}',
        "sample00003.json": b'{"captions-en": ["a"]}',
    }  # fmt: skip
    found, tally = pack(write_tar(tmp_path / "00000.tar", members))
    assert [sample.key for sample in found] == ["sample00000"]
    assert tally.dropped == {
        "json 'captions-en' is not a list of texts": 1, "unknown language 'klingonish'": 1, "no image": 1,
    }  # fmt: skip


def test_a_folder_without_tars_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(CapivaraError, match="no \\.tar shards in this folder"):
        pack(tmp_path, format="img2dataset")
