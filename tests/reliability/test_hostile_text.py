"""Captions, keys, names and records that try to inject code: they are shown everywhere as text."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import variants
from support.made import a_sample, jpeg, shard_bytes, toy_like
from support.warm import CAPIVARA

from capivara_cli.console import printable
from capivara_cli.reports.markdown import code, escaped
from capivara_cli.shards.archive import ShardReader
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.terminal import CLEAR as CLEAR_LINE

CLEAR = CLEAR_LINE.encode()
STYLES = [b"\x1b[%bm" % code for code in (b"0", b"1", b"2", b"33", b"1;33", b"1;31", b"36", b"32", b"90", b"38;5;237")]
"""Those of errors, warnings, advice and progress. Evil texts have others."""
EVIL = {
    "html": '</p></title></style><script>alert(1)</script><img src=x onerror=alert(2)>" onmouseover="alert(3)',
    "ansi": "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\r\x08",
    "c1": "\x9b31m\x85\x90",
    "bidi": "abc\u202eexe.gpj\u2066\u2067\u2068",
    "nul": "before\x00after",
    "surrogate": "half \ud800 of a pair \udfff",
    "separators": "line\u2028paragraph\u2029end",
    "markdown": "[click](javascript:alert(1)) ![x](http://evil/x.png) | `` ` `` **bold** <b>",
    "yaml": "a: b\n---\n- !!python/object/apply:os.system [touch owned]",
    "latex": "\\input{/etc/passwd} $x$ & % # _ ^ ~ { }",
    "newline": "one\ncapivara: everything is fine",
}
KEY = "k\x1b[31me\u202ey<b>x</b>"


def evil_shards(folder: Path, clean: bool = False) -> Path:
    """A shard of one sample per evil text: in its caption, in who wrote it, in what it was made from, in its key."""
    samples = []
    for number, (name, text) in enumerate(EVIL.items()):
        said = "a red square" if clean else text
        by, key = ("alt", f"key{number}") if clean else (text, f"{KEY}{number}")
        captions = [Caption(said, "en", by, None, 0.5), Caption(said, "pt", by, said, 0.25)]
        samples.append(a_sample(key, *captions, image=jpeg((20 * number, 90, 60)), note=said, kind=name))
    folder.mkdir(parents=True)
    (folder / "00000.tar").write_bytes(shard_bytes(samples))
    return folder


def on_a_terminal(words: list[str], cwd: Path) -> bytes:
    """The bytes that standard output and standard error send to a terminal, without the codes of capivara's own."""
    master, slave = pty.openpty()
    process = subprocess.Popen([*CAPIVARA, *words], cwd=cwd, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
    os.close(slave)
    sent = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while some := os.read(master, 1 << 16):
            sent += some
    os.close(master)
    process.wait(60)
    assert b"Traceback" not in sent, sent
    for own in (CLEAR, *STYLES):
        sent = sent.replace(own, b"")
    return sent


def assert_harmless(sent: bytes) -> None:
    """Nothing but text: no escape sequence, no control character, nothing that changes the direction of text."""
    text = sent.decode("utf-8")  # strictly: no half of a character
    odd = {char for char in text if not char.isprintable() and char not in "\r\n\t\u200c\u200d"}
    assert odd == set(), [f"U+{ord(char):04X} {unicodedata.name(char, '')}" for char in sorted(odd)]
    assert "\r" not in text.replace("\r\n", "\n")


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, and where it points to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.targets: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        pointing = ("src", "href", "action", "data", "poster", "srcset")
        self.targets |= {(value or "")[:10] for name, value in attrs if name in pointing}


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``evil/`` and ``clean/``: the same shards, once with texts that try to inject code."""
    folder = tmp_path_factory.mktemp("hostile")
    evil_shards(folder / "evil")
    evil_shards(folder / "clean", clean=True)
    return folder


def test_show_on_a_terminal(evil: Path) -> None:
    sent = on_a_terminal(["show", "evil", "--n", "99"], evil)
    assert_harmless(sent)
    text = sent.decode()
    assert "k\\x1b[31me\\u202ey<b>x</b>0" in text
    assert "\\x1b[2J\\x1b]0;owned\\x07\\x1b[31mred\\x1b[0m\\x08" in text.replace(" ", "")
    assert "before\\x00after" in text and "half \\ud800 of a pair \\udfff" in text and "\\x9b31m" in text
    assert re.search(r"^capivara: everything", text, re.MULTILINE) is None


def test_search_on_a_terminal(evil: Path) -> None:
    words = ["search", EVIL["ansi"] + EVIL["bidi"], "evil", "--model", "toy", "--k", "99"]
    sent = on_a_terminal(words, evil)
    assert_harmless(sent)
    assert "k\\x1b[31me\\u202ey<b>x</b>" in sent.decode()


def test_eval_on_a_terminal(evil: Path) -> None:
    sent = on_a_terminal(["eval", "evil", "--model", "toy"], evil)
    assert_harmless(sent)
    assert "mean recall" in sent.decode()


@pytest.mark.parametrize(
    "words", [["show", "--n", "99"], ["search", "--k", "99", "--model", "toy", EVIL["html"]]], ids=["show", "search"]
)
def test_pages_have_the_same_elements_whatever_is_written(words: list[str], evil: Path) -> None:
    pages = []
    for name in ("evil", "clean"):
        asked = [word if name == "evil" else word.replace(EVIL["html"], "x") for word in words]
        done = subprocess.run(
            [*CAPIVARA, *asked, name, "--html", f"{name}-{words[0]}.html"], cwd=evil, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        pages.append(Structure(evil / f"{name}-{words[0]}.html"))
    hostile, clean = pages
    assert sorted(hostile.elements) == sorted(clean.elements)
    assert hostile.targets == {"data:image", "data:,"}  # the second: no icon, so that none is asked for


def test_a_damaged_key_is_said_safely(tmp_path: Path) -> None:
    bad = Sample(KEY, {"jpg": b"no image", "json": b"["})
    (tmp_path / "bad.tar").write_bytes(shard_bytes([bad, *toy_like(1)]))
    sent = on_a_terminal(["dedupe", "bad.tar", "--max-failures", "0", "--out", "o"], tmp_path)
    assert_harmless(sent)
    assert "k\\x1b[31me\\u202ey<b>x</b>" in sent.decode()
    sent = on_a_terminal(["search", "x", "bad.tar", "--model", "toy"], tmp_path)
    assert_harmless(sent)


def test_file_names_are_said_safely(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a\x1b[31m\u202e\x9b\nwarning: b.jpg").write_bytes(b"no image")
    (tmp_path / "photos" / "good.jpg").write_bytes(jpeg())
    with open(os.fsencode(tmp_path / "photos") + b"/half\xff\xfe.jpg", "wb") as out:
        out.write(jpeg())
    sent = on_a_terminal(["pack", "photos", "--out", "o"], tmp_path)
    assert_harmless(sent)
    assert re.search(r"^warning: a_\[31m_+warning: b: image cannot be decoded", sent.decode(), re.MULTILINE)
    assert "read 3, wrote 2, dropped 1" in sent.decode()
    assert_harmless(on_a_terminal(["show", "o"], tmp_path))
    assert_harmless(on_a_terminal(["show", "nowhere\x1b[31m\u202e"], tmp_path))
    assert_harmless(on_a_terminal(["caption", "o", "--captioner", "no\x1b[31m\u202e"], tmp_path))


def test_records_of_costs_are_shown_safely(tmp_path: Path) -> None:
    numbers = dict.fromkeys(["seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g"], 1.0)
    record = {"id": "1", "stage": EVIL["ansi"], "source": EVIL["bidi"], "samples": 1, **numbers}
    (tmp_path / "costs.jsonl").write_text(json.dumps(record) + "\n")
    sent = on_a_terminal(["footprint", "costs.jsonl"], tmp_path)
    assert_harmless(sent)
    assert "\\x1b[2J" in sent.decode()


def test_a_history_is_shown_safely(tmp_path: Path) -> None:
    from capivara_cli.shards.archive import ShardWriter

    with open(tmp_path / "s.tar", "wb") as out:
        writer = ShardWriter(out, [{"step": EVIL["ansi"], "options": {EVIL["bidi"]: EVIL["html"]}}])
        writer.write(toy_like(1)[0])
        writer.finish()
    assert_harmless(on_a_terminal(["show", "s.tar"], tmp_path))
    words = [*CAPIVARA, "show", "s.tar", "--html", "s.html"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "script" not in {element[0] for element in Structure(tmp_path / "s.html").elements}


@pytest.fixture(scope="module")
def run(evil: Path) -> Path:
    """A run that was trained and evaluated on the evil shards, with its report and its tables."""
    lines = [
        ["train", "evil", "--lang", "pt", "--model", "toy", "--steps", "1", "--batch-size", "4", "--name", "evil"],
        ["eval", "evil", "runs/evil", "--model", "toy", "--table", "t.csv,t.tex,t.md"],
        ["report", "runs/evil", "--shards", "evil"],
        ["train", "clean", "--lang", "pt", "--model", "toy", "--steps", "1", "--batch-size", "4", "--name", "clean"],
        ["eval", "clean", "runs/clean", "--model", "toy"],
        ["report", "runs/clean", "--shards", "clean"],
    ]
    for words in lines:
        done = subprocess.run([*CAPIVARA, *words, "--quiet"], cwd=evil, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return evil / "runs" / "evil"


def test_the_report_has_no_other_kinds_of_elements_than_that_of_harmless_shards(run: Path) -> None:
    hostile, clean = Structure(run / "report.html"), Structure(run.parent / "clean" / "report.html")
    assert set(hostile.elements) - set(clean.elements) == set()
    assert {target for target in hostile.targets if not target.startswith(("#", "data:image"))} == {
        target for target in clean.targets if not target.startswith(("#", "data:image"))
    }
    assert not [name for element in hostile.elements for name in element[1:] if name.startswith("on")]


def test_the_model_card_is_markdown_with_nothing_in_it(run: Path) -> None:
    import yaml

    text = (run / "MODEL_CARD.md").read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["language"] == ["pt"]
    assert all(char.isprintable() or char == "\n" for char in text)
    spans = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
    outside = spans.sub("", "\n".join(line for line in body.splitlines() if not line.startswith("    ")))
    assert re.findall(r"(?<!\\)<(?!!--)[a-zA-Z/]+[^>]*>", outside) == []
    assert not (run.parents[1] / "owned").exists()


def test_tables_in_files_hold_names_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "a_b & <i>$x$ \x1b[31m=1+1"
    folder.mkdir()
    (folder / "s.tar").write_bytes(shard_bytes(toy_like(4)))
    words = ["eval", str(folder.name), "--model", "toy", "--table", "t.csv,t.tex,t.md", "--quiet"]
    done = subprocess.run([*CAPIVARA, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text("utf-8"))))
    assert {row["set"] for row in rows} == {folder.name}
    tex, md = (tmp_path / "t.tex").read_text("utf-8"), (tmp_path / "t.md").read_text("utf-8")
    assert "a\\_b \\& $<$i$>$\\$x\\$" in tex and "\x1b" not in tex
    assert "a\\_b \\& \\<i\\>\\$x\\$" in md and "\x1b" not in md


def test_a_name_that_is_not_utf_8_costs_nothing(tmp_path: Path) -> None:
    name = b"ev\xffil.tar"
    with open(os.fsencode(tmp_path) + b"/" + name, "wb") as out:
        out.write(shard_bytes(toy_like(4)))
    lines = (["split", "--out", "o"], ["show", "--html", "p.html"], ["eval", "--model", "toy", "--table", "t.csv"])
    for words in lines:
        line = [*map(os.fsencode, [*CAPIVARA, words[0]]), name, *map(os.fsencode, words[1:])]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


def test_texts_pass_through_every_stage_as_they_are(tmp_path: Path) -> None:
    """Twins in Unicode, a text of a megabyte, a long word and hundreds of captions are kept apart, whole, and in order."""
    twins = ["caf\u00e9 azul", "cafe\u0301 azul", "\u212bngstr\u00f6m", "\u00c5ngstro\u0308m"]
    long = ["word " * 199_999 + "words", "x" * 50_000]
    many = [f"caption number {number}" for number in range(variants.number(300, 2000))]
    texts = [*EVIL.values(), *twins, *long, *many]
    sample = a_sample("all", *[Caption(text, "en", "alt") for text in texts])
    (tmp_path / "s.tar").write_bytes(shard_bytes([sample]))
    plan = "split --fraction 0 | filter --model toy"
    done = subprocess.run(
        [*CAPIVARA, "run", plan, "s.tar", "--out", "o", "--quiet"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    with open(tmp_path / "o" / "s.tar", "rb") as stream:
        (kept,) = ShardReader(stream, "s")
    assert sorted(each.text for each in kept.captions) == sorted(texts)
    assert kept.image == sample.image
    shown = on_a_terminal(["show", "s.tar"], tmp_path)
    assert_harmless(shown)
    assert "… (1,000,000 characters)" in shown.decode()


def test_what_is_printable_and_what_is_escaped() -> None:
    every = "".join(map(chr, range(0x3000))) + "\ud800\udfff\ufeff\U000e0001"
    assert all(char.isprintable() or char in "\n\t\u200c\u200d" for char in printable(every))
    assert printable("नमस्ते \u200d عالم 日本") == "नमस्ते \u200d عالم 日本"
    for text in EVIL.values():
        assert "\n" not in escaped(text) and "\n" not in code(text)
        assert json.loads(encode_json({"t": text}))["t"] == text
