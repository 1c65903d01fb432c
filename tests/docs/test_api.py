"""docs/api.md, the types of keywords, the examples in docstrings and the notebook are true."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from support.made import ROOT, jpeg, shard_bytes, toy_like

import capivara_cli as capivara
from capivara_cli.shards.sample import Caption


@pytest.fixture(scope="module")
def maker() -> Any:
    """The script docs/make_api.py."""
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the examples name: ``shards``, and ``ready`` with Portuguese captions."""
    samples = toy_like(6)
    (tmp_path / "shards").mkdir()
    (tmp_path / "ready").mkdir()
    for number in range(2):
        (tmp_path / "shards" / f"{number:05d}.tar").write_bytes(shard_bytes(samples[3 * number : 3 * number + 3]))
    translated = [each.with_captions([*each.captions, Caption("um quadrado", "pt", "me")]) for each in samples]
    (tmp_path / "ready" / "00000.tar").write_bytes(shard_bytes(translated))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_and_the_types_of_keywords_are_up_to_date(maker: Any) -> None:
    assert maker.page() == (ROOT / "docs" / "api.md").read_text("utf-8"), "run: python docs/make_api.py"
    assert maker.types() == maker.TYPES.read_text("utf-8"), "run: python docs/make_api.py"


def test_the_page_has_every_public_name(maker: Any) -> None:
    assert sorted(maker.ORDER) == sorted(capivara._LIBRARY)
    for name in maker.ORDER:
        assert getattr(capivara, name).__doc__, name


def test_the_examples_of_docstrings_run(maker: Any, here: Path) -> None:
    """In the order of the page, in one folder; later examples may use the names of earlier ones."""
    names: dict[str, Any] = {name: getattr(capivara, name) for name in maker.ORDER}
    names |= {"capivara": capivara, "Path": Path, "image": jpeg()}
    runner, finder, ran = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=True), 0
    for name in maker.ORDER:
        found = getattr(capivara, name)
        for test in sorted(finder.find(found, name, globs={}), key=lambda test: test.lineno or 0):
            test.globs = names  # doctest would copy it
            result = runner.run(test, clear_globs=False)
            assert result.failed == 0, test.name
            ran += result.attempted
    assert ran >= 30


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Cell by cell, as Jupyter would: the value of a last expression is shown."""
    monkeypatch.chdir(tmp_path)
    document = json.loads((ROOT / "docs" / "notebooks" / "library.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in document["cells"] if cell["cell_type"] == "code")
    space: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in cells:
        body = ast.parse(cell)
        last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
        exec(compile(body, "notebook", "exec"), space)
        if isinstance(last, ast.Expr):
            shown.append(repr(eval(compile(ast.Expression(last.value), "notebook", "eval"), space)))
    out, err = capsys.readouterr()
    assert shown[0] == "(<1 shard of shards>, 60)"
    assert "(60, " in "".join(shown), "the counts of split"
    assert "['pack', 'dedupe']" in shown
    assert "retrieval, recall in percent" in out
    assert "there is no translator 'argus'" in out
    assert out.rstrip().endswith("Wh")
    assert err == "", "quiet by default"
