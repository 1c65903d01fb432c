"""What the docs name exists: every path, function, class, test and number of lines or packages."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from laws.test_layers import ORDER
from support.made import ROOT

PACKAGE = ROOT / "capivara_cli"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("capivara_cli/", "tests/", "docs/", "benchmarks/", "tools/")
WITHOUT_IMPORT = {"webdataset", "sentencepiece"}
"""The dependencies that the package does not import. README.md says what one is for; argostranslate uses the other."""
IMPORTED_AS = {"open-clip-torch": "open_clip", "pillow": "PIL", "scikit-learn": "sklearn"}
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^([\w./-]*\w\.py)(?:::?([\w.]+))?$")


def wrong(text: str) -> list[str]:
    """What a page names in backquotes that is not there, and figures that are not right."""
    prose = _FENCE.sub("", text)
    found = [span for span in re.findall(r"`([^`\n]+)`", prose) if not _is_right(span)]
    for path, lines in re.findall(r"`([\w./]+\.py)` \(([\d,]+) lines\)", prose):
        if (file := _file(path)) and len(file.read_text("utf-8").splitlines()) != int(lines.replace(",", "")):
            found.append(f"{path} ({lines} lines)")
    for count, what in re.findall(r"\b(\d+) (packages|modules)", prose):
        if int(count) != len(list(_packages() if what == "packages" else _loose_files())):
            found.append(f"{count} {what}")
    return found


def _is_right(span: str) -> bool:
    if python := _PYTHON.match(span):
        file = _file(python[1])
        return file is not None and (not python[2] or python[2] in _names(file))
    if re.fullmatch(r"test_\w+", span):
        return span in _tests()
    if span.startswith(FOLDERS) and re.fullmatch(r"[\w./-]+", span):
        return (ROOT / span).exists()
    if (parts := span.partition("/"))[0] in _packages() and parts[1] and re.fullmatch(r"[\w./-]+", span):
        return (PACKAGE / span).exists() or span.startswith(("shards/", "toy/"))  # people's own folders
    if attribute := re.fullmatch(r"([A-Z]\w+)\.([a-z_]\w*)", span):
        return attribute[1] not in _classes() or attribute[0] in _classes()[attribute[1]]
    return True


def _file(path: str) -> Path | None:
    """The file of a path from the root or from the package."""
    return next((base / path for base in (ROOT, PACKAGE) if (base / path).is_file()), None)


def _packages() -> Iterator[str]:
    return (path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def _loose_files() -> Iterator[Path]:
    return (path for path in PACKAGE.glob("*.py") if path.name != "__init__.py")


@functools.cache
def _names(file: Path) -> frozenset[str]:
    """Functions, classes, constants, and ``Class.member`` of a file."""
    return frozenset(_defined(ast.parse(file.read_text("utf-8")), ""))


def _defined(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for each in node.body:
        if isinstance(each, (ast.FunctionDef, ast.ClassDef)):
            yield prefix + each.name
            if isinstance(each, ast.ClassDef):
                yield from _defined(each, f"{prefix}{each.name}.")
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield prefix + each.target.id
        elif isinstance(each, ast.Assign):
            yield from (prefix + target.id for target in each.targets if isinstance(target, ast.Name))
    if isinstance(node, ast.ClassDef):
        for each in ast.walk(node):
            if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
                yield prefix + each.attr


@functools.cache
def _classes() -> dict[str, set[str]]:
    """Each class of the package -> its members as ``Class.member``."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for name in _names(file):
            if "." in name:
                found.setdefault(name.partition(".")[0], set()).add(name)
    return found


@functools.cache
def _tests() -> frozenset[str]:
    return frozenset(name for file in (ROOT / "tests").rglob("test_*.py") for name in (file.stem, *_names(file)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    assert wrong(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "stages/filtering/looker.py", "shards/tar.py:TarEater", "pipeline/chain.py:Chain.under", "tests/nowhere/",
        "test_that_nobody_wrote", "capivara_cli/languages.py", "stages/captoiners/", "Sample.imagee", "clip.py",
    ],
)  # fmt: skip
def test_a_planted_name_is_found(planted: str) -> None:
    assert wrong(f"See `shards/tar.py:TarReader` and `{planted}`.") == [planted]


def test_a_planted_figure_is_found() -> None:
    assert wrong("`shards/tar.py` (150 lines)") == ["shards/tar.py (150 lines)"]
    assert wrong("`capivara_cli` contains 99 packages and 98 modules.") == ["99 packages", "98 modules"]
    assert wrong("```\n`no_such/file.py`\n```\nThe folder `shards/` and `run.json` are people's.") == []


def test_the_page_has_the_layers_in_their_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    layers = next(block for block in _FENCE.findall(text) if "\ncommands " in block)
    lines = [re.split(r"  +", line)[0] for line in layers.splitlines()[1:-1]]
    assert lines == [floor for floor in reversed(ORDER) if not floor.startswith("__")]
    known = {*_packages(), *(path.stem for path in _loose_files() if path.stem != "__main__")}
    assert {name for line in lines for name in line.split()} == known


def test_the_readme_says_what_each_dependency_is_for() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block is not None
    names = [re.split(r"[^\w-]", name)[0] for name in re.findall(r'^    "([^"]+)"', block[1], re.MULTILINE)]
    install = (ROOT / "README.md").read_text("utf-8").partition("## Install")[2].partition("\n## ")[0]
    imported = {
        (name.partition(".")[0])
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    for name in names:
        module = IMPORTED_AS.get(name.replace("_", "-"), name.replace("-", "_"))
        assert re.search(rf"\b{re.escape(name)}\b", install), name
        assert (module in imported) != (name in WITHOUT_IMPORT), name
    assert "webdataset, which capivara itself does not import yet" in " ".join(install.split())
