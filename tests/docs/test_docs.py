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


def blocks_to_run(text: str) -> list[str]:
    """The blocks of a page, without those that install, and those that a comment marks as not run by tests."""
    found = re.findall(r"(<!-- not run: [^>]*-->\n)?```sh\n(.*?)```", text, re.DOTALL)
    return [block for mark, block in found if not mark and " install " not in block]


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


SMALLER = (
    ("capivara demo --lang pt", "capivara demo --lang pt --dry-run"),
    ("toy:600", "toy:40"),
    ("--steps 120 --batch-size 96", "--steps 4 --batch-size 16"),
    ("runs/first toy --model toy", "runs/first toy:30 --model toy"),
)


def test_the_readmes_commands_run_in_order(tmp_path: Path) -> None:
    """All of its commands but those that install, download or test; smaller, in one folder."""
    copy_photos(tmp_path / "photos", count=12)
    script = "\n".join(blocks_to_run(README))
    for large, small in SMALLER:
        assert script.count(large) == 1, large
        script = script.replace(large, small)
    done = subprocess.run(
        ["bash", "-c", shell_function() + "set -e\n" + script],
        cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "capivara dedupe: read 40, wrote 40, dropped 0" in done.stderr
    assert re.search(r"^pt +runs/first ", done.stderr, re.MULTILINE)
    assert (tmp_path / "runs" / "first" / "report.html").is_file()


def test_the_readme_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 140
    assert max(map(len, README.splitlines())) <= 140
