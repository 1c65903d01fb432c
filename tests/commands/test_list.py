"""``list``: tables of what there is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from capivara_cli import console, registry
from capivara_cli.commands.list import KINDS, Options
from capivara_cli.commands.list import list as list_command
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings


def run(*kinds: str, json: bool = False) -> dict[str, list[dict[str, object]]]:
    env = Env(Settings(), "list")
    env.json = json
    return list_command.run([*kinds], Options(), env)


def test_importers_with_the_first_line_of_their_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run("importers")["importers"]
    assert {row["name"] for row in rows} >= {
        "capivara-original", "coco", "folder", "img2dataset", "karpathy", "parquet", "table",
    }  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "what", "it", "is"]
    assert any(line.startswith("karpathy ") and "Karpathy's dataset_*.json" in line for line in lines)


def test_languages_with_the_codes_of_the_translators() -> None:
    rows = {row["code"]: row for row in run("languages")["languages"]}
    hindi = {name: rows["hi"][name] for name in ("name", "script", "argos", "flores")}
    assert hindi == {"name": "Hindi", "script": "Deva", "argos": "hi", "flores": "hin_Deva"}
    assert len(rows) > 200


def test_installed_pairs_of_argos_and_apertium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packages" / "translate-en_pt"
    (package / "model").mkdir(parents=True)
    (package / "metadata.json").write_text('{"from_code": "en", "to_code": "pt"}')
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(package.parent))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apertium"
    program.write_text("#!/bin/sh\nprintf 'eng-cat\\neng-cat_valencia\\noci_aran-cat\\nspa-cat\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    installed = {row["code"]: row["installed"] for row in run("languages")["languages"] if row["installed"]}
    assert installed == {"pt": "argos from en", "ca": "apertium from en, apertium from es"}


def _entry(load: Callable[[], object]) -> SimpleNamespace:
    return SimpleNamespace(load=load, module="mine", package="", is_reference=True, docstring=lambda: "")


def test_a_broken_translator_of_another_package_is_named_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> None:
        raise RuntimeError("no licence\nfile")

    def installed() -> None:
        raise AttributeError("pairs")

    def entry_points(kind: str) -> dict[str, list[object]]:
        working = _entry(lambda: SimpleNamespace(installed=installed))
        return {"broken": [_entry(load)], "other": [working]}

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert len(run("languages")["languages"]) > 200
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "warning: translator broken: RuntimeError: no licence file",
        "warning: translator other: AttributeError: pairs",
    ]


def _raises_later() -> Iterator[tuple[str, str]]:
    yield ("en", "pt")
    raise OSError("no index")


@pytest.mark.parametrize(
    "installed", [_raises_later, lambda: None, lambda: [("en", "pt", "x")], lambda: ["english"], lambda: [("en", None)]]
)
def test_wrong_pairs_of_another_package_are_a_warning(
    installed: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _entry(lambda: SimpleNamespace(installed=installed))
    monkeypatch.setattr(registry, "entry_points", lambda kind: {"other": [other]})
    rows = run("languages")["languages"]
    assert len(rows) > 200 and not any("other" in str(row["installed"]) for row in rows)
    assert capsys.readouterr().err.startswith("warning: translator other: ")


def test_models_are_multilingual_architectures_and_the_forms_accepted() -> None:
    rows = {row["model"]: row for row in run("models")["models"]}
    assert rows["xlm-roberta-base-ViT-B-32"] == {
        "model": "xlm-roberta-base-ViT-B-32", "text": "xlm-roberta-base", "tokens": 77, "image": 224,
    }  # fmt: skip
    assert {"toy", "hf-hub:ORG/NAME", "local-dir:PATH", "nllb-clip-base", "ViT-B-16-SigLIP2"} <= rows.keys()
    assert "ViT-B-32" not in rows and "roberta-ViT-B-32" not in rows


def test_without_a_kind_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert [*run()] == [*KINDS]
    assert "languages: 213, see capivara list languages\n" in capsys.readouterr().out


def test_an_unknown_kind_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        run("language")
    assert caught.value.message.endswith("did you mean languages?")
    assert capsys.readouterr().out == ""


def test_json_prints_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    run("evalsets", json=True)
    assert capsys.readouterr().out == ""


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys; from capivara_cli.commands import show, list\n"
        "from capivara_cli.pipeline.env import Env\nfrom capivara_cli.pipeline.options import Settings\n"
        "list.list.run([], list.Options(), Env(Settings(), 'list'))\n"
        "heavy = {'torch', 'transformers', 'open_clip', 'peft', 'argostranslate', 'numpy', 'PIL', 'ctranslate2'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("words", "column", "found"),
    [
        (["languages", "pt"], "code", ["pt"]),
        (["languages", "por", "hindi"], "code", ["hi", "pt"]),
        (["languages", "PORTUG"], "code", ["pt"]),
        (["languages", "hin_Deva"], "code", ["hi"]),
        (["translators", "apert"], "name", ["apertium"]),
        (["translators", "ibretrans"], "name", ["libretranslate"]),  # inside a word, if no word begins so
        (["evalsets", "xtd"], "name", ["xtd"]),
        (["engines", "cluster"], "name", ["ray"]),
        (["recipes", "laclip-eda"], "name", ["laclip-eda"]),
    ],
)
def test_words_choose_rows_by_code_name_or_text(words: list[str], column: str, found: list[str]) -> None:
    assert [row[column] for row in run(*words)[words[0]]] == found


def test_words_choose_rows_of_several_kinds() -> None:
    listed = run("captioners", "rewriters", "toy")
    assert {kind: [row["name"] for row in rows] for kind, rows in listed.items()} == {
        "captioners": ["toy"],
        "rewriters": ["toy"],
    }


def test_words_that_choose_nothing_are_an_error() -> None:
    with pytest.raises(CapivaraError, match="no languages with 'xqx'") as caught:
        run("languages", "xqx")
    assert caught.value.hint == "all of them: capivara list languages"
    with pytest.raises(UsageError, match="there is no kind 'pt'") as wrong:
        run("pt")
    assert wrong.value.hint == "such as: capivara list languages pt"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tables_fit_the_terminal(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 80 columns; elsewhere they are as wide as their cells. No word is lost."""
    run(kind)
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    run(kind)
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    assert kind in ("engines", "identifiers") or max(map(len, wide.splitlines())) > 80
    assert sorted(narrow.replace("─", "").split()) == sorted(wide.replace("─", "").split())
