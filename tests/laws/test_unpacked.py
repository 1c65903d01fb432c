"""Shards of other programs, which were never packed: every command that reads captions refuses them and says pack."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from reliability.running import ENVIRONMENT, Ran, run
from support import variants
from support.foreign import write_foreign
from support.made import jpeg, shard_bytes, toy_like

from capivara_cli.registry import command_names
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.sample import Sample

REFUSE = {
    "caption": "caption {} --captioner toy --n 1 --out out",
    "translate": "translate {} --lang pt --translator toy --out out",
    "rewrite": "rewrite {} --rewriter toy --out out",
    "filter": "filter {} --model toy --out out",
    "filter of a share": "filter {} --model toy --quantile 0.1 --out out",
    "dedupe": "dedupe {} --out out",
    "dedupe of images": "dedupe {} --images exact --out out",
    "run": "run 'split --fraction 0 | filter --model toy' {} --out out",
    "slurm": "slurm 'translate --lang pt' {} --out out",
    "train": "train {} --model toy --lang pt --steps 1 --batch-size 2 --out out",
    "eval": "eval {} --model toy --lang en",
    "search": "search 'a red square' {} --model toy",
    "show": "show {}",
}
NEED_NO_CAPTIONS = {"split": "split {} --fraction 0 --out out", "run": "run 'split --fraction 0' {} --out out"}
TAKE_NO_SHARDS = {"pack", "adapt", "check", "demo", "doctor", "export", "footprint", "list", "report", "status"}
"""Commands that read no shards, or, as ``pack`` and ``adapt``, pack them."""
STREAMS = [name for name in REFUSE if name != "slurm"]
WORKERS = [name for name, line in REFUSE.items() if line.endswith("--out out") and name not in ("slurm", "train")]
DRY_RUNS = [*WORKERS, "train", "eval"]

FORMS: dict[str, dict[str, bytes]] = {
    "img2dataset": {
        "jpg": b"",
        "json": b'{"caption": "a red square", "url": "http://x/1"}',
        "txt": b"a red square",
    },
    "CLIP_benchmark": {"jpg": b"", "txt": b"a red square\na square\n"},
    "a list of texts": {"jpg": b"", "json": b'{"captions": ["a red square", "a square"]}'},
    "structs": {"png": b"", "json": b'{"sentences": [{"raw": "a red square"}]}'},
    "the original's": {"jpg": b"", "json": b'{"captions-en": ["a red square"], "captions-pt": ["um quadrado"]}'},
    "a language in the name": {"jpg": b"", "json": b'{"id": 1, "caption_pt": "um quadrado"}'},
    "a language before the name": {"jpg": b"", "json": '{"hi_caption": "वर्ग", "caption (Hindi)": 1}'.encode()},
    "one word": {"jpg": b"", "json": b'{"text": "square"}'},
    ".caption": {"jpg": b"", "caption": b"a red square"},
    "a description": {"jpg": b"", "json": b'{"id": 1, "description": "a red square", "width": 9}'},
    "a legend": {"png": b"", "json": b'{"Legenda": ["um quadrado", "um quadrado vermelho"]}'},
    "alternative text": {"jpg": b"", "json": b'{"alt": "a red square"}'},
}


def shards(folder: Path, form: str = "img2dataset", start: int = 0) -> Path:
    """Two shards of such samples, of which the first has an image without captions."""
    for number in range(start, start + 2):
        members = {f"{number}0000.jpg": jpeg((number, 9, 9))}
        for sample in range(1, 4):
            image = jpeg((200, sample * 20, number * 20))
            members |= {f"{number}{sample:04d}.{name}": data or image for name, data in FORMS[form].items()}
        write_foreign(folder / f"{number:05d}.tar", members)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def refused(ran: Ran, place: Path, source: str = "raw") -> None:
    assert ran.code == 1, ran.said
    assert f"capivara pack {source} --out packed" in ran.said
    assert not [path for path in (place / "out").rglob("*.tar")]


def samples_in(path: Path) -> list[Sample]:
    with open_shard(str(path)) as reader:
        return list(reader)


def words(line: str, source: str) -> list[str]:
    return shlex.split(line.format(source))


def test_every_command_is_in_one_of_the_lists() -> None:
    named = {line.split()[0] for line in (*REFUSE.values(), *NEED_NO_CAPTIONS.values())}
    assert named | TAKE_NO_SHARDS == set(command_names())


@pytest.mark.parametrize("name", REFUSE)
def test_a_folder_is_refused_before_any_work(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards(place / "raw")
    monkeypatch.setattr("capivara_cli.models.clip.load_once", lambda *given: pytest.fail("a model was loaded"))
    refused(run(words(REFUSE[name], "raw"), place), place)
    assert not (place / "out").exists()


@pytest.mark.parametrize("form", FORMS)
def test_captions_of_every_form_are_refused(form: str, place: Path) -> None:
    shards(place / "raw", form)
    refused(run(words(REFUSE["dedupe"], "raw"), place), place)


def test_one_shard_is_named_itself(place: Path) -> None:
    shards(place / "raw")
    refused(run(words(REFUSE["dedupe"], "raw/00000.tar"), place), place, "raw/00000.tar")


@pytest.mark.parametrize("name", variants.some(list(STREAMS), 6))
def test_standard_input_is_refused(name: str, place: Path) -> None:
    stream = shards(place / "raw") / "00000.tar"
    refused(run(words(REFUSE[name], "-"), place, stream), place, "SHARDS")


@pytest.mark.parametrize("name", WORKERS)
def test_with_workers_too(name: str, place: Path) -> None:
    shards(place / "raw")
    refused(run([*words(REFUSE[name], "raw"), "--workers", "2"], place), place)
    assert not (place / "out").exists()


@pytest.mark.parametrize("name", DRY_RUNS)
def test_with_dry_run_too(name: str, place: Path) -> None:
    shards(place / "raw")
    refused(run([*words(REFUSE[name], "raw"), "--dry-run"], place), place)


@pytest.mark.parametrize("name", variants.some([*WORKERS, "train", "eval", "search", "show"], 6))
def test_shards_among_packed_ones_are_refused_when_they_are_read(name: str, place: Path) -> None:
    shards(place / "mixed", start=1)
    (place / "mixed" / "00000.tar").write_bytes(shard_bytes(toy_like(4)))
    ran = run(words(REFUSE[name], "mixed") + ["--n", "9"] * (name == "show"), place)
    assert ran.code == 1, ran.said
    assert "capivara pack mixed/00001.tar --out packed" in ran.said


@pytest.mark.parametrize("line", NEED_NO_CAPTIONS.values(), ids=NEED_NO_CAPTIONS)
def test_what_needs_no_captions_goes_on(line: str, place: Path) -> None:
    shards(place / "raw")
    ran = run([*words(line, "raw"), "--summary", "summary.json"], place)
    assert (ran.code, ran.counts) == (0, (8, 8, {}))
    for name in ("00000.tar", "00001.tar"):
        assert samples_in(place / "out" / name) == samples_in(place / "raw" / name)
    refused(run(words(REFUSE["translate"], "out"), place), place / "none", "out")  # split packs nothing


@pytest.mark.parametrize(
    "document",
    variants.some(
        [
            None,
            {},
            {"url": "x", "caption": None},
            {"captions": []},
            {"text_len": 3, "caption_by": "blip2", "x_text": "7f3a"},
            {"title": "IMG_1790", "alt": "logo", "description": "", "prompt": None},
        ],
        3,
    ),
)
def test_images_without_any_captions_are_captioned(document: object, place: Path) -> None:
    members = {}
    for number in range(3):
        members[f"{number}.jpg"] = jpeg((200, number, 0))
        if document is not None:
            members[f"{number}.json"] = json.dumps(document).encode()
        members[f"{number}.txt"] = b" \n"
    write_foreign(place / "raw" / "0.tar", members)
    ran = run([*words(REFUSE["caption"], "raw"), "--summary", "summary.json"], place)
    assert (ran.code, ran.counts) == (0, (3, 3, {})), ran.said


def test_evaluation_of_classes_needs_no_captions(place: Path) -> None:
    members = {}
    for number, color in enumerate([(220, 40, 40), (50, 80, 220)] * 2):
        members |= {f"{number}.jpg": jpeg(color), f"{number}.cls": b"%d" % (number % 2), f"{number}.txt": b"a square"}
    write_foreign(place / "raw" / "0.tar", members)
    (place / "names.txt").write_text("red square\nblue square\n")
    ran = run(["eval", "raw", "--model", "toy", "--lang", "en", "--classes", "names.txt"], place)
    assert ran.code == 0, ran.said


@pytest.mark.parametrize(
    "line",
    [
        REFUSE["dedupe"], REFUSE["dedupe of images"], REFUSE["rewrite"] + " --lang pt",
        REFUSE["translate"] + " --from xh",
    ],
)  # fmt: skip
def test_captions_of_others_pass_byte_for_byte_where_a_stage_has_nothing_to_do(line: str, place: Path) -> None:
    document = (
        b'{ "url":"http://x", "captions": [{"text":"a red square","lang":"en-US" ,"x":[1],"by":null},\n'
        b'{"lang":"pt","text":"um quadrado","of":"a square","score":2e-1}], "caption" : "a red square","w":NaN}\n'
    )
    members = [("1.JPG", jpeg()), ("1.json", document), ("1.txt", b"a red square"), ("1.x.bin", bytes(range(256)))]
    write_foreign(place / "others.tar", members)
    ran = run([*words(line, "others.tar"), "--summary", "summary.json"], place)
    assert (ran.code, ran.counts) == (0, (1, 1, {})), ran.said
    assert samples_in(place / "out" / "others.tar") == samples_in(place / "others.tar")


def test_packed_samples_keep_what_they_had_before(place: Path) -> None:
    """``txt`` and ``json["caption"]`` stay in packed shards, and these are read as packed."""
    given = [
        Sample(each.key, {**each.members, "txt": b"a caption", "json": _with_caption(each)}) for each in toy_like(3)
    ]
    (place / "packed.tar").write_bytes(shard_bytes(given))
    ran = run([*words(REFUSE["dedupe"], "packed.tar"), "--summary", "summary.json"], place)
    assert (ran.code, ran.counts) == (0, (3, 3, {}))


def _with_caption(sample: Sample) -> bytes:
    return json.dumps({"caption": "a caption", **sample.document}).encode()
