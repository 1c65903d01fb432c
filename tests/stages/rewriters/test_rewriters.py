"""The rewriters: a language model shown exemplars, EDA, there and back again, a service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from support.made import a_sample
from support.warm import CAPIVARA

from capivara_cli import languages, registry
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import scripts
from capivara_cli.models.decoding import SeededSampling
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.models.generation import RewriteRequest as Request
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.rewrite import Candidate, Options, length, objection, rewrite, rewriter_key
from capivara_cli.stages.rewriters import back_translation, eda, llm, openai
from capivara_cli.stages.rewriters._exemplars import OWN, Exemplars, exemplars, read_pairs
from capivara_cli.stages.rewriters._incontext import InContextRewriter, parse, prompt
from capivara_cli.stages.rewriters._stop_words import stop_words
from capivara_cli.stages.rewriters._synonyms import SynonymTable, WordNet, synonyms, wordnet

from support.tiny_models import tiny_gpt2  # isort: skip

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # of a call that the next version refuses

EN = languages.get("en")
LACLIP = Decoding(77, 1, 0.9, 0.95)


# --- exemplars ---


def test_our_exemplars() -> None:
    own = json.loads(OWN.read_text("utf-8"))
    assert {code: {name: len(pairs) for name, pairs in sets.items()} for code, sets in own.items()} == {
        "en": {"plain": 16, "alt": 10, "short": 10},
        "pt": {"plain": 10},
        "es": {"plain": 10},
        "hi": {"plain": 9},
    }
    for code in own:
        language = languages.get(code)
        pairs = [pair for some in exemplars("", language).sets for pair in some]
        assert len({text for pair in pairs for text in pair}) == 2 * len(pairs)
        for before, after in pairs:
            assert objection(Candidate(before, after, language)) == ""
            assert objection(Candidate(after, before, language)) == ""
            assert 3 <= length(after, language) <= 20


def test_each_rewrite_is_shown_the_next_set() -> None:
    sets = exemplars("alt,short", EN).sets
    chosen = exemplars("alt,short", EN)
    for number in range(4):
        drawn = chosen.drawn(Request("a cat", 5, number), 3)
        assert set(drawn) < set(sets[number % 2])
        assert len(drawn) == 3
    assert Exemplars([[("a", "b")]]).drawn(Request("a cat", 5, 0), 3) == [("a", "b")]
    with pytest.raises(CapivaraError, match=r"English set of exemplars 'shorts'; .* did you mean short\?"):
        exemplars("alt,shorts", EN)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[["a b", "c"], ["d", "e"]]'),
        ("a.jsonl", '{"before": "a  b", "after": "c"}\n\n["d", "e"]\n'),
        ("a.tsv", "\ufeffa b\tc\r\n\r\nd\te\r\n"),
        ("pairs", "a b\tc\nd\te"),
    ],
)
def test_exemplars_of_your_own(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert exemplars(str(tmp_path / name), languages.get("xh")).sets == [[("a b", "c"), ("d", "e")]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{}", "not a list"),
        ("a.json", '[["a"]]', "pair 1: not a pair"),
        ("a.json", '[["a", "b"], ["a", 3]]', "pair 2: not a pair"),
        ("a.json", '["ab"]', "pair 1: not a pair"),
        ("a.json", '[["a => b", "c"]]', "pair 1: not a pair of two texts without =>"),
        ("a.json", "[]", "has no pair"),
        ("a.json", "no json", "not JSON"),
        ("a.jsonl", '["a", "b"]\n{"before": "a"}', "line 2: not a pair"),
        ("a.jsonl", '["a", "b"]\n\n{"before', "line 3: not JSON"),
        ("a.tsv", "a\tb\n\nc", "line 3: not a pair"),
        ("a.tsv", "a\tb\tc", "line 1: not a pair"),
    ],
)
def test_exemplars_that_are_none(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CapivaraError, match=f"--exemplars .*{name}: .*{message}"):
        read_pairs(tmp_path / name)


# --- a language model ---


def test_the_prompt_is_laclips() -> None:
    assert prompt([("a cat", "one cat"), ("b", "c")], "a dog") == (
        "write image captions differently,\n\na cat => one cat\n\nb => c\n\na dog =>"
    )
    assert parse(" one dog \n\na => b") == "one dog"
    assert parse(" one dog => two dogs") == "one dog => two dogs"  # for the stage to reject
    assert parse("\nlate") == ""


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


def loaded(folder: Path, decoding: Decoding = LACLIP, **options: Any) -> InContextRewriter:
    return llm.load(str(folder), language=EN, setup=Setup("cpu", decoding), options=Options(**options))


def asked(rewriter: InContextRewriter, *request: Any) -> str:
    return rewriter.tokenizer.decode(rewriter._prompt_ids(Request(*request)))


def test_the_seed_draws_the_exemplars(folder: Path) -> None:
    rewriter = loaded(folder, exemplars="plain")
    assert asked(rewriter, "a  dog\non a mat", 7, 0) == (
        "write image captions differently,\n\n"
        "a farmer leads two cows along a dirt road => "
        "along an unpaved road walk two cows and the farmer who leads them\n\n"
        "a bowl of fruit on a wooden table => fruit fills a bowl that stands on a table made of wood\n\n"
        "a cat sleeping on top of a laptop keyboard => the keyboard of a laptop has become the bed of a cat\n\n"
        "a dog on a mat =>"
    )
    assert asked(rewriter, "a dog", 8, 0).startswith(
        "write image captions differently,\n\n"
        "a street market with many fruit stalls => stall after stall of fruit lines the market street\n\n"
    )
    assert asked(loaded(folder, shots=0), "a dog", 7, 0) == "write image captions differently,\n\na dog =>"


ASKS = [
    Request("a cat", 1, 0),
    Request("a red dog on a sofa", 2, 0),
    Request("a cat", 3, 1),
    Request("two men", 4, 0),
]


def test_a_seed_gives_one_answer_in_any_company(folder: Path) -> None:
    rewriter = loaded(folder)
    together = rewriter(ASKS)
    assert together == [rewriter([request])[0] for request in ASKS]
    assert together[::-1] == rewriter(ASKS[::-1])
    assert together[0] != together[2]
    assert rewriter.by == "rewrite:tiny-lm"
    assert all("\n" not in text for text in together)
    assert rewriter.exemplars == exemplars("", EN).texts  # none of which the stage takes for a rewrite


def test_another_process_gives_the_same(folder: Path) -> None:
    code = (
        "import sys, json; from capivara_cli import languages; from capivara_cli.stages.rewriters import llm\n"
        "from capivara_cli.models.generation import *; from capivara_cli.stages.rewrite import Options\n"
        "requests = [RewriteRequest(*each) for each in json.loads(sys.argv[2])]\n"
        "setup = Setup('cpu', Decoding(77, 1, 0.9, 0.95))\n"
        "made = llm.load(sys.argv[1], language=languages.get('en'), setup=setup, options=Options())(requests)\n"
        "print(json.dumps([made, hash('a cat')]))"
    )
    command = [*CAPIVARA, "-c", code, str(folder), json.dumps(ASKS)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made, hashed = json.loads(said)
    assert made == loaded(folder)(ASKS)
    assert "PYTHONHASHSEED" in os.environ or hashed != hash("a cat")  # the server has a hash seed of its own


def test_a_long_caption_gets_fewer_exemplars_and_at_last_no_answer(folder: Path) -> None:
    rewriter = loaded(folder, exemplars="plain")
    prompts = [rewriter._prompt_ids(Request("word " * count, 5, 0)) for count in (1, 150, 160, 170)]
    assert [rewriter.tokenizer.decode(ids).count("=>") for ids in prompts] == [4, 3, 2, 1]
    assert all(len(ids) <= 1024 - 77 for ids in prompts)
    assert [rewriter.is_too_long("word " * count) for count in (170, 300)] == [False, True]
    assert rewriter([Request("word " * 300, 5, 0)]) == [""]
    with pytest.raises(CapivaraError, match="--max-tokens 1024: rewrite:tiny-lm has 1024 tokens for the prompt"):
        loaded(folder, Decoding(1024, 1, 0.9, 0.95))


def test_out_of_memory_halves_the_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewriter = loaded(folder)
    expected = rewriter(ASKS)
    generate, sizes = rewriter.model.generate, []

    def small(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 1:
            raise RuntimeError("CUDA out of memory")
        return generate(**given)

    monkeypatch.setattr(rewriter.model, "generate", small)
    assert rewriter(ASKS) == expected
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert "out of memory: continuing with 1 at a time" in capsys.readouterr().err


def test_a_real_model_twice_gives_the_same_bytes(folder: Path) -> None:
    samples = [a_sample(str(number), Caption(f"a red cat number {number}", "en", "alt")) for number in range(3)]

    def run(given: Sequence[Any], batch_size: int) -> list[Any]:
        options = Options(rewriter=f"llm:{folder}", n=2, tries=2, batch_size=batch_size)
        env = Env(Settings(device="cpu"), "rewrite", {rewriter_key(options): loaded(folder)})
        return list(rewrite.run(iter(given), options, env))

    once = run(samples, 2)
    assert [each.members for each in run(samples, 3)] == [each.members for each in once]
    assert [each.members for each in run(once, 2)] == [each.members for each in once]


# --- eda ---


def editor(code: str, table: dict[str, list[str]] | None = None) -> eda.Eda:
    return eda.Eda(languages.get(code), None if table is None else SynonymTable(table))


def edited(code: str, text: str, count: int = 60, table: dict[str, list[str]] | None = None) -> Counter[str]:
    return Counter(editor(code, table)([Request(text, seed, 0) for seed in range(count)]))


def test_eda_swaps_and_deletes() -> None:
    made = edited("en", "Two dogs, a red one and a black one, run along the beach.", 400)
    assert {
        "Dogs two, a red one and a black one, run along the beach.",  # the capital and the comma stay
        "Two dogs, a black one and a red one, run along the beach.",
        "Two dogs, a red one and a black one, run along the.",
        "Dogs, a red one and a black one, run along the beach.",
    } <= set(made)
    lengths = Counter(len(text.split()) for text in made.elements())
    assert set(lengths) == {12, 13}
    assert min(lengths.values()) > 100
    assert edited("en", "Two dogs, a red one and a black one, run along the beach.", 400) == made


def test_eda_changes_a_tenth() -> None:
    words = [f"w{number}" for number in range(30)]
    for text in edited("en", " ".join(words)):
        there = text.split()
        if len(there) == 30:
            assert sum(one != other for one, other in zip(there, words, strict=True)) <= 6
        else:
            assert len(there) == 27 and there == [word for word in words if word in there]


def test_eda_replaces_and_inserts_synonyms_but_no_stop_words() -> None:
    table = {"dog": ["hound"], "beach": ["shore"], "the": ["that"]}
    made = edited("en", "The Dog, on a beach.", 300, table)
    assert {
        "The Hound, on a beach.",
        "The Dog, on a shore.",
        "The Dog, on a beach hound.",
        "Hound the Dog, on a beach.",
    } <= set(made)
    assert not any("that" in each.lower().split() for each in made)


def test_eda_leaves_something_to_be_said() -> None:
    assert set(edited("en", "red dog")) == {"dog red"}
    assert set(edited("en", "dog")) == {"dog"}
    assert set(edited("en", "")) == {""}
    assert set(edited("en", "🐕 !!")) == {"🐕 !!"}
    assert all("dog" in each and "mat" in each for each in edited("en", "the dog is on the mat"))
    assert any("man" not in each for each in edited("en", "a man in a small room", 200))  # in lists for web search


@pytest.mark.parametrize(
    ("code", "text", "units"),
    [
        ("hi", "काला कुत्ता समुद्र तट पर।", ["काला", "कुत्ता", "समुद्र", "तट", "पर"]),
        ("zh", "一只黑狗穿T恤3件。", ["一", "只", "黑", "狗", "穿", "T", "恤", "3", "件", ""]),
        ("th", "ที่นี่", ["ที่", "นี่"]),
        ("xh", "inja emnyama ebaleka elwandle", ["inja", "emnyama", "ebaleka", "elwandle"]),
        ("en", 'the "big-eyed" cat\'s (old) mat - here', ["the", "big-eyed", "cat's", "old", "mat", "", "here"]),
    ],
)
def test_eda_knows_scripts(code: str, text: str, units: list[str]) -> None:
    parts = editor(code).units(text)
    assert [unit.word for unit in parts] == units
    joint = "" if scripts.is_unspaced(languages.get(code).script) else " "
    assert joint.join("".join(unit) for unit in parts) == text


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (
            "en",
            "a red ball",
            {"a ball red": "swap", "red a ball": "swap", "ball red a": "swap", "red ball": "delete"},
        ),
        (
            "hi",
            "काला कुत्ता दौड़ा।",
            {"कुत्ता काला दौड़ा।": "swap", "काला दौड़ा।": "delete", "काला कुत्ता।": "delete", "कुत्ता दौड़ा।": "delete"},
        ),
        ("zh", "黑狗跑。", {"狗黑跑。": "swap", "黑跑。": "delete", "黑狗。": "delete", "狗跑。": "delete"}),
        ("xh", "inja enkulu", {"enkulu inja": "swap"}),
    ],
)
def test_eda_by_language(code: str, text: str, expected: dict[str, str]) -> None:
    made = edited(code, text, 200)
    assert expected.keys() <= made.keys()
    assert text not in made


def test_a_capital_stays_at_the_beginning_and_german_nouns_keep_theirs() -> None:
    assert set(edited("pt", "Cães pretos")) == {"Pretos cães"}
    assert set(edited("de", "Hunde bellen")) == {"Bellen Hunde"}
    assert set(edited("en", "NASA launches")) == {"Launches NASA"}


def test_words_of_a_synonyms_file_are_found_without_spaces(tmp_path: Path) -> None:
    (tmp_path / "zh.tsv").write_text("猫\t猫咪\n沙发\t长沙发,沙发椅\n", "utf-8")
    options = Options(rewriter="eda", synonyms=str(tmp_path / "zh.tsv"))
    rewriter = eda.load("", language=languages.get("zh"), setup=Setup(), options=options)
    assert [unit.word for unit in rewriter.units("黑猫在沙发上")] == ["黑", "猫", "在", "沙发", "上"]
    made = set(rewriter([Request("黑猫在沙发上", seed, 0) for seed in range(100)]))
    assert {"黑猫咪在沙发上", "黑猫在长沙发上", "黑猫在沙发椅上"} <= made
    assert {"".join(sorted(each)) for each in made} >= {"".join(sorted("黑猫在沙发上"))}


def test_stop_words_are_the_languages() -> None:
    assert {"the", "on"} <= stop_words(EN)
    assert not {"man", "small", "group", "two", "room"} & stop_words(EN)
    for code, word in {"pt": "para", "es": "los", "fr": "avec", "de": "und", "it": "degli", "hi": "पर"}.items():
        assert word in stop_words(languages.get(code))
    assert "och" in stop_words(languages.get("sv"))
    assert stop_words(languages.get("zh-Hant")) == stop_words(languages.get("zh")) != frozenset()
    assert stop_words(languages.get("xh")) == frozenset()


def test_synonyms_of_your_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.tsv").write_text("Inja\tinjana, inja\n\ninja\tisilwanyana esikhulu\n")
    known = synonyms(str(tmp_path / "words.tsv"), languages.get("xh"))
    assert known is not None
    assert list(known("inja")) == ["injana", "isilwanyana esikhulu"]
    for text in ("a\tb\nword synonym\n", "a\tb\nc\t, ,\n", "a\tb\n\tc\n"):
        (tmp_path / "bad.tsv").write_text(text)
        with pytest.raises(CapivaraError, match="line 2: not WORD"):
            synonyms(str(tmp_path / "bad.tsv"), EN)
    eda.load("", language=languages.get("xh"), setup=Setup(), options=Options())
    assert capsys.readouterr().err.count("no synonyms in Xhosa") == 1


@pytest.fixture
def small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database in WordNet's format, of one word that is a noun, and a verb as often but less well known as one."""
    dog = "00000100 05 n 03 dog 0 domestic_dog 0 Canis_familiaris(a) 0 000 | a dog\n"
    chase = "00000100 38 v 02 dog 0 chase 0 000 | go after\n"
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for kind, entry, met in (("noun", dog, 1), ("verb", chase, 1), ("adj", "", 0), ("adv", "", 0)):
        line = f"dog {kind[0]} 2 1 @ 2 {met} 00000100 00000200\n" if entry else ""
        (folder / f"index.{kind}").write_text("  1 licence\n" + line)
        (folder / f"data.{kind}").write_text(" " * 99 + "\n" + entry)
    monkeypatch.setenv("WNSEARCHDIR", str(folder))
    return folder


def test_wordnet(small_wordnet: Path) -> None:
    assert wordnet() == small_wordnet
    known = synonyms("", EN)
    assert known is not None
    assert list(known("dog")) == ["domestic dog", "Canis familiaris"]
    assert list(known("cat")) == []
    assert synonyms("", languages.get("pt")) is None
    index = small_wordnet / "index.verb"
    index.write_text(index.read_text().replace(" 2 1 0000", " 2 2 0000"))  # met as a verb more often
    assert list(WordNet(small_wordnet)("dog")) == ["chase"]


def test_wordnet_as_nltk_downloads_it(small_wordnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpora = small_wordnet.parent / "nltk" / "corpora"
    corpora.mkdir(parents=True)
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as archive:
        for file in small_wordnet.iterdir():
            archive.write(file, f"wordnet/{file.name}")
    monkeypatch.setenv("WNSEARCHDIR", str(small_wordnet.parent))
    monkeypatch.setenv("NLTK_DATA", str(small_wordnet.parent / "nltk"))
    place = wordnet()
    assert place == corpora / "wordnet.zip"
    assert list(WordNet(place)("dog")) == ["domestic dog", "Canis familiaris"]


# --- there and back again ---


def test_back_translation_by_the_toy_translators() -> None:
    options = Options(via="pt", translator="toy", cache=False)
    rewriter = back_translation.load("", language=EN, setup=Setup("cpu"), options=options)
    text = "a small red square on the grass"
    assert rewriter.by == "rewrite:toy:en-pt-en"
    once, twice = rewriter([Request(text, 1, 0), Request(text, 2, 1)])
    assert once == twice != ""


class Hop:
    """A translator that says which way it went, and remembers how many texts it was given at once."""

    version = ""
    given: list[int]

    def __init__(self, spec: str, way: str) -> None:
        self.by = f"{spec}:{way}"
        self.way = way
        self.given = []

    def __call__(self, texts: list[str]) -> list[str]:
        self.given.append(len(texts))
        return [f"{text} {self.way}" for text in texts]


def test_back_translation_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    hops: dict[str, Hop] = {}

    def load(kind: str, spec: str, *, source: str, target: str, setup: Setup) -> Hop:
        return hops.setdefault(f"{source}-{target}", Hop(spec.partition(":")[0], f"{source}-{target}"))

    monkeypatch.setattr(registry, "load", load)
    options = Options(via="de, fr", cache=False)
    rewriter = back_translation.load("argos:x", language=EN, setup=Setup("cpu"), options=options)
    assert rewriter.by == "rewrite:argos:en-de+fr-en"
    requests = [Request(text, 0, number) for text in ("a", "b") for number in range(3)]
    assert rewriter(requests) == [f"{text} en-{via} {via}-en" for text in ("a", "b") for via in ("de", "fr", "de")]
    assert {way: hop.given for way, hop in hops.items()} == {"en-de": [2], "de-en": [2], "en-fr": [2], "fr-en": [2]}


def test_what_comes_back_unchanged_goes_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(kind: str, spec: str, *, source: str, target: str, setup: Setup) -> Any:
        hop = Hop("x", f"{source}-{target}")
        hop.__class__ = type("Copy", (Hop,), {"__call__": lambda self, texts: texts}) if "de" in hop.way else Hop
        return hop

    monkeypatch.setattr(registry, "load", load)
    options = Options(rewriter="back-translation:apertium", via="de,fr", cache=False)
    rewriter = back_translation.load("x", language=EN, setup=Setup("cpu"), options=options)
    env = Env(Settings(device="cpu"), "rewrite", {rewriter_key(options): rewriter})
    (out,) = rewrite.run(iter([a_sample("k", Caption("a dog", "en", "alt"))]), options, env)
    assert [each.text for each in out.captions] == ["a dog", "a dog en-fr fr-en"]
    assert env.tally.notes == {"rewrites retried": 1}


@pytest.mark.skipif(shutil.which("apertium") is None, reason="apertium is not installed")
def test_back_translation_by_apertium() -> None:
    options = Options(via="ca,gl", cache=False)
    rewriter = back_translation.load("apertium", language=EN, setup=Setup("cpu"), options=options)
    assert rewriter.by == "rewrite:apertium:en-ca+gl-en"
    text = "a black dog runs on the beach"
    for made in rewriter([Request(text, 0, number) for number in range(2)]):
        assert "dog" in made and made != text


# --- a service ---


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A chat service that shouts the last message in quotes, thinks about hats, and refuses to speak of bombs."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            heard.append(body)
            last = body["messages"][-1]["content"]
            refused = "bomb" in last
            content = {"a sign": 'a sign that says "stop"', "a hat": "<think>\nhm\n</think>\n\na cap\n"}.get(
                last, f'"{last.upper()}"\nmore'
            )
            said = {"error": {"message": "no bombs"}} if refused else {"choices": [{"message": {"content": content}}]}
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
    assert rewriter([Request("a cat", 2**40, 0), Request("a bomb", 2, 0), Request("a dog", 3, 0)]) == [
        "A CAT",
        "",
        "A DOG",
    ]
    assert rewriter.by == "rewrite:openai:some-model"
    assert capsys.readouterr().err.count("no bombs") == 1
    asked = next(body for body in heard if body["messages"][-1]["content"] == "a cat")
    assert [turn["role"] for turn in asked["messages"]] == ["system", *["user", "assistant"] * 2, "user"]
    assert (asked["model"], asked["temperature"], asked["top_p"], asked["max_tokens"], asked["seed"]) == (
        "some-model", 0.9, 0.95, 77, 2**40 % 2**31,
    )  # fmt: skip
    assert rewriter([Request("a sign", 1, 0), Request("a hat", 1, 0)]) == [
        'a sign that says "stop"',
        "a cap",
    ]
    assert rewriter.exemplars == exemplars("", EN).texts
    with pytest.raises(CapivaraError, match="no model is named"):
        openai.load("", language=EN, setup=setup, options=Options())
