"""Every bad input: its message, exit code and counts, nothing lost, no incomplete output; and the page agrees."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from reliability.bad_pipes import PIPES
from reliability.case import Case
from reliability.cases import CASES, TOPICS
from reliability.running import Ran, run_case, run_script
from support import variants
from support.made import ROOT

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.inputs import find_shards

DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def make_reliability() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reliability", DOCS / "make_reliability.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def page() -> list[str]:
    text = (DOCS / "reliability.md").read_text("utf-8")
    return text.partition("## Between two runs")[0].splitlines()  # test_recovery.py has the rest


@pytest.mark.parametrize("case", variants.some(CASES, len(CASES) // 3), ids=lambda case: case.wrong)
def test_bad_input_is_reported_and_nothing_is_lost(
    case: Case, tmp_path: Path, make_reliability: ModuleType, page: list[str]
) -> None:
    folder = tmp_path / make_reliability.FOLDER
    folder.mkdir()
    case.make(folder)
    before = files(folder)
    ran = run_case(case, folder)
    assert_as_promised(case, ran)
    assert_untouched(case, before, folder)
    assert_nothing_half_done(case, before, folder, ran)
    if case.code == 0 and case.line.endswith("--out out"):
        assert_again_is_the_same(case, folder)
    assert make_reliability.row(case, ran) in page, "run: python docs/make_reliability.py"


@pytest.mark.parametrize("case", PIPES, ids=lambda case: case.wrong)
def test_what_happens_between_processes(
    case: Case, tmp_path: Path, make_reliability: ModuleType, page: list[str]
) -> None:
    folder = tmp_path / make_reliability.FOLDER
    folder.mkdir()
    case.make(folder)
    before = files(folder)
    ran = run_script(case, folder)
    assert_as_promised(case, ran)
    assert_untouched(case, before, folder)
    assert_nothing_half_done(case, before, folder, ran)
    assert make_reliability.row(case, ran) in page, "run: python docs/make_reliability.py"


def assert_as_promised(case: Case, ran: Ran) -> None:
    assert "Traceback" not in ran.said
    silent = case.says == "^$"
    assert (ran.code, bool(re.search(case.says, ran.said, 0 if silent else re.MULTILINE))) == (case.code, True), (
        ran.said
    )
    if case.code == 0 and case not in PIPES:
        assert ran.counts == (case.read, case.written, case.dropped)
        if case.written is not None and case.read is not None:
            assert case.read == case.written + sum(case.dropped.values())


def assert_untouched(case: Case, before: dict[str, str], folder: Path) -> None:
    """No input has changed, whatever went wrong."""
    after = files(folder)
    kept = {name for name in before if name.partition("/")[0] not in case.changes}
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}


def assert_nothing_half_done(case: Case, before: dict[str, str], folder: Path, ran: Ran) -> None:
    """No temporary file is left, and the folder of a failed command is not taken for finished."""
    assert [name for name in files(folder) if "partial-" in name] == []
    begun = {name for name in ("out", "next") if (folder / name).is_dir()} - {each.partition("/")[0] for each in before}
    for name in begun - {*case.changes}:
        if ran.code:
            with pytest.raises(CapivaraError, match=r"unfinished|no \.tar shards"):
                find_shards([str(folder / name)])


def assert_again_is_the_same(case: Case, folder: Path) -> None:
    """The same command once more has nothing to do, and changes only the costs."""
    first = files(folder, but="footprint.jsonl")
    again = run_case(case, folder)
    assert (again.code, again.summary["read"], again.summary["written"]) == (0, 0, 0)
    assert files(folder, but="footprint.jsonl") == first


def files(folder: Path, but: str = "") -> dict[str, str]:
    """Name -> checksum of every regular file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != (but or None)
    }


def test_the_page_has_every_case_and_no_other(make_reliability: ModuleType, page: list[str]) -> None:
    found: dict[str, list[str]] = {}
    for line in page:
        if line.startswith("## "):
            topic = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| what is wrong", "| ---")):
            found.setdefault(topic, []).append(line.split(" | ")[0].removeprefix("| "))
    known = {topic: [make_reliability.cell(case.wrong) for case in cases] for topic, cases in TOPICS.items()}
    assert found == known | {"Between processes": [make_reliability.cell(case.wrong) for case in PIPES]}
    assert "\n".join(page).startswith(make_reliability.HEAD.format(count=len(CASES) + len(PIPES)))


def test_there_are_cases_of_every_command_and_none_is_there_twice() -> None:
    from capivara_cli.registry import command_names

    told = {case.line.split()[0] for case in CASES}
    assert told - {"captoin"} >= set(command_names())
    assert len({case.wrong for case in CASES}) == len(CASES) >= 70
