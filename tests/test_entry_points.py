"""The plugins of other packages, found in their metadata."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points as all_entry_points
from pathlib import Path

import pytest

from capivara_cli.entry_points import entry_points


def package(site: Path, folder: str, listed: str, metadata: str = "Name: {0}\nVersion: {1}\n") -> Path:
    path = site / folder
    path.mkdir(parents=True)
    name, _, version = folder.rpartition(".")[0].partition("-")
    (path / "METADATA").write_text("Metadata-Version: 2.1\n" + metadata.format(name, version))
    (path / "entry_points.txt").write_text(listed)
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_they_are_those_that_python_finds(site: Path) -> None:
    listed = "[console_scripts]\nx = y:z\n[capivara.translators]\nmine = one.two:three\nother = four\n"
    listed += "[capivara.stages]\na = b"
    package(site, "my_package-1.2.dist-info", listed)
    for kind in ("translators", "stages", "commands"):
        expected = {(each.name, each.value) for each in all_entry_points(group=f"capivara.{kind}")}
        assert {(each.name, each.value) for entries in entry_points(kind).values() for each in entries} == expected
    assert [*entry_points("translators")] == ["mine", "other"]
    assert entry_points("stages")["a"][0].package == "my_package 1.2"


def test_importlib_is_not_needed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(site, "my_package-1.2.dist-info", "[capivara.translators]\nmine = json:tool.main  # a remark\n")
    monkeypatch.setitem(sys.modules, "importlib.metadata", None)
    (entry,) = entry_points("translators")["mine"]
    assert (entry.value, entry.package, entry.is_reference) == ("json:tool.main", "my_package 1.2", True)


def test_of_two_copies_of_a_package_the_first_on_the_path_counts(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(site, "my_package-1.2.dist-info", "[capivara.stages]\nmine = old\n")
    package(tmp_path / "first", "my_package-2.0.dist-info", "[capivara.stages]\nmine = new\n")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    (entry,) = entry_points("stages")["mine"]
    assert (entry.value, entry.package) == ("new", "my_package 2.0")


def test_two_packages_with_one_name_are_both_found(site: Path) -> None:
    package(site, "a-1.dist-info", "[capivara.stages]\nmine = a\n")
    package(site, "b-1.dist-info", "[capivara.stages]\nmine = b\n")
    assert [each.value for each in entry_points("stages")["mine"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("listed", "metadata"),
    [("[capivara.stages]\nno equals sign\n", "Name: {0}\nVersion: {1}\n"), ("[capivara.stages]\nno equals sign\n", "")],
)
def test_a_damaged_list_is_named_with_package_and_version(
    listed: str, metadata: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(site, f"damaged{len(metadata)}-0.3.dist-info", listed, metadata)
    package(site, "sound-1.dist-info", "[capivara.stages]\nmine = a\n")
    assert [*entry_points("stages")] == ["mine"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: package damaged{len(metadata)} 0.3: its entry points cannot be read: ")


@pytest.mark.parametrize("folder", ["my_package-1.2.dist-info", "my_package-1.2-py3.11.egg-info"])
def test_a_package_without_metadata_has_the_name_and_version_of_its_folder(folder: str, site: Path) -> None:
    (package(site, folder, "[capivara.stages]\nmine = a\n") / "METADATA").unlink()
    assert entry_points("stages")["mine"][0].package == "my-package 1.2"


def test_a_docstring_is_read_without_importing_the_packages_around_it(site: Path) -> None:
    package(site, "my_package-1.2.dist-info", "[capivara.stages]\nmine = never_imported.inner.mine:mine\n")
    inner = site / "never_imported" / "inner"
    inner.mkdir(parents=True)
    (site / "never_imported" / "__init__.py").write_text("1 / 0")
    (inner / "__init__.py").write_text("1 / 0")
    (inner / "mine.py").write_text('"""What it is.\n\nMore."""\n1 / 0')
    assert entry_points("stages")["mine"][0].docstring() == "What it is.\n\nMore."
    assert not [name for name in sys.modules if name.startswith("never_imported")]


@pytest.mark.parametrize(
    ("code", "docstring"),
    [
        ("'''One.'''", "One."), ('r"""One\\d.\n"""', "One\\d."), ("#!/bin/sh\n# remark\n\n'One.'\n", "One."),
        ('x = """no"""', ""), ("", ""),
    ],
)  # fmt: skip
def test_docstrings(code: str, docstring: str, site: Path) -> None:
    package(site, "my_package-1.2.dist-info", "[capivara.stages]\nmine = docstring_here\n")
    (site / "docstring_here.py").write_text(code)
    assert entry_points("stages")["mine"][0].docstring() == docstring


@pytest.mark.parametrize("value", ["nothing_of_this_name", "never_imported.gone", "", "a b", "sys", "x..y"])
def test_a_docstring_that_cannot_be_read_is_empty(value: str, site: Path) -> None:
    package(site, "my_package-1.2.dist-info", f"[capivara.stages]\nmine = {value}\n")
    assert entry_points("stages")["mine"][0].docstring() == ""
