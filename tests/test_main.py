"""The program under python -O and -OO, which take away asserts and docstrings that libraries need."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import variants
from support.made import ROOT, shard_bytes, toy_like
from support.warm import CAPIVARA

from capivara_cli.__main__ import without_optimization

OPTIMIZED = [("PYTHONOPTIMIZE=1", []), ("PYTHONOPTIMIZE=2", []), ("", ["-OO"]), ("", ["-BO", "-W", "ignore"])]

STAGE = ["dedupe", "shards", "--images", "phash", "--workers", "2", "--no-energy", "--out"]


def capivara(words: list[str], folder: Path, variable: str = "", flags: list[str] | None = None) -> str:
    """What a command line prints in an interpreter of its own, all streams together."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    env |= dict([variable.split("=")]) if variable else {}
    command = [sys.executable, *(flags or []), "-m", "capivara_cli", *words]
    ran = subprocess.run(command, cwd=folder, env=env, stdout=-1, stderr=subprocess.STDOUT, stdin=-3, text=True)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@functools.cache
def plain(*words: str) -> str:
    return capivara([*words], ROOT)


@pytest.mark.parametrize("words", variants.some([["filter", "--help"], ["--help"], ["adapt", "-h"], ["list"]], 2))
@pytest.mark.parametrize(("variable", "flags"), OPTIMIZED[1:3])
def test_help_and_lists_are_the_same_without_docstrings(
    variable: str, flags: list[str], words: list[str], tmp_path: Path
) -> None:
    assert capivara(words, tmp_path, variable, flags) == plain(*words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with a damaged image, and ``plain``: what a stage makes of them in an ordinary interpreter."""
    folder = tmp_path_factory.mktemp("optimized")
    damaged = toy_like(1, 9)[0].with_members(jpg=b"\xff\xd8\xff\xe0\x00\x10JFIF")
    (folder / "shards").mkdir()
    (folder / "shards" / "00000.tar").write_bytes(shard_bytes([*toy_like(4), damaged]))
    capivara([*STAGE, "plain"], folder)
    return folder


@pytest.mark.parametrize(("variable", "flags"), variants.some(OPTIMIZED, 2))
def test_a_stage_writes_the_same_shards(variable: str, flags: list[str], folder: Path) -> None:
    out = f"optimized{variable}{''.join(flags)}"
    capivara([*STAGE, out], folder, variable, flags)
    for name in ("00000.tar", "manifest.jsonl"):
        assert (folder / out / name).read_bytes() == (folder / "plain" / name).read_bytes()
    assert b"image cannot be decoded" in (folder / out / "manifest.jsonl").read_bytes()


@variants.only_with_all("a stage, help and lists above")
def test_training_runs_without_docstrings(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.tar").write_bytes(shard_bytes(toy_like(4)))
    line = ["train", "shards", "--lang", "en", "--model", "toy", "--steps", "2", "--batch-size", "4", "--name"]
    warm = subprocess.run([*CAPIVARA, *line, "plain"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "2 steps of 4 pairs" in warm.stderr
    assert "2 steps of 4 pairs" in capivara([*line, "oo"], tmp_path, "PYTHONOPTIMIZE=2")
    weights = [tmp_path / "runs" / name / "adapter" / "adapter_model.safetensors" for name in ("plain", "oo")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_measured_command_keeps_its_variables(tmp_path: Path) -> None:
    words = ["footprint", "--", sys.executable, "-c", "import sys; print(sys.flags.optimize)"]
    assert capivara(words, tmp_path, "PYTHONOPTIMIZE=2").startswith("2\n")


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("-OO -m capivara_cli show -O", "-m capivara_cli show -O"),
        ("-BOO -u -m capivara_cli", "-B -u -m capivara_cli"),
        ("-O bin/capivara show -O", "bin/capivara show -O"),
        ("-W ignore -O -X dev -m x", "-W ignore -X dev -m x"),
        ("-WOnce -XO -O x", "-WOnce -XO x"),
        ("-OmO x", "-mO x"),
        ("-W O -O -c -O", "-W O -c -O"),
        ("--check-hash-based-pycs -O x", "--check-hash-based-pycs x"),
        ("-m x", "-m x"),
        ("", ""),
    ],
)
def test_only_flags_of_the_interpreter_are_taken_away(words: str, left: str) -> None:
    assert [*without_optimization(words.split())] == left.split()
