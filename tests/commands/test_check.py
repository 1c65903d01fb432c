"""``check``: what is right and wrong with a plugin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reliability.running import run
from support.made import jpeg
from support.made_plugins import install

from capivara_cli.commands.checking import installed
from capivara_cli.languages import identify

TRANSLATOR = """'''Mine: a translator.'''
class Mine:
    by, version = "mine:en-pt", "1"
    def __call__(self, texts):
        return [str(each) + "!" for each in texts]
def pairs(): return [("en", "pt")]
def load(variant, *, source, target, setup): return Mine()
"""
CAPTIONER = """'''Mine: a captioner.'''
class Mine:
    by, batch_size = "mine", 4
    def prompts(self, language): return ["a"]
    def prepare(self, image): return image.getpixel((0, 0))
    def __call__(self, images): return lambda draws: [[f"{image}" for _ in own] for image, own in zip(images, draws)]
def load(variant, *, setup): return Mine()
"""
REWRITER = """'''Mine: a rewriter.'''
class Mine:
    by = "rewrite:mine"
    def __call__(self, requests): return [each.text + "!" for each in requests]
def load(variant, *, language, setup, options): return Mine()
"""
IDENTIFIER = """'''Mine: an identifier.'''
class Mine:
    codes = ["en", "pt"]
    def __call__(self, text): return {"pt": 0.6, "en": 0.4}
def load(variant): return Mine()
"""
EVALSET = """'''Mine: an eval set.'''
import io
from capivara_cli.plugins import EvalSet, Provenance, Sample, Caption
def languages(variant): return ["en", "pt"]
def load(variant, *, lang, data, split, env):
    from PIL import Image
    Image.new("RGB", (8, 8)).save(png := io.BytesIO(), "PNG")
    samples = [Sample(key, {"png": png.getvalue()}).with_captions([Caption("x", lang, "x")]) for key in "ab"]
    return EvalSet("mine", lang, samples, Provenance())
"""
IMPORTER = """'''Mine: an importer.'''
from capivara_cli.plugins import Sample
def recognise(path): return path.suffix == ".mine"
def read(path, options, env):
    for line in path.read_text().split():
        env.tally.read += 1
        yield Sample(line, {"jpg": path.with_suffix(".jpg").read_bytes()})
"""
STAGE = """'''Mine: a stage.'''
from dataclasses import dataclass
from capivara_cli.plugins import opt, stage
@dataclass(frozen=True)
class Options:
    n: int = opt(1, "a number", min=1)
@stage("mine", Options)
def mine(samples, options, env):
    yield from samples
"""
ENGINE = """'''Mine: an engine.'''
class Mine:
    def run(self, job, plan, books, settings): plan.run(job.indices)
def load(variant): return Mine()
"""
COMMAND = STAGE.replace("stage", "command").replace("samples, options, env", "inputs, options, env")
CODES = {
    "captioners": CAPTIONER, "translators": TRANSLATOR, "rewriters": REWRITER, "identifiers": IDENTIFIER,
    "evalsets": EVALSET, "stages": STAGE, "engines": ENGINE, "commands": COMMAND,
}  # fmt: skip

NUMBERS = "import itertools\nNUMBERS = itertools.count()\n"
WRONG = [
    ("translators", "'''Mine: a translator.'''", "", "docstring", "none: its first line is the listing"),
    ("translators", "class Mine", "import not_there\nclass Mine", "import", "ModuleNotFoundError: No module named 'not_there'"),
    ("translators", "class Mine", "import numpy, PIL\nclass Mine", "import alone", "imports numpy, PIL: do so in the function that needs it"),
    ("translators", 'by, version = "mine:en-pt", "1"', 'by, version = "mine", 1', "by", "'by' is 'mine', not of the form NAME:SOURCE-TARGET"),
    ("translators", 'version = "mine:en-pt", "1"', 'version = "mine:en-pt", 1', "version", "'version' is a value of type int, not a text"),
    ("translators", '[("en", "pt")]', '[("en", "xx")]', "pairs", "its pair en-xx: there is no language 'xx'"),
    ("translators", "return Mine()", "return None", "load", "load returned None"),
    ("translators", "setup): return Mine()", "setup): raise KeyError('x')", "load", "KeyError: 'x' ("),
    ("translators", "for each in texts]", "for each in texts or 'a']", "no texts", "1 texts for 0"),
    ("translators", "for each in texts]", "for each in texts[:7]]", "30 texts", "7 texts for 30"),
    ("translators", "for each in texts]", "for each in sorted(texts)]", "order", "'a red square!' alone, "),
    ("translators", 'str(each) + "!"', "self.count()", "asked again", "when it was asked again"),
    ("translators", 'str(each) + "!"', "str(each) or None", "an empty text", "number 1 of 1 texts is None"),
    ("captioners", "batch_size = \"mine\", 4", "batch_size = \"mine\", 0", "batch_size", "'batch_size' is 0, not at least 1"),
    ("captioners", 'return ["a"]', "return []", "prompts", "no prompts for English"),
    ("captioners", "image.getpixel((0, 0))", "image.nothing", "prepare, in threads", "AttributeError: "),
    ("captioners", "return lambda draws:", "return None #", "1 image", "returned None, not a function"),
    ("captioners", "zip(images, draws)]", "zip(images[:3], draws)]", "5 images", "3 lists of texts for 5 images"),
    ("captioners", 'f"{image}"', 'f"{len(images)}"', "order", "among others"),
    ("rewriters", '"rewrite:mine"', '"mine"', "by", "which does not begin with rewrite:"),
    ("rewriters", "for each in requests]", "for each in requests[:1]]", "30 requests", "1 texts for 30"),
    ("rewriters", 'each.text + "!"', "str(len(requests))", "order", "among others"),
    ("identifiers", '"en": 0.4', '"en": 0.9', "an empty text", "the likeliest code is not the first"),
    ("identifiers", '"en": 0.4', '"en": 0.5', "an empty text", "the probabilities add up to more than 1"),
    ("identifiers", '"en": 0.4', '"fr": 0.4', "an empty text", "'fr' is not among its codes"),
    ("identifiers", '"en": 0.4', '"en": None', "an empty text", "the probability of 'en' is None"),
    ("identifiers", '["en", "pt"]', "3", "codes", "TypeError: 'int' object is not iterable"),
    ("evalsets", 'return ["en", "pt"]', "return []", "languages", "no languages"),
    ("evalsets", 'return ["en", "pt"]', "return ['en', 'xx']", "languages", "there is no language 'xx'"),
    ("evalsets", 'for key in "ab"]', 'for key in ""]', "samples in en", "no samples"),
    ("evalsets", 'for key in "ab"]', "for key in lang]", "samples in pt", "other images than in en, or in another order"),
    ("evalsets", "png.getvalue()", "b'x'", "samples in en", "sample 'a': "),
    ("evalsets", '.with_captions([Caption("x", lang, "x")])', "", "samples in en", "has neither a caption in en nor a class"),
    ("stages", "yield from samples", "yield from list(samples)[1:]", "8 samples", "lost 1 of 8 samples"),
    ("stages", "yield from samples", "for each in samples: yield each.with_members(n=str(id(object())).encode() + env.extra())", "8 samples", "AttributeError: 'Env' object has no attribute 'extra'"),
    ("stages", "yield from samples", "yield next(samples)", "8 samples", "stopped after 1 samples"),
    ("stages", "yield from samples", "for each in samples: each.captions; yield each", "a damaged sample", "BadSample: json cannot be parsed"),
    ("stages", 'opt(1, "a number", min=1)', "1", "options", "--n is not of the form"),
    ("commands", 'opt(1, "a number", min=1)', "1", "options", "--n is not of the form"),
    ("engines", "plan.run(job.indices)", "pass", "2 shards", ""),
    ("engines", "def run(", "def start(", "run", "'Mine' object has no attribute 'run'"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_loaded() -> None:
    """Each test has another plugin of the same name."""
    identify.load.cache_clear()
    identify.supported_codes.cache_clear()


@pytest.mark.parametrize("kind", CODES)
def test_a_sound_plugin(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, kind, CODES[kind])
    ran = run(["check", kind, "mine", "--no-energy"], tmp_path)
    assert ran.code == 0, ran.shown.decode()
    assert "wrong" not in ran.shown.decode()


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "point", "found"), WRONG, ids=[f"{each[0]}-{each[3]}-{each[2][:20]}" for each in WRONG]
)
def test_what_is_wrong(
    kind: str, right: str, wrong: str, point: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CODES[kind].count(right) >= 1
    code = CODES[kind].replace(right, wrong)
    code = code.replace("self.count()", "str(next(NUMBERS))").replace("class Mine", f"{NUMBERS}class Mine", 1)
    install(tmp_path, monkeypatch, kind, code)
    if point != "import alone":  # which starts a process
        monkeypatch.setattr(installed, "ASKED_EARLY", ())
    ran = run(["check", kind, "mine", "--json", "--no-energy"], tmp_path)
    assert ran.code == 1
    assert "bug in capivara" not in ran.said and "Traceback" not in ran.said
    points = {each["point"]: each for each in json.loads(ran.shown)["points"]}
    assert points[point]["right"] is False
    assert found in points[point]["found"]
    wrong_points = sum(each["right"] is False for each in points.values())
    assert f"mine (package 0.1.0): {wrong_points} of {len(points)} points are wrong" in ran.said


@pytest.mark.parametrize("words", [["--from", "eng", "--lang", "pt_BR"], ["--from", "English", "--lang", "Português"]])
def test_languages_by_any_name(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "translators", TRANSLATOR.replace("def pairs", "def no_pairs"))
    ran = run(["check", "translator", "mine", *words, "--no-energy"], tmp_path)
    assert "ok     load: en to pt" in ran.shown.decode().splitlines()


def test_an_importer_on_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mine").write_text("one two one")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    install(tmp_path, monkeypatch, "importers", IMPORTER)
    ran = run(["check", "importer", "mine", "--example", "a.mine", "--no-energy"], tmp_path)
    assert (ran.code, ran.shown.decode().splitlines()[-1]) == (
        1,
        "wrong  samples: the key 'one' is not that of one sample",
    )
    (tmp_path / "a.jpg").write_bytes(b"no image")
    ran = run(["check", "importer", "mine", "--example", "a.mine", "--no-energy"], tmp_path)
    assert "wrong  samples: no samples; dropped: " in ran.shown.decode()
    (tmp_path / "a.other").write_text("one")
    ran = run(["check", "importer", "mine", "--example", "a.other", "--no-energy"], tmp_path)
    assert "wrong  recognise: the example: does not recognise a.other" in ran.shown.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["translator", "toy"],
        ["importer", "toy"],
        ["evalset", "toy:8"],
        ["stage", "split"],
        ["command", "show"],
        ["identifier", "py3langid"],
    ],
)
def test_plugins_of_capivara_are_sound(words: list[str], tmp_path: Path) -> None:
    ran = run(["check", *words, "--no-energy"], tmp_path)
    assert ran.code == 0, ran.shown.decode()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["translator"], 2, "check needs a kind and a name"),
        (["transaltor", "mine"], 2, "did you mean translator?"),
        (["translator", "mine"], 1, "there is no translator 'mine'"),
    ],
)
def test_wrong_words(words: list[str], code: int, message: str, tmp_path: Path) -> None:
    ran = run(["check", *words], tmp_path)
    assert ran.code == code and message in ran.said
