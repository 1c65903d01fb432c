"""Argos packages and Apertium: routes, packages, order, and what is said when something is missing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from support.made import PHOTOS
from support.warm import CAPIVARA

from capivara_cli import registry
from capivara_cli.costs.flops import COUNTED
from capivara_cli.errors import CapivaraError
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.stages.translators import apertium, argos
from capivara_cli.stages.translators._ctranslate2 import count_operations
from capivara_cli.stages.translators._package import _pieces, unpack
from capivara_cli.stages.translators._route import by_chain, route

from support.tiny_models import SENTENCE, tiny_argos  # isort: skip

SETUP = Setup("cpu", Decoding(beams=0))
TEXTS = ["a dog", "the red cat is running on a house", "a dog", SENTENCE, "man with a ball.", ""]
needs_apertium = pytest.mark.skipif(shutil.which("apertium") is None, reason="apertium is not installed")


def test_routes() -> None:
    pairs = [("en", "es"), ("es", "pt"), ("en", "gl"), ("ca", "en"), ("ca", "es"), ("gl", "en")]
    assert route(pairs, ["en"], ["es"]) == [("en", "es")]
    assert route(pairs, ["en"], ["pt"]) == [("en", "es"), ("es", "pt")]
    assert route(pairs, ["gl"], ["pt"]) == [("gl", "en"), ("en", "es"), ("es", "pt")]
    assert route(pairs, ["gl"], ["pt"], max_hops=2) == []
    assert route(pairs, ["pt"], ["en"]) == []
    assert route([("a", "en"), ("a", "b"), ("b", "z"), ("en", "z")], ["a"], ["z"]) == [("a", "en"), ("en", "z")]
    assert route([("zh", "en"), ("zt", "en")], ["zt"], ["en"]) == [("zt", "en")]
    assert by_chain("argos", [("en", "es"), ("es", "pt")]) == "argos:en-es-pt"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("argos")
    for number, (source, target) in enumerate((("en", "es"), ("es", "pt"))):
        file = tiny_argos(folder / f"build{number}", source, target, seed=number)
        file.rename(folder / file.name)
    return folder


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's is read or written."""
    monkeypatch.delenv("CAPIVARA_CACHE", raising=False)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("ARGOS_PACKAGES_DIR", raising=False)


def installed(packages: Path, folder: Path) -> Path:
    for file in packages.glob("*.argosmodel"):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    return folder


def test_a_package_file_translates_as_argostranslate_does(packages: Path, tmp_path: Path) -> None:
    """Against Argos' own code, in another process: importing it makes folders."""
    translate = argos.load(str(packages / "translate-en_es.argosmodel"), source="en", target="es", setup=SETUP)
    ours = translate(TEXTS[:4])
    script = """
import json, sys
from pathlib import Path
import ctranslate2
from argostranslate.package import Package
from argostranslate.translate import apply_packaged_translation
class Whole:
    def split_sentences(self, text): return [text]
package = Package(Path(sys.argv[1]))
model = ctranslate2.Translator(str(package.package_path / "model"), device="cpu", compute_type="auto")
texts = json.loads(sys.argv[2])
print(json.dumps([apply_packaged_translation(package, text, model, Whole(), 1)[0].value for text in texts]))
"""
    folder = installed(packages, tmp_path / "unzipped") / "translate-en_es"
    result = subprocess.run(
        [*CAPIVARA, "-c", script, str(folder), json.dumps(TEXTS[:4])], capture_output=True, text=True, check=True
    )
    theirs = [" ".join(text.split()) for text in json.loads(result.stdout.splitlines()[-1])]
    assert ours == theirs
    assert len(set(ours)) > 1
    assert translate.by == "argos:en-es"


def test_order_and_the_same_alone_as_together(packages: Path) -> None:
    translate = argos.load(str(packages), source="en", target="es", setup=SETUP)
    together = translate(TEXTS)
    assert together == [translate([text])[0] for text in TEXTS]
    assert together[0] == together[2]
    assert together[5] == ""


def test_a_missing_pair_goes_over_another_language(packages: Path) -> None:
    translate = argos.load(str(packages), source="en", target="pt-BR", setup=SETUP)
    assert translate.by == "argos:en-es-pt"
    first = argos.load(str(packages), source="en", target="es", setup=SETUP)
    second = argos.load(str(packages), source="es", target="pt", setup=SETUP)
    assert translate(TEXTS) == second(first(TEXTS))


def test_installed_packages_are_found(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = installed(packages, tmp_path / "there")
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(there))
    assert argos.load("", source="en", target="es", setup=SETUP).by == "argos:en-es"
    monkeypatch.delenv("ARGOS_PACKAGES_DIR")
    assert argos.packages_folder() == tmp_path / "XDG_DATA_HOME" / "argos-translate" / "packages"
    settings = tmp_path / "XDG_CONFIG_HOME" / "argos-translate" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"ARGOS_PACKAGES_DIR": str(there)}))
    assert argos.packages_folder() == there


def test_a_long_text_is_cut_between_words_and_none_of_it_lost() -> None:
    class Words:
        def encode(self, text: str) -> list[str]:
            return ["▁" + word for word in text.split()]

    pieces = _pieces(Words(), "word " * 450 + "end. Next one. approx. two", "en")
    assert [len(piece) for piece in pieces] == [200, 200, 51, 4]
    assert [token for piece in pieces for token in piece][-4:] == ["▁Next", "▁one.", "▁approx.", "▁two"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_a_package_that_points_outside_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.argosmodel"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "boo")
    with pytest.raises(CapivaraError, match="points outside the package"):
        unpack(file)
    assert not list(tmp_path.rglob("evil")) and not (tmp_path.parent / "evil").exists()


def test_what_is_no_package_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.argosmodel"
    file.write_bytes(b"no zip")
    with pytest.raises(CapivaraError, match="not a zip archive"):
        unpack(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/readme", "hello")
    with pytest.raises(CapivaraError, match="has no Argos translation package"):
        unpack(file)
    with pytest.raises(CapivaraError, match="no such package"):
        argos.load(str(tmp_path / "nowhere"), source="en", target="pt", setup=SETUP)
    with pytest.raises(CapivaraError, match="has no package for Xhosa"):
        argos.load("", source="en", target="xh", setup=SETUP)


def test_a_pair_the_package_lacks(packages: Path) -> None:
    with pytest.raises(CapivaraError, match="does not translate English to Hindi; from English there are en-es"):
        argos.load(str(packages), source="en", target="hi", setup=SETUP)


def test_without_a_network_the_package_to_bring_is_named(tmp_path: Path) -> None:
    script = """
from capivara_cli.errors import CapivaraError
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators import argos
try:
    argos.load("", source="en", target="pt", setup=Setup("cpu"))
except CapivaraError as error:
    print(error.message); print(error.hint)
"""
    environment = {**os.environ, "ARGOS_PACKAGE_INDEX": "http://127.0.0.1:9/"}
    result = subprocess.run([*CAPIVARA, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert (
        "argos: English to Portuguese is not installed and the Argos package index cannot be reached" in result.stdout
    )
    assert "translate-en_pt.argosmodel" in result.stdout
    assert "--package FILE" in result.stdout


@needs_apertium
def test_apertium_keeps_order_and_count_on_real_captions() -> None:
    if not PHOTOS.is_dir():
        pytest.skip("no photos")
    with (PHOTOS / "captions.csv").open(encoding="utf-8") as file:
        captions = [row["caption"] for row in csv.DictReader(file) if row["lang"] == "en"][:400]
    translate = apertium.load("", source="en", target="ca", setup=SETUP)
    together = translate(captions)
    assert len(captions) == len(together) == 400
    assert [translate([captions[at]])[0] for at in range(0, 400, 150)] == together[::150]
    assert translate.by == "apertium:eng-cat"
    assert all(together)


@needs_apertium
def test_apertium_takes_any_text() -> None:
    translate = apertium.load("", source="en", target="ca", setup=SETUP)
    texts = ["a dog\nruns", "", "[x]{y}\\^a/b$@#<b>", "...", "a dog\truns", "a\0cat", "one. two. three.", "dog " * 3000]
    out = translate(texts)
    assert len(out) == len(texts)
    assert out[0] == out[4] == translate(["a dog runs"])[0]
    assert out[1] == ""
    assert out[5] == "un gat"
    assert out[2].startswith("[x]{y}\\^")
    assert len(out[7].split()) >= 3000
    assert out == [translate([text])[0] for text in texts]


@needs_apertium
def test_apertium_does_not_read_on_from_one_caption_into_the_next() -> None:
    """A line apart, "the big" and "house" become "la casa" and "gran"."""
    translate = apertium.load("", source="en", target="ca", setup=SETUP)
    assert translate(["the big", "house", "red", "dog runs"])[:3] == ["el gran", "casa", "vermell"]


@needs_apertium
def test_apertium_goes_over_another_language_and_says_so() -> None:
    translate = apertium.load("", source="en", target="pt", setup=SETUP)
    assert (translate.by, translate.modes) == ("apertium:eng-spa-pt", ["eng-spa", "es-pt"])
    assert translate(["the red house"]) == ["A casa vermelha"]
    variety = apertium.load("eng-cat_valencia", source="en", target="ca", setup=SETUP)
    assert (variety.by, variety.modes) == ("apertium:eng-cat_valencia", ["eng-cat_valencia"])
    with pytest.raises(CapivaraError, match="no installed mode translates English to Hindi"):
        apertium.load("", source="en", target="hi", setup=SETUP)
    with pytest.raises(CapivaraError, match="unknown mode 'eng-xx'"):
        apertium.load("eng-xx", source="en", target="hi", setup=SETUP)


def test_apertium_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CapivaraError, match="the program is not installed") as caught:
        apertium.load("", source="en", target="ca", setup=SETUP)
    assert caught.value.hint.startswith("apt install apertium apertium-eng-cat")


def test_the_toy_translators() -> None:
    from capivara_cli.stages.translators import toy

    translate = toy.load("", source="eng", target="pt-BR", setup=SETUP)
    texts = ["a photo of two big green boats in the snow", "there is a red heart on the grass"]
    assert translate.by == "toy:en-pt"
    assert translate(texts) == [translate([text])[0] for text in texts]
    assert "barcos verdes grandes" in translate(texts)[0]
    with pytest.raises(CapivaraError, match="no translator from pt to hi; from Portuguese there are pt-en"):
        toy.load("", source="pt", target="hi", setup=SETUP)


def test_operations_of_ctranslate2_are_estimated(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(1000))
    before = COUNTED.total
    count_operations(tmp_path, 20, 10, 4)
    assert COUNTED.total - before == 1000 * (20 + 4 * 10)


def test_a_translation_is_counted() -> None:
    translator = registry.load("translators", "toy", source="en", target="pt", setup=Setup("cpu"))
    before = COUNTED.total
    translator(["a red ball"])
    assert COUNTED.total - before > 2e6
