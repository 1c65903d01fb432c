"""``show``: what a terminal and a browser get to see, hostile captions included."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.made import a_sample, jpeg

from capivara_cli.commands.show import Options, show
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.reports.pictures import THUMBNAIL, picture
from capivara_cli.reports.samples_page import PageSection, View, by_language, html_page, language
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.sample import Caption, Sample

RED = Caption("a red square", "en", "alt", None, 0.25)
VERMELHO = Caption("um quadrado vermelho", "pt", "argos:en-pt", "a red square", 0.312)
EVIL = Caption("\x1b[31m\u202e<script>alert(1)</script>\ud800\nnext", "xh", 'who"<b>')
HISTORY = [
    {"step": "pack", "options": {"lang": "en", "verify": True, "images": ""}},
    {"step": "translate", "options": {"to": "a b"}},
]


@pytest.fixture
def shard(tmp_path: Path) -> str:
    path = tmp_path / "s.tar"
    with open(path, "wb") as out:
        writer = ShardWriter(out, HISTORY)
        writer.write(a_sample("one", RED, VERMELHO))
        writer.write(a_sample("two", EVIL))
        writer.write(Sample("bad", {"jpg": b"text", "json": b"["}))
        writer.write(a_sample("three"))
        writer.finish()
    return str(path)


def run(shard: str, **options: object) -> dict[str, object]:
    env = Env(Settings(), "show")
    return show.run([shard], Options(**options), env)  # type: ignore[arg-type]


def test_the_terminal_sees_captions_by_language_with_who_and_what_from(
    shard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shard)
    size = len(jpeg())
    assert capsys.readouterr().out.splitlines()[:8] == [
        "made by 1. pack",
        "        2. translate --to 'a b'",
        "",
        f"one (64 × 48, jpg {size} B, json 201 B)",
        "  en    0.250 a red square  [alt]",
        "  pt    0.312 um quadrado vermelho  [argos:en-pt]",
        "              ← a red square",
        "",
    ]


def test_hostile_text_is_shown_not_obeyed(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(shard)
    out = capsys.readouterr().out
    assert '  xh   \\x1b[31m\\u202e<script>alert(1)</script>\\ud800 next  [who"<b>]\n' in out
    assert "\x1b" not in out and "\u202e" not in out


def test_a_damaged_sample_is_shown_with_what_is_wrong(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(shard)
    assert "bad (jpg 4 B, json 1 B)\n  ! json cannot be parsed; image cannot be decoded: not an image\n" in (
        capsys.readouterr().out
    )
    assert [sample["key"] for sample in result["samples"]] == ["one", "two", "bad", "three"]  # type: ignore[attr-defined]
    assert result["history"] == HISTORY


def test_n_and_lang(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(shard, n=1, lang="Portuguese")
    assert [(sample["key"], [each["text"] for each in sample["captions"]]) for sample in result["samples"]] == [  # type: ignore[attr-defined]
        ("one", ["um quadrado vermelho"])
    ]
    run(shard, lang="hi")
    assert "no captions in hi among these samples; there are captions in en, pt, xh" in capsys.readouterr().err
    with pytest.raises(CapivaraError, match="there is no language 'klingonish'"):
        run(shard, lang="klingonish")


def test_a_very_long_caption_is_cut_on_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.tar"
    with open(path, "wb") as out:
        writer = ShardWriter(out, [])
        writer.write(a_sample("long", Caption("word " * 10_000, "en", "alt")))
        writer.finish()
    run(str(path))
    assert "… (49,999 characters)  [alt]" in capsys.readouterr().out


def test_json_prints_no_text(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    env = Env(Settings(), "show")
    env.json = True
    assert show.run([shard], Options(n=1), env)["samples"][0]["captions"][1]["by"] == "argos:en-pt"
    assert capsys.readouterr().out == ""


class Page(HTMLParser):
    """The tags of a page, and the captions by their lang attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.captions: dict[str, str] = {}
        self._lang = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "p" and "lang" in attributes:
            assert attributes["dir"] == "auto"
            self._lang = attributes["lang"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._lang = "" if tag == "p" else self._lang

    def handle_data(self, data: str) -> None:
        if self._lang:
            self.captions[self._lang] = self.captions.get(self._lang, "") + data


def test_html_is_one_page_without_scripts_or_anything_from_elsewhere(
    shard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "page.html"
    run(shard, html=str(target))
    text = target.read_text("utf-8")
    page = Page(text)
    assert page.captions["pt"] == "um quadrado vermelho"
    assert page.captions["xh"] == "\ufffd[31m\u202e<script>alert(1)</script>\ufffd\nnext"
    assert "script" not in page.tags and page.tags.count("article") == 4 and page.tags.count("img") == 3
    assert [source[:23] for source in page.sources] == ["data:,", *["data:image/jpeg;base64,"] * 3]
    assert "http" not in text and "prefers-color-scheme: dark" in text
    assert re.search(r"json cannot be parsed; image cannot be decoded: not an image", text)
    assert capsys.readouterr().out == ""


def test_the_same_samples_give_the_same_page(shard: str, tmp_path: Path) -> None:
    pages = [tmp_path / name for name in ("a.html", "b.html")]
    for page in pages:
        run(shard, html=str(page))
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_thumbnails_are_small_and_keep_their_shape() -> None:
    from PIL import Image

    thumbnail = picture(Image.new("RGB", (800, 400), "red"), THUMBNAIL)
    page = html_page([PageSection("t", [], [View("k", "f", [], thumbnail)])])
    assert 'width="256" height="128"' in page


def test_the_page_names_languages_and_marks_every_text_with_its_own(shard: str, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    run(shard, html=str(target), lang="pt")  # the English source is not shown itself
    text = target.read_text("utf-8")
    assert "<h2>Portuguese</h2>" in text and "<h2>English</h2>" not in text
    assert '<p lang="pt" dir="auto">um quadrado vermelho</p>' in text
    assert 'from <q lang="en" dir="auto">a red square</q>' in text
    assert View("k", "f", []).language_of("unknown") == ""


@pytest.mark.parametrize(
    ("mark", "name"),
    [("pt", "Portuguese"), ("pt-BR", "Portuguese (pt-BR)"), ("por_Latn", "Portuguese (por_Latn)"), ("?", "?")],
)
def test_a_language_is_named(mark: str, name: str) -> None:
    assert language(mark) == name


def test_grouping_keeps_the_order_of_first_appearance() -> None:
    captions = [Caption(text, lang, "alt") for text, lang in [("a", "pt"), ("b", "en"), ("c", "pt")]]
    assert [(lang, [each.text for each in group]) for lang, group in by_language(captions)] == [
        ("pt", ["a", "c"]),
        ("en", ["b"]),
    ]
