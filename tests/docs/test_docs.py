"""The docs are true: every option is listed, every link leads somewhere, and the README's commands run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from support.made import ROOT, copy_photos
from support.warm import shell_function

from capivara_cli.registry import command_names

README = (ROOT / "README.md").read_text("utf-8")


def blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("name", ["cli", "data"])
def test_the_generated_pages_are_up_to_date(name: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{name}", ROOT / "docs" / f"make_{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == (ROOT / "docs" / f"{name}.md").read_text("utf-8"), f"run: python docs/make_{name}.py"


def test_every_command_in_the_docs_exists() -> None:
    known = command_names()
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in blocks(path.read_text("utf-8")):
            for name in re.findall(r"(?:^|\| |bin/)capivara ([a-z]+)", block, re.MULTILINE):
                assert name in known, f"{path.name}: {name}"


def test_every_link_leads_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_ci_runs_the_readmes_test_command() -> None:
    command = blocks(README)[-1].strip()
    assert "pytest" in command
    assert command in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_readmes_pipe_runs(tmp_path: Path) -> None:
    copy_photos(tmp_path / "photos", count=30)
    block = next(each for each in blocks(README) if "capivara pack photos/captions.csv --out shards" in each)
    assert block.count("--steps 20 --batch-size 64") == 1
    block = block.replace("--steps 20 --batch-size 64", "--steps 4 --batch-size 16").replace(
        " toy --lang", " toy:30 --lang"
    )
    script = shell_function() + "set -e\n" + block
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert "capivara dedupe: read 30, wrote 30, dropped 0" in result.stderr
    assert (tmp_path / "runs" / "first" / "eval.json").is_file()
    assert re.search(r"^pt +runs/first ", result.stderr, re.MULTILINE)
