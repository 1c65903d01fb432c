"""rewrite: the prompt, one seed per rewrite, asking again, what is not let through, and rewriting without a model."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from made import a_sample

from capivara_cli import languages
from capivara_cli.decoding import SeededSampling
from capivara_cli.errors import CapivaraError
from capivara_cli.generation import Ask, Decoding, Setup
from capivara_cli.rewriters import back_translation, eda, llm, openai
from capivara_cli.rewriters._exemplars import exemplars, read_pairs
from capivara_cli.rewriters._incontext import InContextRewriter, parse, prompt
from capivara_cli.rewriters._synonyms import synonyms, wordnet
from capivara_cli.sample import Caption, Sample
from capivara_cli.stage import Env, Settings
from capivara_cli.stages.rewrite import Options, objection, rewrite

from tiny_models import tiny_gpt2  # isort: skip

EN = languages.get("en")
LACLIP = Decoding(77, 1, 0.9, 0.95)


def test_the_prompt_is_laclips() -> None:
    assert prompt([("a cat", "one cat"), ("b", "c")], "a dog") == (
        "write image captions differently,\n\na cat => one cat\n\nb => c\n\na dog =>"
    )
    assert parse(" one dog \n\na => b") == "one dog"
    assert parse("\nlate") == ""


def test_our_exemplars() -> None:
    assert len(exemplars("", EN)) == 16
    for code in ("en", "pt", "es", "hi"):
        pairs = exemplars("", languages.get(code))
        assert len({text for pair in pairs for text in pair}) == 2 * len(pairs) >= 16
        assert all(languages.mostly_written_in(text, languages.get(code)) for pair in pairs for text in pair)
    with pytest.raises(CapivaraError, match=r"no exemplars in Xhosa \(xh\); there are some in en, pt, es, hi"):
        exemplars("", languages.get("xh"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[["a b", "c"], ["d", "e"]]'),
        ("a.jsonl", '{"before": "a  b", "after": "c"}\n\n["d", "e"]\n'),
        ("a.tsv", "a b\tc\nd\te\n"),
    ],
)
def test_exemplars_of_your_own(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert exemplars(str(tmp_path / name), EN) == [("a b", "c"), ("d", "e")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{}", "not a list"),
        ("a.json", '[["a"]]', "pair 1: not a pair"),
        ("a.json", '[["a", "b"], ["a", 3]]', "pair 2: not a pair"),
        ("a.json", '[["a => b", "c"]]', "pair 1: not a pair of two texts without =>"),
        ("a.json", "[]", "holds no pair"),
        ("a.json", "no json", "not JSON"),
        ("a.jsonl", '["a", "b"]\n{"before": "a"}', "line 2: not a pair"),
        ("a.tsv", "a\tb\n\nc", "line 3: not a pair"),
    ],
)
def test_exemplars_that_are_none(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CapivaraError, match=message):
        read_pairs(tmp_path / name)


def test_seeded_sampling_is_sampling() -> None:
    """Frequencies of 4,000 seeds against temperature 0.9 and nucleus 0.95."""
    logits = torch.tensor([2.0, 1.0, 0.5, -4.0])
    count = 4000
    chosen = SeededSampling(range(count), LACLIP)(torch.zeros(count, 1), logits.repeat(count, 1)).argmax(-1)
    expected = (logits[:3] / 0.9).softmax(-1)  # the last is outside the nucleus
    shares = torch.bincount(chosen, minlength=4) / count
    assert shares[3] == 0
    assert torch.allclose(shares[:3], expected, atol=0.03)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_gpt2(tmp_path_factory.mktemp("models") / "tiny-lm")


def loaded(folder: Path, **options: Any) -> InContextRewriter:
    return llm.load(str(folder), language=EN, setup=Setup("cpu", LACLIP), options=Options(**options))


def test_a_seed_gives_one_answer_in_any_company(folder: Path) -> None:
    rewriter = loaded(folder)
    asks = [Ask("a cat", 1, 0), Ask("a red dog on a sofa", 2, 0), Ask("a cat", 3, 1), Ask("two men", 4, 0)]
    together = rewriter(asks)
    assert together == [rewriter([ask])[0] for ask in asks]
    assert together[0] != together[2]
    assert rewriter.by == "rewrite:tiny-lm"
    assert all("\n" not in text for text in together)


def test_a_long_caption_gets_fewer_examples_and_at_last_no_answer(folder: Path) -> None:
    rewriter = loaded(folder)
    lengths = {count: len(rewriter._prompt_ids(Ask("word " * count, 5, 0))) for count in (1, 50, 100, 300)}
    assert all(0 < length <= 1024 - 77 for count, length in lengths.items() if count < 300)
    assert lengths[300] == 0
    assert rewriter([Ask("word " * 300, 5, 0)]) == [""]
    texts = [
        rewriter.tokenizer.decode(rewriter._prompt_ids(Ask("word " * count, 5, 0))) for count in (1, 150, 160, 170)
    ]
    assert [text.count("=>") for text in texts] == [4, 3, 2, 1]


def test_an_example_said_again_is_no_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewriter = loaded(folder)
    answer = rewriter.pairs[0][1]
    monkeypatch.setattr(rewriter, "_answers", lambda rows: [answer if row.seed == 1 else "another" for row in rows])
    assert rewriter([Ask("a cat", 1, 0), Ask("a dog!", 2, 0)]) == ["", "another"]


class Answers:
    """Answers from a list, over and over, and remembers what it was asked."""

    by = "rewrite:x"

    def __init__(self, *answers: str) -> None:
        self.answers = itertools.cycle(answers)
        self.asks: list[Ask] = []

    def __call__(self, asks: list[Ask]) -> list[str]:
        self.asks += asks
        return [next(self.answers) for _ in asks]


def run(samples: list[Sample], rewriter: Any, seed: int = 0, **given: Any) -> tuple[list[Sample], Env]:
    options = Options(rewriter="toy", **given)
    env = Env(Settings(device="cpu", seed=seed), "rewrite", {("rewriter", options): rewriter})
    return list(rewrite.run(iter(samples), options, env)), env


def test_rewrites_are_appended_with_their_source() -> None:
    cat, gato = Caption("a cat sits", "en", "alt"), Caption("um gato", "pt", "alt")
    (out,), _ = run([a_sample("k", cat, gato)], Answers("one cat is sitting", "there sits a cat"), n=2)
    assert out.captions == [
        cat,
        gato,
        Caption("one cat is sitting", "en", "rewrite:x", of="a cat sits"),
        Caption("there sits a cat", "en", "rewrite:x", of="a cat sits"),
    ]
    unasked = Answers("never asked")
    again, _ = run([out], unasked, n=2)
    assert again[0] is out
    assert unasked.asks == []


def test_seeds_depend_on_the_caption_not_on_the_company() -> None:
    samples = [a_sample(key, Caption("a cat", "en", "alt"), Caption("a dog", "en", "alt")) for key in ("a", "b")]
    together, alone, other = (Answers(*"pqrs") for _ in range(3))
    run(samples, together, n=2)
    run(samples[1:], alone, n=2)
    run(samples, other, n=2, seed=1)
    seeds = [ask.seed for ask in together.asks]
    assert seeds[4:] == [ask.seed for ask in alone.asks]
    assert len(set(seeds)) == 8
    assert not set(seeds) & {ask.seed for ask in other.asks}
    assert [ask.number for ask in together.asks[:4]] == [0, 1, 0, 1]


def test_it_asks_again_and_then_the_caption_stays_alone() -> None:
    cat = Caption("a cat sits here", "en", "alt")
    answers = Answers("", "a cat", "A cat sits here.", "one cat sits", "one cat sits", "a cat sits here")
    (out,), env = run([a_sample("k", cat)], answers, n=2, tries=3)
    assert [each.text for each in out.captions[1:]] == ["one cat sits", "a cat"]
    assert env.tally.notes == {"rewrites asked for again": 2}
    assert len({ask.seed for ask in answers.asks}) == 4
    again, _ = run([out], Answers("never asked"), n=2, tries=3)
    assert again[0] is out
    (out,), env = run([a_sample("k", cat)], Answers("", "a cat => b"), n=1, tries=2)
    assert out.captions == [cat]
    assert env.tally.notes == {"rewrites asked for again": 1, "rewrites left out: goes on with a list": 1}
    for _ in range(2):  # too few: the same is asked again, and the same is left out
        (out,), _ = run([out], Answers("", "a cat => b"), n=1, tries=2)
        assert out.captions == [cat]


def test_a_second_run_after_too_few_gives_the_same_bytes() -> None:
    cat = Caption("a cat sits here", "en", "alt")
    answers = ("one cat sits here", "", "one cat sits here", "", "one cat sits here", "")
    (once,), _ = run([a_sample("k", cat)], Answers(*answers), n=3, tries=1)
    assert [each.text for each in once.captions[1:]] == ["one cat sits here"]
    (twice,), env = run([once], Answers(*answers), n=3, tries=1)
    assert twice is once
    assert env.tally.notes == {"rewrites left out: empty": 1, "rewrites left out: equal to another": 1}


@pytest.mark.parametrize(
    ("text", "rewritten", "lang", "expected"),
    [
        ("a cat sits here", "", "en", "empty"),
        ("a cat sits here", "...", "en", "empty"),
        ("a cat sits here", " A cat  sits here. ", "en", "unchanged"),
        ("a cat sits here", "a dog => a cat", "en", "goes on with a list"),
        ("a cat sits here", "word " * 13, "en", "of another length"),
        ("a cat sits here on the wide warm sill of a window", "a cat", "en", "of another length"),
        ("a cat sits here", "एक बिल्ली यहाँ है", "en", "in another script"),
        ("a cat sits here", "a cat is sitting here now", "en", ""),
        ("cat", "a cat", "en", ""),
        ("一只猫坐在窗台上", "窗台上坐着一只猫", "zh", ""),
        ("一只猫坐在窗台上看着外面的街道", "一只猫", "zh", "of another length"),
        ("เด็กกำลังเล่น", "มีเด็กเล่นอยู่", "th", ""),
    ],
)
def test_objections(text: str, rewritten: str, lang: str, expected: str) -> None:
    assert objection(text, rewritten, languages.get(lang)) == expected


def test_a_real_model_twice_gives_the_same_bytes(folder: Path) -> None:
    samples = [a_sample(str(number), Caption(f"a red cat number {number}", "en", "alt")) for number in range(3)]
    once, _ = run(samples, loaded(folder), n=2, batch_size=2)
    twice, _ = run(samples, loaded(folder), n=2, batch_size=3)
    assert [each.members for each in once] == [each.members for each in twice]
    again, _ = run(once, loaded(folder), n=2)
    assert [each.members for each in again] == [each.members for each in once]


# --- eda ---


def edited(code: str, text: str, count: int = 60, table: dict[str, list[str]] | None = None) -> Counter[str]:
    rewriter = eda.Eda(languages.get(code), (lambda word: table.get(word, ())) if table is not None else None)
    return Counter(rewriter([Ask(text, seed, 0) for seed in range(count)]))


def test_eda_swaps_and_deletes() -> None:
    text = "Two dogs are running on the beach, happily."
    made = edited("en", text)
    words = sorted(text.split())
    swapped = [each for each in made if sorted(each.split()) == words]
    deleted = [each for each in made if len(each.split()) == len(words) - 1]
    assert text not in made
    assert len(swapped) + len(deleted) == len(made)
    assert min(len(swapped), len(deleted)) > 4
    assert edited("en", text) == made


def test_eda_replaces_and_inserts_synonyms_but_no_stop_words() -> None:
    made = edited("en", "The Dog, on a beach", table={"dog": ["hound"], "beach": ["shore"], "the": ["that"]})
    assert {"The Hound, on a beach", "The Dog, on a shore", "The Dog, on a beach hound"} <= set(made)
    assert not any("that" in each.split() for each in made)


def test_eda_leaves_something_to_be_said() -> None:
    assert set(edited("en", "red dog")) == {"dog red"}
    assert set(edited("en", "dog")) == {"dog"}


@pytest.mark.parametrize(
    ("code", "text", "units"),
    [
        ("hi", "काला कुत्ता समुद्र तट पर", ["काला", "कुत्ता", "समुद्र", "तट", "पर"]),
        ("zh", "一只黑狗", ["一", "只", "黑", "狗"]),
        ("th", "ที่นี่", ["ที่", "นี่"]),
        ("xh", "inja emnyama ebaleka elwandle", ["inja", "emnyama", "ebaleka", "elwandle"]),
    ],
)
def test_eda_knows_scripts(code: str, text: str, units: list[str]) -> None:
    assert eda.Eda(languages.get(code), None).words(text) == units
    joint = "" if languages.is_unspaced(languages.get(code).script) else " "
    for made in edited(code, text):
        rest = made.split() if joint else made
        assert all(unit in made for unit in units) or len(rest) < len(text)


def test_stop_words_are_the_languages() -> None:
    assert {"the", "on"} <= eda.stop_words("en")
    assert "para" in eda.stop_words("pt")
    assert "पर" in eda.stop_words("hi")
    assert eda.stop_words("xh") == frozenset()


def test_synonyms_of_your_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.tsv").write_text("Inja\tinjana, inja\n\n")
    known = synonyms(str(tmp_path / "words.tsv"), languages.get("xh"))
    assert known is not None
    assert list(known("inja")) == ["injana"]
    (tmp_path / "bad.tsv").write_text("a\tb\nword synonym\n")
    with pytest.raises(CapivaraError, match="line 2: not WORD"):
        synonyms(str(tmp_path / "bad.tsv"), EN)
    eda.load("", language=languages.get("xh"), setup=Setup(), options=Options())
    assert "no synonyms in Xhosa" in capsys.readouterr().err


@pytest.fixture
def small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of one noun in WordNet's format."""
    entry = "00000100 05 n 03 dog 0 domestic_dog 0 Canis_familiaris(a) 0 000 | a dog\n"
    for kind in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"index.{kind}").write_text("  1 licence\n")
        (tmp_path / f"data.{kind}").write_text(" " * 99 + "\n" + (entry if kind == "noun" else ""))
    (tmp_path / "index.noun").write_text("  1 licence\ndog n 2 1 @ 2 1 00000100 00000200\n")
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    return tmp_path


def test_wordnet(small_wordnet: Path) -> None:
    assert wordnet() == small_wordnet
    known = synonyms("", EN)
    assert known is not None
    assert list(known("dog")) == ["domestic dog", "Canis familiaris"]
    assert list(known("cat")) == []
    assert synonyms("", languages.get("pt")) is None


# --- there and back again ---


def test_back_translation_by_the_toy_translators() -> None:
    options = Options(via="pt", translator="toy")
    rewriter = back_translation.load("", language=EN, setup=Setup("cpu"), options=options)
    text = "a small red square on the grass"
    assert rewriter.by == "rewrite:toy:en-pt-en"
    once, twice = rewriter([Ask(text, 1, 0), Ask(text, 2, 1)])
    assert once == twice != ""


def test_back_translation_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli import plugins

    def load(kind: str, name: str, *, source: str, target: str, setup: Setup) -> Any:
        return lambda texts: [f"{text} {source}>{target}" for text in texts]

    monkeypatch.setattr(plugins, "load", load)
    rewriter = back_translation.load("argos:x", language=EN, setup=Setup("cpu"), options=Options(via="de, fr"))
    assert rewriter.by == "rewrite:argos:en-de+fr-en"
    assert rewriter([Ask("a", 0, number) for number in range(3)]) == ["a en>de de>en", "a en>fr fr>en", "a en>de de>en"]


@pytest.mark.skipif(shutil.which("apertium") is None, reason="apertium is not installed")
def test_back_translation_by_apertium() -> None:
    rewriter = back_translation.load("apertium", language=EN, setup=Setup("cpu"), options=Options(via="ca"))
    (text,) = rewriter([Ask("a black dog runs on the beach", 0, 0)])
    assert "dog" in text and text != "a black dog runs on the beach"


# --- a service ---


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A chat service that shouts the last message, and refuses to speak of bombs."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            heard.append(body)
            last = body["messages"][-1]["content"]
            refused = "bomb" in last
            said = {"error": {"message": "no bombs"}} if refused else {
                "choices": [{"message": {"content": f'"{last.upper()}"\nmore'}}]
            }  # fmt: skip
            data = json.dumps(said).encode()
            self.send_response(400 if refused else 200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", heard
    server.shutdown()


def test_a_service_rewrites(service: tuple[str, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]) -> None:
    url, heard = service
    setup = Setup("cpu", LACLIP, base_url=url)
    rewriter = openai.load("some-model", language=EN, setup=setup, options=Options(shots=2))
    assert rewriter([Ask("a cat", 2**40, 0), Ask("a bomb", 2, 0), Ask("a dog", 3, 0)]) == ["A CAT", "", "A DOG"]
    assert rewriter.by == "rewrite:openai:some-model"
    assert capsys.readouterr().err.count("no bombs") == 1
    asked = next(body for body in heard if body["messages"][-1]["content"] == "a cat")
    assert [turn["role"] for turn in asked["messages"]] == ["system", *["user", "assistant"] * 2, "user"]
    assert (asked["model"], asked["temperature"], asked["top_p"], asked["max_tokens"], asked["seed"]) == (
        "some-model", 0.9, 0.95, 77, 2**40 % 2**31,
    )  # fmt: skip
    with pytest.raises(CapivaraError, match="which model"):
        openai.load("", language=EN, setup=setup, options=Options())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rewriter": "gpt:x"}, "there is no rewriter 'gpt'"),
        ({"lang": "anglais"}, "there is no language"),
        ({"bits": 5}, "--bits 5"),
        ({"rewriter": "back-translation", "via": "klingon"}, "there is no language 'klingon'"),
        ({"rewriter": "back-translation", "translator": "argus"}, "there is no translator 'argus'"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CapivaraError, match=message):
        Options(**options).check()
