"""Command lines with a broken plugin of another package: it is named with its package, and it breaks nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from reliability.running import Ran, run
from support import variants
from support.made import toy_like
from support.made_plugins import install
from support.reported import a_run

from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.chain import Chain

WHO = "{} mine (package 0.1.0): "


def translator(answer: str, head: str = "", **attributes: str) -> str:
    """The code of a translator that answers with this expression of ``texts``."""
    given = {"by": "'mine:en-pt'", **attributes}
    lines = "".join(f"    {name} = {value}\n" for name, value in given.items() if value)
    return (
        f"{head}\nclass Mine:\n    '''mine'''\n{lines}    def __call__(self, texts):\n        return {answer}\n"
        "def load(variant, *, source, target, setup):\n    return Mine()\n"
    )


def captioner(**changed: str) -> str:
    given = {
        "by": "'mine'", "batch_size": "4", "prompts": "lambda self, language: ['a photo of']",
        "prepare": "lambda self, image: image.size",
        "__call__": "lambda self, images: lambda draws: [['a dog in a park' for _ in each] for each in draws]", **changed,
    }  # fmt: skip
    lines = "".join(f"    {name} = {value}\n" for name, value in given.items() if value)
    return (
        "from capivara_cli.errors import BadSample\ndef fail(text):\n    raise ValueError(text)\n"
        f"class Mine:\n{lines}\ndef load(variant, *, setup):\n    return Mine()\n"
    )


def rewriter(answer: str, **attributes: str) -> str:
    given = {"by": "'rewrite:mine'", **attributes}
    lines = "".join(f"    {name} = {value}\n" for name, value in given.items() if value)
    return (
        f"class Mine:\n    '''mine'''\n{lines}    def __call__(self, requests):\n        return {answer}\n"
        "def load(variant, *, language, setup, options):\n    return Mine()\n"
    )


def importer(read: str, recognise: str = "True") -> str:
    return (
        "from capivara_cli.shards.sample import Sample\ndef fail(text):\n    raise LookupError(text)\n"
        "def count(env, sample):\n    env.tally.read += 1\n    return sample\n"
        f"def recognise(path):\n    return {recognise}\ndef read(path, options, env):\n    return {read}\n"
    )


LOAD = "def load(variant, *, source, target, setup):\n    {}\n"
TRANSLATE = "translate shards --translator mine --lang pt --out out"
CAPTION = "caption shards --captioner mine --n 1 --out out"
REWRITE = "rewrite shards --rewriter mine --out out"
PACK = "pack odd.odd --format mine --out out"

TRANSLATORS = [
    ("a text too few", translator("texts[1:]"), "5 texts for 6"),
    ("a text too many", translator("[*texts, 'x']"), "7 texts for 6"),
    ("None among the texts", translator("[None, *texts[1:]]"), "number 1 of 6 texts is None"),
    ("a number among the texts", translator("[*texts[:5], 3]"), "number 6 of 6 texts is a value of type int"),
    ("bytes among the texts", translator("[each.encode() for each in texts]"), "number 1 of 6 texts is a value of type bytes"),
    ("no list", translator("None"), "returned None, not a list of texts"),
    ("one text", translator("'abcdef'"), "returned a value of type str, not a list of texts"),
    ("a dictionary", translator("{each: each for each in texts}"), "returned a value of type dict, not a list of texts"),
    ("an exception", translator("1 / 0"), "ZeroDivisionError: division by zero"),
    ("an exception while its answer is read", translator("(1 / 0 for each in texts)"), "ZeroDivisionError: division by zero"),
    ("an exit", translator("exit(3)", "from sys import exit"), "SystemExit: 3"),
    ("a broken pipe to its own program", translator("fail()", "def fail(): raise BrokenPipeError('gone')"), "BrokenPipeError: gone"),
    ("no by", translator("texts", by=""), "'Mine' object has no attribute 'by'"),
    ("by is no text", translator("texts", by="7"), "'by' is a value of type int, not a text"),
    ("version is no text", translator("texts", version="1.0"), "'version' is a value of type float, not a text"),
    ("no load", "", "module 'MODULE' has no attribute 'load'"),
    ("load raises", LOAD.format("raise OSError('no licence\\nfile')"), "OSError: no licence file"),
    ("load takes other arguments", "def load(variant):\n    pass\n", "TypeError: load() got an unexpected keyword argument 'source'"),
    ("load returns nothing", LOAD.format("pass"), "load returned None"),
    ("load returns no function", LOAD.format("return type('Mine', (), {'by': 'mine'})()"), "TypeError: 'Mine' object is not callable"),
    ("a module that cannot be imported", "import not_installed_at_all", "ModuleNotFoundError: No module named 'not_installed_at_all'"),
    ("a module with an error", "def load(:", "SyntaxError: "),
]  # fmt: skip
OTHERS = [
    ("captioner", "captioners", CAPTION, captioner(prepare="lambda self, image: fail('no room')"), "ValueError: no room"),
    ("captioner", "captioners", CAPTION, captioner(prompts="lambda self, language: fail('what?')"), "ValueError: what?"),
    ("captioner", "captioners", CAPTION, captioner(prompts="lambda self, language: []"), "no prompts for English"),
    ("captioner", "captioners", CAPTION, captioner(prompts="lambda self, language: [None]"), "number 1 of 1 prompts is None"),
    ("captioner", "captioners", CAPTION, captioner(prompts=""), "'Mine' object has no attribute 'prompts'"),
    ("captioner", "captioners", CAPTION, captioner(batch_size="'8'"), "'batch_size' is a value of type str, not a number"),
    ("captioner", "captioners", CAPTION, captioner(__call__="lambda self, images: None"), "returned None, not a function"),
    ("captioner", "captioners", CAPTION, captioner(__call__="lambda self, images: lambda draws: draws[1:]"), "2 lists of texts for 3 images"),
    ("captioner", "captioners", CAPTION, captioner(__call__="lambda self, images: lambda draws: [[] for _ in draws]"), "0 texts for 1"),
    ("captioner", "captioners", CAPTION, captioner(__call__="lambda self, images: lambda draws: [[None] for _ in draws]"), "number 1 of 1 texts is None"),
    ("captioner", "captioners", CAPTION, captioner(__call__="lambda self, images: lambda draws: fail('later')"), "ValueError: later"),
    ("rewriter", "rewriters", REWRITE, rewriter("[None for _ in requests]"), "number 1 of 6 texts is None"),
    ("rewriter", "rewriters", REWRITE, rewriter("['a', 'b']"), "2 texts for 6"),
    ("rewriter", "rewriters", REWRITE, rewriter("requests[0].nothing"), "AttributeError: 'RewriteRequest' object has no attribute 'nothing'"),
    ("rewriter", "rewriters", REWRITE, rewriter("[]", exemplars="[3]"), "number 1 of 1 exemplars is a value of type int"),
    ("rewriter", "rewriters", REWRITE, rewriter("[]", exemplars="{None}"), "number 1 of 1 exemplars is None"),
    ("rewriter", "rewriters", REWRITE, rewriter("[]", exemplars="3"), "returned a value of type int, not a list of exemplars"),
    ("rewriter", "rewriters", REWRITE, rewriter("[]", is_too_long="lambda self, text: 1 / 0"), "ZeroDivisionError: division by zero"),
    ("rewriter", "rewriters", REWRITE, rewriter("[]", by=""), "'Mine' object has no attribute 'by'"),
    ("importer", "importers", PACK, importer("fail('row 3')"), "LookupError: row 3"),
    ("importer", "importers", PACK, importer("(fail('row 4') for _ in 'ab')"), "LookupError: row 4"),
    ("importer", "importers", PACK, importer("None"), "returned None, not samples"),
    ("importer", "importers", PACK, importer("[None]"), "returned None among its samples"),
    ("importer", "importers", f"{PACK} --no-verify", importer("iter([Sample('a', {'jpg': b''})])"), "counted 0 samples as read, gave 1 and dropped 0"),
    ("importer", "importers", PACK, "", "module 'MODULE' has no attribute 'read'"),
    ("eval set", "evalsets", "eval mine --model toy", "def languages(variant): return ['en']\n", "module 'MODULE' has no attribute 'load'"),
    ("eval set", "evalsets", "eval mine --model toy", "def languages(variant): return None\n", "returned None, not a list of languages"),
    ("eval set", "evalsets", "eval mine --model toy", "def languages(variant): return []\n", "no languages"),
    ("eval set", "evalsets", "eval mine --model toy", "def languages(variant): return ['en']\ndef load(variant, **given): return 3\n", "returned a value of type int, not an EvalSet"),
    ("engine", "engines", "split shards --engine mine --out out", "def load(variant): return 3\n", "'int' object has no attribute 'run'"),
    ("engine", "engines", "split shards --engine mine --out out", "class Mine:\n    def run(self, *given): raise KeyError('queue')\ndef load(variant): return Mine()\n", "KeyError: 'queue'"),
]  # fmt: skip


SET = """
from capivara_cli.evaluation.evalset import EvalSet, Provenance
def languages(variant): return ["en"]
def samples():
    {samples}
def load(variant, *, lang, data, split, env):
    return EvalSet("mine", "en", {given}, Provenance(), classes={classes})
"""
SETS = [
    ("a sample that is none", SET.format(samples="yield 7", given="samples()", classes="()"), "returned a value of type int among its samples"),
    ("an exception while samples are read", SET.format(samples="yield 1 / 0", given="samples()", classes="()"), "ZeroDivisionError: division by zero"),
    ("no samples", SET.format(samples="pass", given="None", classes="()"), "returned None, not samples"),
    ("classes that are no texts", SET.format(samples="pass", given="[]", classes="(1, 2)"), "number 1 of 2 classes is a value of type int"),
    ("no list of classes", SET.format(samples="pass", given="[]", classes="None"), "returned None, not a list of classes"),
]  # fmt: skip
EXPORTERS = [
    ("an exception", "raise KeyError('layer')", "KeyError: 'layer'"),
    ("no line that says how to load it", "(folder / 'model').write_text('')", "write returned a value of type int, not a text"),
    ("nothing", "pass", "write returned None, not a text"),
]  # fmt: skip


@pytest.fixture
def folder(shards: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with three samples in ``shards``, and a file of no known format."""
    shards(toy_like(3))
    (tmp_path / "odd.odd").write_text("odd")
    return tmp_path


def said(ran: Ran) -> list[str]:
    assert "bug in capivara" not in ran.said and "Traceback" not in ran.said
    return [line for line in ran.said.splitlines() if line.startswith("capivara: ")]


@pytest.mark.parametrize(
    ("wrong", "code", "message"), [pytest.param(*each, id=each[0]) for each in variants.some(TRANSLATORS, 10)]
)
def test_the_fault_of_a_translator_is_named(
    wrong: str, code: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install(tmp_path, monkeypatch, "translators", code)
    ran = run(TRANSLATE.split(), folder)
    [line] = said(ran)
    assert ran.code == 1
    assert line.startswith("capivara: " + WHO.format("translator") + message.replace("MODULE", module))


@pytest.mark.parametrize(("kind", "group", "line", "code", "message"), variants.some(OTHERS, 14))
def test_the_fault_of_any_plugin_is_named(
    kind: str, group: str, line: str, code: str, message: str, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    module = install(tmp_path, monkeypatch, group, code)
    ran = run(line.split(), folder)
    assert said(ran) == ["capivara: " + WHO.format(kind) + message.replace("MODULE", module)]
    assert ran.code == 1


LINES = [
    "eval mine --model toy", "dedupe shards --against mine --out out", "eval mine --model toy --dry-run",
    "train shards --lang en --model toy --steps 1 --batch-size 2 --val mine",
]  # fmt: skip
SETS_AND_LINES = [pytest.param(*each, line, id=f"{each[0]}-{line}") for each in SETS for line in LINES]


@pytest.mark.parametrize(("wrong", "code", "message", "line"), variants.some(SETS_AND_LINES, 7))
def test_the_fault_of_an_eval_set_is_named(
    wrong: str, code: str, message: str, line: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "evalsets", code)
    monkeypatch.setenv("PYTHONPATH", str(next(tmp_path.glob("site-*"))), prepend=":")  # for the process of a trial
    ran = run(line.split(), folder)
    assert said(ran) == ["capivara: " + WHO.format("eval set") + message]
    assert ran.code == 1


@pytest.mark.parametrize(("wrong", "body", "message"), EXPORTERS, ids=[each[0] for each in EXPORTERS])
def test_the_fault_of_an_exporter_is_named_and_leaves_no_folder(
    wrong: str, body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"def write(run, folder, final):\n    return {body}\n" if "(" in body and "raise" not in body else ""
    install(tmp_path, monkeypatch, "exporters", code or f"def write(run, folder, final):\n    {body}\n")
    monkeypatch.setattr(RunDir, "check_adapter", lambda self: None)
    a_run(tmp_path / "runs" / "pt")
    ran = run(["export", "runs/pt", "--format", "mine", "--out", "exported"], tmp_path)
    assert said(ran) == ["capivara: " + WHO.format("exporter") + message]
    assert ran.code == 1
    assert not [path for path in tmp_path.iterdir() if "exported" in path.name and path.is_dir()]


def test_the_place_of_an_exception_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = install(tmp_path, monkeypatch, "translators", translator("1 / 0"))
    lines = run(TRANSLATE.split(), folder).said.splitlines()
    [place] = [line for line in lines if "fault of the plugin" in line]
    assert place.startswith("  this is a fault of the plugin, not of capivara: ")
    assert place.endswith(f"{module}.py, line 6, in __call__")


def test_an_entry_point_to_a_missing_module(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "translators", "", leads_to="gone_for_good")
    ran = run(TRANSLATE.split(), folder)
    assert said(ran) == [
        "capivara: translator mine (package 0.1.0): ModuleNotFoundError: No module named 'gone_for_good'"
    ]
    assert ran.code == 1


WAYS = [TRANSLATE, f"{TRANSLATE} --back-translate", f"{TRANSLATE} --from auto"]


@pytest.mark.parametrize(
    ("words", "workers"), variants.some([(words, workers) for workers in ("", " --workers 2") for words in WAYS], 3)
)
def test_faults_are_named_whatever_the_options(
    words: str, workers: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "translators", translator("texts[1:]"))
    if workers:
        monkeypatch.setenv("PYTHONPATH", str(next(tmp_path.glob("site-*"))), prepend=":")
    ran = run(f"{words}{workers}".split(), folder)
    assert said(ran) == ["capivara: translator mine (package 0.1.0): 5 texts for 6"]
    assert ran.code == 1


@pytest.mark.parametrize(
    "line",
    [
        "rewrite shards --rewriter back-translation:mine --via pt --out out",
        "rewrite shards --rewriter back-translation --translator mine --via pt,hi --out out",
        "eval toy --model toy --lang fr --translator mine",
        "eval toy --model toy --lang pt --translate-queries --translator mine",
        "translate shards --translator mine --lang pt --out out --dry-run",
    ],
)
def test_the_fault_of_a_translator_is_named_wherever_it_is_used(
    line: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "translators", translator("texts[:-1] + [None]"))
    monkeypatch.setenv("PYTHONPATH", str(next(tmp_path.glob("site-*"))), prepend=":")  # for the process of a trial
    ran = run(line.split(), folder)
    [message] = said(ran)
    assert re.fullmatch(r"capivara: translator mine \(package 0\.1\.0\): number (\d+) of \1 texts is None", message)
    assert ran.code == 1


@pytest.mark.parametrize(
    "words", [["adapt", "shards", "--lang", "pt", "--model", "toy", "--runs", "runs", "--name", "x"]]
)
def test_a_broken_translator_is_known_before_adapt_begins(
    words: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "translators", "raise ImportError('no driver')")
    ran = run([*words, "--captioner", "toy", "--translator", "mine"], folder)
    assert said(ran) == ["capivara: translator mine (package 0.1.0): ImportError: no driver"]
    assert ran.code == 1
    assert not (folder / "runs").exists()


def test_errors_of_capivara_pass_as_they_are(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raises = "from capivara_cli.errors import CapivaraError\ndef fail(): raise CapivaraError('mine: no pair', 'try en')"
    install(tmp_path, monkeypatch, "translators", translator("fail()", raises))
    ran = run(TRANSLATE.split(), folder)
    assert ran.said.splitlines()[-2:] == ["capivara: mine: no pair", "  try en"]
    assert ran.code == 1


def test_an_interruption_in_a_plugin_is_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "translators", translator("fail()", "def fail(): raise KeyboardInterrupt"))
    ran = run(TRANSLATE.split(), folder)
    assert "capivara: interrupted" in ran.said
    assert ran.code == 130


def test_a_captioner_may_drop_one_image(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = captioner(prepare="lambda self, image: drop(image)")
    drop = "def drop(image):\n    if image.size[0] == 65:\n        raise BadSample('too wide')\n    return image\n"
    install(tmp_path, monkeypatch, "captioners", code.replace("class Mine", drop + "class Mine"))
    ran = run([*CAPTION.split(), "--summary", "summary.json"], folder)
    assert (ran.code, ran.counts) == (0, (3, 2, {"too wide": 1}))


def test_a_plugin_that_works_is_used_as_before(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "translators", translator("('o ' + each for each in texts)", guarded="False"))
    ran = run([*TRANSLATE.split(), "--summary", "summary.json"], folder)
    assert (ran.code, ran.counts) == (0, (3, 3, {}))
    shutil.rmtree(folder / "out")
    install(tmp_path, monkeypatch, "captioners", captioner())
    ran = run([*CAPTION.split(), "--summary", "summary.json"], folder)
    assert (ran.code, ran.counts) == (0, (3, 3, {}))


def test_a_bug_in_a_plugin_of_capivara_is_a_bug(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli.stages.translators import identity

    class Broken:
        by = "identity:en-pt"

        def __call__(self, texts: list[str]) -> list[str]:
            return texts[1:]

    monkeypatch.setattr(identity, "load", lambda variant, **given: Broken())
    ran = run(["translate", "shards", "--translator", "identity", "--lang", "pt", "--out", "out"], folder)
    assert ran.code == 70
    assert "5 texts for 6" in ran.said


BROKEN = {
    "importers": "raise ImportError('no driver')",
    "translators": "raise ImportError('no driver')",
    "evalsets": "raise ImportError('no driver')",
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_list_names_a_broken_plugin_and_shows_the_others(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, kind, BROKEN[kind])
    ran = run(["list", "languages" if kind == "translators" else kind], folder)
    assert ran.code == 0
    assert said(ran) == []
    asked = {"evalsets": "eval set", "translators": "translator"}
    expected = [f"warning: {asked[kind]} mine (package 0.1.0): ImportError: no driver"] if kind in asked else []
    assert ran.said.splitlines() == expected
    assert len(ran.shown.splitlines()) > 8


@pytest.mark.parametrize(
    ("recognise", "message"),
    [("fail('no driver')", "LookupError: no driver"), ("path.nothing", "no attribute 'nothing'")],
)
def test_a_broken_importer_does_not_break_the_detection_of_a_format(
    recognise: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "importers", importer("[]", recognise))
    reads = importer("(count(env, each) for each in [Sample('a', {'jpg': b''})])")
    install(tmp_path, monkeypatch, "importers", reads, name="sound", package="another")
    ran = run(["pack", "odd.odd", "--no-verify", "--out", "out", "--summary", "summary.json"], folder)
    assert (ran.code, ran.counts[1]) == (0, 1), ran.said
    warnings = [line for line in ran.said.splitlines() if line.startswith("warning: importer mine (package 0.1.0): ")]
    assert len(warnings) == 1 and message in warnings[0]


def test_a_package_with_damaged_entry_points_does_not_hide_the_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "translators", translator("texts"))
    install(tmp_path, monkeypatch, "translators", "", name="other", package="damaged")
    [damaged] = tmp_path.glob("site-*/damaged-*")
    (damaged / "entry_points.txt").write_text("[capivara.translators]\nno equals sign\n")
    ran = run(["list", "translators"], folder)
    assert ran.code == 0
    assert said(ran) == []
    assert any(line.startswith("mine ") for line in ran.shown.decode().splitlines())
    [line] = ran.said.splitlines()
    assert line.startswith("warning: package damaged 0.1.0: its entry points cannot be read")


def test_an_engine_passes_on_what_the_plan_raises(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "class Mine:\n    def run(self, job, plan, books, settings): plan.run(job.indices)\ndef load(variant): return Mine()\n"
    install(tmp_path, monkeypatch, "engines", code)

    def broken(self: Chain) -> None:
        raise RuntimeError("read 3 samples, wrote 2")

    monkeypatch.setattr(Chain, "close_books", broken)
    ran = run(["split", "shards", "--engine", "mine", "--out", "out"], folder)
    assert ran.code == 70
    assert "bug in capivara" in ran.said
