"""Broken stages and commands of other packages: each is named in one line with its package, and breaks nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reliability.running import Ran, run
from support.made import toy_like
from support.made_plugins import install

from capivara_cli import registry
from capivara_cli.cli.overview import help_page
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import translators
from capivara_cli.pipeline import rejects
from capivara_cli.pipeline.chain import Chain
from capivara_cli.shards.archive import ShardReader

HEAD = '''"""Mine: a stage."""
from dataclasses import dataclass, field
from capivara_cli.plugins import *
from capivara_cli.plugins import Sample, Caption
'''
OPTIONS = "@dataclass(frozen=True)\nclass Options:\n    n: int = opt(1, 'a number')\n"


def stage(body: str, options: str = OPTIONS, name: str = "mine") -> str:
    """The code of a stage with this body, in which ``samples``, ``options`` and ``env`` are given."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{HEAD}{options}@stage({name!r}, Options)\ndef mine(samples, options, env):\n{lines}"


def command(body: str, options: str = OPTIONS) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{HEAD}{options}@command('mine', Options)\ndef mine(inputs, options, env):\n{lines}"


def options(fields: str, decorator: str = "@dataclass(frozen=True)") -> str:
    return f"{decorator}\nclass Options:\n    {fields}\n"


PASS = "yield from samples"
JOURNAL = "for sample, result in map_batched(samples, lambda s: s.key, {}, size=2, env=env{}): yield sample"
STAGES = [
    ("import error", "import not_installed_at_all", "ModuleNotFoundError: No module named 'not_installed_at_all'"),
    ("raises at import", "1 / 0", "ZeroDivisionError: division by zero"),
    ("exits at import", "raise SystemExit(3)", "SystemExit: 3"),
    ("a syntax error", "def load(:", "SyntaxError: "),
    ("no stage in it", HEAD, "has no stage 'mine': write @stage('mine', Options)"),
    ("a function, no stage", "def mine(samples, options, env): yield from samples", "has no stage 'mine'"),
    ("a command", command("return {}"), "leads to the command 'mine'; its group and name"),
    ("another name", stage(PASS, name="other"), "leads to the stage 'other'; its group and name"),
    ("options that are no class", stage(PASS, "Options = {}\n"), "its options are a value of type dict, not a dataclass"),
    ("options that are no dataclass", stage(PASS, "class Options:\n    n = 1\n"), "its options are a value of type type"),
    ("options that can be changed", stage(PASS, options("n: int = opt(1, 'x')", "@dataclass")), "its options can be changed"),
    ("an option without help", stage(PASS, options("n: int = 1")), "--n is not of the form NAME: TYPE = opt(DEFAULT, HELP)"),
    ("an option of every command", stage(PASS, options("seed: int = opt(1, 'x')")), "--seed is an option of every command"),
    ("an option of an odd type", stage(PASS, options("n: list[int] = opt((), 'x')")), "--n is of type list: str, int, float"),
    ("an option of an unknown type", stage(PASS, "from __future__ import annotations\n" + options("n: Nothing = opt(1, 'x')")), "SyntaxError"),
    ("a default of another type", stage(PASS, options("many_n: int = opt('1', 'x')")), "the default of --many-n is a value of type str"),
    ("a check that raises", stage(PASS, OPTIONS + "    def check(self): raise KeyError('n')\n"), "KeyError: 'n'"),
    ("an exception", stage("1 / 0"), "ZeroDivisionError: division by zero"),
    ("an exception later", stage("for sample in samples:\n    yield sample\n    raise LookupError('no model')"), "LookupError: no model"),
    ("an exit", stage("yield next(samples)\nraise SystemExit(0)"), "SystemExit: 0"),
    ("nothing", stage("return None"), "returned None, not samples"),
    ("a text", stage("return 'samples'"), "returned a value of type str, not samples"),
    ("not iterable", stage("return 3"), "returned a value of type int, not samples"),
    ("None among its samples", stage("for sample in samples: yield None"), "yielded None among its samples"),
    ("captions", stage("for sample in samples: yield sample.captions"), "yielded a value of type list among its samples"),
    ("a key that is no text", stage("for sample in samples: yield Sample(3, sample.members)"), "yielded a sample whose key is not a text"),
    ("a member that is no bytes", stage("for sample in samples: yield sample.with_members(txt='a')"), "yielded the sample '00000', whose member 'txt' is a value of type str"),
    ("a sample lost", stage("for sample in samples:\n    if sample.key != '00001': yield sample"), "lost 1 of 3 samples, of which '00001' is the first"),
    ("all samples lost", stage("list(samples)\nreturn iter(())"), "lost 3 of 3 samples, of which '00000' is the first"),
    ("samples not read", stage("yield next(samples)"), "stopped after 1 samples; there are more"),
    ("a sample twice", stage("for sample in samples:\n    yield sample\n    yield sample"), "yielded the sample '00000', which it was not given or has yielded before"),
    ("another key", stage("for sample in samples: yield Sample('x' + sample.key, sample.members)"), "yielded the sample 'x00000', which it was not given"),
    ("a sample yielded and dropped", stage("for sample in samples:\n    yield sample\n    env.drop(sample, 'x')"), "dropped the sample '00000', which it was not given or has dropped before"),
    ("a drop of no sample", stage("for sample in samples: env.drop(sample.key, 'x')\nyield from ()"), "dropped a value of type str, which it was not given"),
    ("another image", stage("for sample in samples: yield sample.with_members(jpg=b'other')"), "changed the image of the sample '00000'"),
    ("no image", stage("for sample in samples: yield Sample(sample.key, {'json': sample.members['json']})"), "changed the image of the sample '00000'"),
    ("captions that are no texts", stage("for sample in samples: yield sample.with_captions([Caption(3, 'en', 'x')])"), "changed the sample '00000' so that json \"captions\" is not a list of"),
    ("json that is none", stage("for sample in samples: yield sample.with_members(json=b'{')"), "changed the sample '00000' so that json cannot be parsed"),
    ("too few results", stage(JOURNAL.format("lambda keys: keys[1:]", "")), "RuntimeError: mine: 1 results for 2 samples"),
    ("results that are no JSON", stage(JOURNAL.format("lambda keys: [{1} for _ in keys]", ", keep=True")), "TypeError: Object of type set is not JSON serializable"),
    ("an exception in a thread", stage("for sample, _ in map_batched(samples, lambda s: s.nothing, list, size=2, env=env): yield sample"), "AttributeError: 'Sample' object has no attribute 'nothing'"),
    ("a missing file of its own", stage("yield next(samples)\nopen('/no/such/file')"), "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"),
]  # fmt: skip
COMMANDS = [
    ("import error", "import not_installed_at_all", "ModuleNotFoundError: No module named 'not_installed_at_all'"),
    ("no command in it", HEAD, "has no command 'mine': write @command('mine', Options)"),
    ("a stage", stage(PASS), "leads to the stage 'mine'; its group and name"),
    ("an option of every command", command("return {}", options("out: str = opt('', 'x')")), "--out is an option of every command"),
    ("an exception", command("raise KeyError('x')"), "KeyError: 'x'"),
    ("an exit", command("raise SystemExit(0)"), "SystemExit: 0"),
    ("nothing", command("pass"), "returned None, not a dictionary"),
    ("no JSON", command("return {'n': {1}}"), "its result cannot be written as JSON: Object of type set"),
    ("counts that are none", command("return {'read': '3'}"), "'read' of its result is a value of type str, not a number"),
    ("reasons that are no counts", command("return {'read': 1, 'dropped': {'x': 'y'}}"), "'dropped' of its result has values that are not numbers"),
]  # fmt: skip


@pytest.fixture
def folder(shards: Callable[..., Path], tmp_path: Path) -> Path:
    shards(toy_like(3))
    return tmp_path


def said(ran: Ran) -> list[str]:
    assert "bug in capivara" not in ran.said and "Traceback" not in ran.said
    return [line for line in ran.said.splitlines() if line.startswith("capivara: ")]


@pytest.mark.parametrize(("wrong", "code", "message"), STAGES, ids=[each[0] for each in STAGES])
def test_the_fault_of_a_stage_is_named(
    wrong: str, code: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", code)
    ran = run(["mine", "shards", "--out", "out", "--no-energy"], folder)
    [line] = said(ran)
    assert line.startswith(f"capivara: stage mine (package 0.1.0): {message}")
    assert ran.code == 1
    assert not list((folder / "out").glob("*.tar"))


BROKEN = ["1 / 0", "def load(:", "raise SystemExit(3)", stage(PASS, options("n: int = 1")), stage("1 / 0")]


@pytest.mark.parametrize("code", BROKEN, ids=["raises", "syntax", "exits", "options", "runs"])
def test_a_broken_stage_breaks_nothing_else(
    code: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", code)
    assert "│ mine  " in help_page() and "│ split  " in help_page()
    assert run(["list", "stages"], folder).said == ""
    assert run(["split", "shards", "--out", "out", "--no-energy"], folder).code == 0


@pytest.mark.parametrize(("wrong", "code", "message"), COMMANDS, ids=[each[0] for each in COMMANDS])
def test_the_fault_of_a_command_is_named(
    wrong: str, code: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "commands", code)
    ran = run(["mine", "shards", "--no-energy"], folder)
    [line] = said(ran)
    assert line.startswith(f"capivara: command mine (package 0.1.0): {message}")
    assert ran.code == 1


@pytest.mark.parametrize(
    "words", [["mine", "--help"], ["mine", "--quiet", "--help"], ["run", "split | mine", "shards"]]
)
def test_a_broken_stage_is_named_wherever_it_is_asked_for(
    words: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", stage(PASS, options("n: int = 1")))
    ran = run(words, folder)
    assert said(ran) == ["capivara: stage mine (package 0.1.0): --n is not of the form NAME: TYPE = opt(DEFAULT, HELP)"]
    assert ran.code == 1


def test_what_its_input_raises_is_no_fault_of_a_stage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", stage(PASS))
    data = (folder / "shards" / "00000.tar").read_bytes()
    (folder / "cut.tar").write_bytes(data[: len(data) // 2])
    ran = run(["mine", "cut.tar", "--out", "out"], folder)
    assert ran.code == 1 and "plugin" not in ran.said and "cut.tar: cut off" in ran.said

    def broken(self: Chain) -> None:
        raise RuntimeError("read 3 samples, wrote 2")

    monkeypatch.setattr(Chain, "close_books", broken)
    assert run(["mine", "shards", "--out", "out2"], folder).code == 70


def test_a_full_disk_is_no_fault_of_a_stage(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(sample: object, reason: str) -> None:
        raise OSError(28, "No space left on device")

    install(tmp_path, monkeypatch, "stages", stage("for sample in samples: env.drop(sample, 'x')\nyield from ()"))
    monkeypatch.setattr(rejects, "_rejecting", lambda writer, step: full)
    ran = run(["mine", "shards", "--out", "out", "--rejects", "rejects"], folder)
    assert (ran.code, said(ran)) == (1, ["capivara: out/00000.tar: No space left on device"])


def test_a_stage_may_drop_samples(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "for sample in samples:\n    if sample.key == '00001': env.drop(sample, 'odd')\n    else: yield sample"
    install(tmp_path, monkeypatch, "stages", stage(body))
    ran = run(["mine", "shards", "--out", "out", "--summary", "summary.json"], folder)
    assert (ran.code, ran.counts) == (0, (3, 2, {"odd": 1}))


def test_samples_with_one_key_may_be_given_twice(
    shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = toy_like(2)
    shards([first, second, first])
    install(tmp_path, monkeypatch, "stages", stage("yield from reversed(list(samples))"))
    ran = run(["mine", "shards", "--out", "out", "--summary", "summary.json"], tmp_path)
    assert (ran.code, ran.counts) == (0, (3, 3, {}))


CORPUS = """
import numpy
def survey(samples, options, env): {survey}
def decide(surveys, options, env): {decide}
def apply(samples, survey, decision, options, env): {apply}
both = CorpusFunctions(lambda options: True, survey, decide, apply)
@stage('mine', Options, corpus=both)
def mine(samples, options, env): yield from samples
"""
SOUND = {
    "survey": "return {'n': numpy.array([len(list(samples))])}",
    "decide": "yield from [{'total': sum(each()['n'] for each in surveys)}] * len(surveys)",
    "apply": "yield from (each.with_document(total=int(decision['total'][0])) for each in samples)",
}
CORPORA = [
    ({}, ""),
    ({"survey": "return next(samples).nothing"}, "AttributeError: 'Sample' object has no attribute 'nothing'"),
    ({"decide": "yield 1 / 0"}, "ZeroDivisionError: division by zero"),
    ({"apply": "yield from list(samples)[1:]"}, "lost 1 of 3 samples, of which '00000' is the first"),
]


@pytest.mark.parametrize(("changed", "message"), CORPORA)
def test_a_stage_that_sees_all_samples_first(
    changed: dict[str, str], message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", HEAD + OPTIONS + CORPUS.format(**{**SOUND, **changed}))
    ran = run(["mine", "shards", "--out", "out"], folder)
    assert said(ran)[-1:] == ([f"capivara: stage mine (package 0.1.0): {message}"] if message else said(ran)[-1:])
    assert ran.code == (1 if message else 0)
    if not message:
        (shard,) = (folder / "out").glob("*.tar")
        with open(shard, "rb") as file:
            assert [sample.document["total"] for sample in ShardReader(file, "x")] == [3, 3, 3]


def test_a_stage_that_begins_a_stream(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "for name in env.inputs:\n    env.tally.read += {}\n    yield Sample(name, {{'jpg': b'x'}})"
    code = stage(body.format(1)).replace("@stage('mine', Options)", "@stage('mine', Options, begins=True)")
    install(tmp_path, monkeypatch, "stages", code)
    ran = run(["mine", "a", "b", "--out", "out", "--summary", "summary.json"], folder)
    assert (ran.code, ran.counts) == (0, (2, 2, {}))
    install(tmp_path, monkeypatch, "stages", code.replace("+= 1", "+= 2"))
    ran = run(["mine", "a", "b", "--out", "out2"], folder)
    line = "capivara: stage mine (package 0.1.0): read 4 samples, wrote 2 and dropped 0"
    assert (ran.code, said(ran)) == (1, [line])


def test_another_version_of_the_package_is_another_plan(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", stage(PASS))
    assert run(["mine", "shards", "--out", "out"], folder).code == 0
    [metadata] = tmp_path.glob("site-*/*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("0.1.0", "0.2.0"))
    ran = run(["mine", "shards", "--out", "out"], folder)
    assert ran.code == 1
    assert "capivara 0.1.0 with package 0.1.0, now it is 0.1.0 with package 0.2.0" in ran.said


CLASHES = [
    ("stages", "split"),
    ("stages", "train"),
    ("translators", "toy"),
    ("importers", "coco"),
    ("commands", "list"),
]


@pytest.mark.parametrize(("kind", "name"), CLASHES)
def test_a_name_of_capivara_is_not_replaced(
    kind: str, name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, kind, "raise ImportError('used')", name=name)
    ran = run(["list", kind], folder)
    assert ran.said.splitlines() == [
        f"warning: {kind[:-1]} {name} (package 0.1.0): capivara has one of this name, which is used instead"
    ]
    assert ran.code == 0
    assert registry.load_command("split").origin is None
    assert "From other packages" not in help_page()
    checked = run(["check", kind[:-1], name, "--no-energy"], folder)
    assert checked.code == 1 and "wrong  name: " in checked.shown.decode()


def test_a_name_of_a_labelled_eval_set_is_not_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "evalsets", "raise ImportError('used')", name="cifar10")
    ran = run(["list", "evalsets"], folder)
    line = "warning: eval set cifar10 (package 0.1.0): capivara has one of this name, which is used instead"
    assert (ran.code, ran.said.splitlines()) == (0, [line])


def test_damaged_metadata_does_not_break_the_overview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, "stages", stage(PASS))
    install(tmp_path, monkeypatch, "stages", "", package="damaged", entry_points="[capivara.stages]\nodd\n")
    page = help_page()
    assert "│ mine  " in page and "│ split  " in page
    assert capsys.readouterr().err.splitlines() == [
        "warning: package damaged 0.1.0: its entry points cannot be read: 'odd' is not of the form NAME = MODULE:OBJECT"
    ]


def test_two_packages_with_one_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "stages", stage(PASS), package="second")
    install(tmp_path, monkeypatch, "stages", stage(PASS), package="first")
    ran = run(["mine", "shards", "--out", "out"], folder)
    assert said(ran) == ["capivara: stage mine (first 0.1.0): second 0.1.0 has one of this name, too"]
    assert ran.code == 1


def test_a_stage_and_a_command_with_one_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "commands", command("return {}"), package="second")
    install(tmp_path, monkeypatch, "stages", stage(PASS), package="first")
    ran = run(["mine", "shards", "--out", "out"], folder)
    assert said(ran) == ["capivara: command mine (second 0.1.0): first 0.1.0 has one of this name, too"]
    assert ran.code == 1


METADATA = [
    ("no module", "[capivara.stages]\nmine = \n", "its entry point '' is not MODULE or MODULE:OBJECT"),
    ("words", "[capivara.stages]\nmine = my stage!\n", "its entry point 'my stage!' is not MODULE or MODULE:OBJECT"),
    ("a missing object", "[capivara.stages]\nmine = json:stage\n", "AttributeError: module 'json' has no attribute 'stage'"),
    ("a module of another kind", "[capivara.stages]\nmine = json\n", "has no stage 'mine'"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "entry_points", "message"), METADATA, ids=[each[0] for each in METADATA])
def test_broken_metadata_is_named(
    wrong: str, entry_points: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", "", entry_points=entry_points)
    ran = run(["mine", "shards", "--out", "out"], folder)
    [line] = said(ran)
    assert line.startswith(f"capivara: stage mine (package 0.1.0): {message}")
    assert ran.code == 1
    assert "mine" in help_page()


def test_metadata_without_a_name_and_version_is_named_by_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", "1 / 0")
    [metadata] = tmp_path.glob("site-*/*.dist-info/METADATA")
    metadata.unlink()
    ran = run(["mine", "shards", "--out", "out"], folder)
    assert said(ran) == ["capivara: stage mine (package 0.1.0): ZeroDivisionError: division by zero"]


PAIRS = [
    ("no list", "None", "returned None, not a list of pairs of languages"),
    ("a number", "3", "returned a value of type int, not a list of pairs of languages"),
    ("codes alone", "['en', 'pt']", "returned a value of type str, not a list of codes"),
    ("three codes", "[('en', 'pt', 'hi')]", "3 codes for 2 of a pair"),
    ("no code", "[('en', None)]", "number 2 of 2 codes is None"),
    ("an unknown code", "[('en', 'xx')]", "its pair en-xx: there is no language 'xx'"),
    ("an exception", "1 / 0", "ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("wrong", "pairs", "message"), PAIRS, ids=[each[0] for each in PAIRS])
def test_wrong_pairs_of_a_translator_are_named(
    wrong: str, pairs: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = "def load(variant, *, source, target, setup): raise ValueError('loaded')\n"
    install(tmp_path, monkeypatch, "translators", f"def pairs(): return {pairs}\n{load}")
    line = f"translator mine (package 0.1.0): {message}"
    ran = run(["translate", "shards", "--translator", "mine", "--out", "out"], folder)
    assert ran.code == 1 and said(ran)[0].startswith(f"capivara: {line}")
    listed = run(["list", "languages"], folder)
    assert listed.code == 0 and listed.said.startswith(f"warning: {line}")
    assert translators.added("en", "pt") == ([], [])


def test_a_name_that_is_unknown_lists_those_of_other_packages(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "stages", stage(PASS))
    with pytest.raises(CapivaraError, match=r"there is no command 'mien'; there are .*mine.* did you mean mine\?"):
        registry.load_command("mien")
