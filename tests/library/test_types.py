"""The types of the library, as a program outside sees them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mypy import api
from support.made import ROOT

import capivara_cli as capivara

PROGRAM = """
from collections.abc import Iterator

import capivara_cli as capivara


def loud(samples: capivara.Shards) -> Iterator[capivara.Sample]:
    for sample in samples:
        yield sample.with_captions(capivara.Caption(each.text.upper(), each.lang, "me") for each in sample.captions)


shards = capivara.read("shards")
count: int = len(shards)
part: capivara.Shards = shards[0:2]
picture = next(iter(shards)).image
pt = capivara.translate(shards, lang="pt", translator="toy")
capivara.write(pt, "out", overwrite=True)
total: int = pt.tally.dropped.total()
best = capivara.filter(capivara.caption(loud(shards), captioner="toy", n=2), model="toy", top_k=3, min_score=0)
distinct = capivara.dedupe(best, images="phash", against=["toy", "heldout"])
model = capivara.load("runs/pt")
scores = model.embed_texts(["um cachorro"]) @ model.embed_images([picture, "photo.jpg"]).T
run = capivara.train("ready", lang="pt", model="toy", steps=20)
table: str = run.evaluate("heldout", lang=["pt", "en"]).table
found: str = capivara.search("um cachorro", shards, model=run, k=3)[0].captions[0].text
dataset = capivara.webdataset("shards")
try:
    capivara.adapt("photos", lang="pt", eval=["heldout"], steps=None)
except capivara.CapivaraError as error:
    hint: str = error.hint
capivara.translate(shards, langs="pt")  # wrong: call-arg
capivara.filter(shards, select="best")  # wrong: arg-type
capivara.caption(shards, n="2")  # wrong: arg-type
capivara.train("ready", lang=3)  # wrong: arg-type
number: int = run.evaluate("toy").table  # wrong: assignment
shards[0]  # wrong: index
capivara.nothing  # wrong: attr-defined
"""
INTERFACE = (
    "capivara_cli", "capivara_cli.library.*", "capivara_cli.errors", "capivara_cli.shards",
    "capivara_cli.shards.sample", "capivara_cli.shards.history", "capivara_cli.pipeline", "capivara_cli.pipeline.env",
)  # fmt: skip
"""The modules that programs see. mypy reads only these here: torch and numpy would take a minute."""


def test_mypy_strict_accepts_a_program_and_finds_its_mistakes(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\nfollow_imports = skip\nmypy_path = {ROOT}\n"
        f"[mypy-{','.join(INTERFACE)}]\nfollow_imports = silent\n"
    )
    options = ["--no-error-summary", f"--config-file={tmp_path / 'mypy.ini'}", f"--cache-dir={tmp_path / 'cache'}"]
    report, errors, _ = api.run([*options, str(tmp_path / "program.py")])
    assert errors == ""
    found = {int(line): code for line, code in re.findall(r"program\.py:(\d+): error: .*\[([\w-]+)\]$", report, re.M)}
    lines = PROGRAM.splitlines()
    assert found == {number: line.rpartition("wrong: ")[2] for number, line in enumerate(lines, 1) if "wrong" in line}


def test_the_package_says_that_it_has_types() -> None:
    assert (ROOT / "capivara_cli" / "py.typed").is_file()


def test_type_checkers_and_python_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "capivara_cli" / "__init__.py").read_text("utf-8"))
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    typed = {alias.name: f"{each.module}".removeprefix("capivara_cli.") for each in imports for alias in each.names}
    assert typed == capivara._LIBRARY
    assert all(alias.asname == alias.name for each in imports for alias in each.names), "mypy --strict needs: as NAME"
    assert set(capivara._LIBRARY) <= set(dir(capivara))
    with pytest.raises(AttributeError, match="nothing"):
        capivara.nothing  # type: ignore[attr-defined]  # noqa: B018
