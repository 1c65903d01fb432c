"""The version of a translator or model on this machine is part of the plan, and the key of remembered translations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.made import shard_bytes, toy_like
from support.warm import CAPIVARA

from capivara_cli import registry
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import fingerprint, is_same
from capivara_cli.pipeline.options import Settings

SETUP = Setup("cpu", Decoding(beams=0))

APERTIUM = """#!/bin/sh
if [ "$1" = -l ]; then ls "$APERTIUM_DATADIR/modes" | sed 's/.mode$//'; exit; fi
exec sed "s/red/$(cat "$APERTIUM_DATADIR/$2.bin")/"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own with a small Apertium, Argos packages without models, and a cache of the hub."""
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "argos"))
    monkeypatch.setenv("APERTIUM_DATADIR", str(tmp_path / "data"))  # a real one is in /usr/share/apertium
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    program = tmp_path / "bin" / "apertium"
    program.parent.mkdir()
    program.write_text(APERTIUM)
    program.chmod(0o755)
    (tmp_path / "data" / "modes").mkdir(parents=True)
    for mode in ("eng-spa", "spa-por"):
        (tmp_path / "data" / f"{mode}.bin").write_text("rojo")
        (tmp_path / "data" / "modes" / f"{mode}.mode").write_text(
            f"lt-proc -w '{tmp_path}/data/{mode}.bin' | lt-proc $1"
        )
    for pair in ("en_es", "es_pt"):
        package(tmp_path, pair, "1.0")
    return tmp_path


def package(machine: Path, pair: str, version: str) -> None:
    folder = machine / "argos" / f"translate-{pair}"
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "model.bin").write_bytes(b"weights")
    (folder / "sentencepiece.model").write_bytes(b"pieces")
    source, target = pair.split("_")
    known = {"from_code": source, "to_code": target, "package_version": version}
    (folder / "metadata.json").write_text(json.dumps(known))


def snapshot(machine: Path, repo: str, revision: str) -> None:
    ref = machine / "hub" / f"models--{repo.replace('/', '--')}" / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(revision)


def touched(name: str) -> Callable[[Path], None]:
    return lambda machine: (machine / name).write_bytes(b"others")


NLLB = "facebook/nllb-200-distilled-600M"
CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a package of Argos": ("translate --lang es", lambda machine: package(machine, "en_es", "1.1")),
    "weights of Argos": ("translate --lang es", touched("argos/translate-en_es/model/model.bin")),
    "a tokenizer of Argos": ("translate --lang es", touched("argos/translate-en_es/sentencepiece.model")),
    "the second package of a chain": ("translate --lang pt", lambda machine: package(machine, "es_pt", "1.1")),
    "a package of --from auto": ("translate --from auto --lang pt", lambda machine: package(machine, "es_pt", "1.1")),
    "the way back": ("translate --lang es --back-translate --translator apertium", touched("data/spa-eng.bin")),
    "data of Apertium": ("translate --lang es --translator apertium", touched("data/eng-spa.bin")),
    "data of the second mode": ("translate --lang pt --translator apertium", touched("data/spa-por.bin")),
    "a named mode": ("translate --lang es --translator apertium:eng-spa", touched("data/eng-spa.bin")),
    "a mode": ("translate --lang es --translator apertium", touched("data/modes/eng-spa.mode")),
    "the best translator": ("translate --lang es --translator auto", touched("argos/translate-en_es/model/model.bin")),
    "a translator of rewrite": (
        "rewrite --rewriter back-translation --via es --translator apertium", touched("data/eng-spa.bin"),
    ),
    "a model of the hub": ("translate --translator nllb", lambda machine: snapshot(machine, NLLB, "b" * 40)),
    "a named model": ("translate --translator opus:a/b", lambda machine: snapshot(machine, "a/b", "b" * 40)),
    "the captioner": ("caption", lambda machine: snapshot(machine, "Salesforce/blip2-opt-2.7b-coco", "b" * 40)),
    "a named captioner": ("caption --captioner hf:a/b", lambda machine: snapshot(machine, "a/b", "b" * 40)),
    "a rewriter": ("rewrite --rewriter llm:a/b", lambda machine: snapshot(machine, "a/b", "b" * 40)),
}  # fmt: skip


@pytest.fixture
def known(machine: Path) -> Path:
    """The same with the models of the hub in its cache, and a mode back."""
    for repo in (NLLB, "a/b", "Salesforce/blip2-opt-2.7b-coco"):
        snapshot(machine, repo, "a" * 40)
    (machine / "data" / "spa-eng.bin").write_text("red")
    (machine / "data" / "modes" / "spa-eng.mode").write_text(f"lt-proc '{machine}/data/spa-eng.bin'")
    return machine


def now(line: str) -> str:
    return fingerprint(Chain(parse_plan(line), Settings()))


@pytest.mark.parametrize("case", CHANGES)
def test_another_version_is_another_plan(case: str, known: Path) -> None:
    line, change = CHANGES[case]
    before = now(line)
    assert now(line) == before and ":" in before
    change(known)
    assert not is_same(before, now(line))


def test_what_is_not_installed_yet_is_the_same_plan(machine: Path) -> None:
    """The first run downloads a model. After a kill, the second run continues it."""
    before = now("caption --captioner hf:a/b")
    snapshot(machine, "a/b", "a" * 40)
    after = now("caption --captioner hf:a/b")
    assert before != after and is_same(before, after) and is_same(after, before)
    assert not is_same(after, now("caption --captioner hf:a/b --n 3"))
    assert now("caption --captioner toy") == now("caption --captioner toy")
    assert not is_same(now("caption --captioner toy"), now("caption --captioner toy --n 2"))


def test_another_service_is_another_plan() -> None:
    line = "translate --translator libretranslate"
    places = {now(line), now(f"{line} --base-url http://b:5000"), now(f"{line} --base-url http://c:5000")}
    assert len(places) == 3
    assert now(line) == now(f"{line} --base-url http://localhost:5000")
    secret = now(f"{line} --base-url http://user:word@b:5000")
    assert secret == now(f"{line} --base-url http://b:5000"), "a password is no part of the plan"


def test_a_folder_of_an_older_version_is_refused_and_nothing_remembered_is_used(machine: Path) -> None:
    import subprocess

    shards = machine / "shards"
    shards.mkdir()
    (shards / "00000.tar").write_bytes(shard_bytes(toy_like(2)))

    def run(out: str) -> subprocess.CompletedProcess[str]:
        words = ["translate", "shards", "--lang", "es", "--translator", "apertium", "--guards", "none", "--out", out]
        return subprocess.run([*CAPIVARA, *words], cwd=machine, capture_output=True, text=True)

    first = run("one")
    assert first.returncode == 0, first.stderr
    assert b"rojo" in (machine / "one" / "00000.tar").read_bytes()
    assert "up to date" in run("one").stderr
    (machine / "data" / "eng-spa.bin").write_text("colorado")
    again = run("one")
    assert (again.returncode, "a model or translator on this machine has another version" in again.stderr) == (1, True)
    assert run("two").returncode == 0
    data = (machine / "two" / "00000.tar").read_bytes()
    assert (b"colorado" in data, b"rojo" in data) == (True, False)


def test_translations_of_apertium_are_remembered_by_its_data(known: Path) -> None:
    versions = set()
    for text in (b"one", b"two"):
        (known / "data" / "spa-por.bin").write_bytes(text)
        load = registry.load("translators", "apertium", source="en", target="pt", setup=SETUP)
        assert load.version.startswith("eng-spa ") and "| spa-por " in load.version
        versions.add(load.version)
    assert len(versions) == 2
    (known / "data" / "modes" / "spa-por.mode").unlink()
    assert registry.load("translators", "apertium", source="en", target="es", setup=SETUP).version
