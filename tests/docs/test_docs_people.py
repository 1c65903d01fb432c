"""The pages for people are true: their commands are understood, the tutorial's run, and quoted messages are real."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support.made import ROOT, copy_photos
from support.warm import shell_function

from capivara_cli import registry
from capivara_cli.cli.parameters import parse_command, parse_plan
from capivara_cli.commands.adapt import chosen_recipe
from capivara_cli.commands.recipes import recipe as recipes
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import catalogue
from capivara_cli.pipeline.options import Settings, flag_of, option_fields
from capivara_cli.registry import command_names, load_command

PAGES = [
    "captions",
    "training",
    "scale",
    "evaluation",
    "tutorial",
    "translation-quality",
    "ethics",
    "troubleshooting",
    "faq",
    "recipes",
]
OTHER_PROGRAMS = ("ct2-transformers-converter", "docker", "torchrun", "uv")
_BLOCK = re.compile(r"(<!-- not run: [^>]*-->\n)?```sh\n(.*?)```", re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def command_lines(text: str) -> list[list[str]]:
    """Every command of a page: in its blocks, and ``capivara … --…`` in its sentences; a pipe is several."""
    blocks = [line for _, block in _BLOCK.findall(text) for line in block.splitlines()]
    spans = [span for span in re.findall(r"`(capivara [a-z]+ [^`]+)`", text) if "…" not in span]
    found = []
    for line in [*blocks, *spans]:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "|"]:
            if word not in ("|", ";"):
                words.append(word)
            elif words:
                if words[0] == "capivara":
                    found.append(words[1:])
                words = []
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_understood(name: str) -> None:
    lines = command_lines(page(name))
    assert lines or name in ("troubleshooting", "ethics", "faq")
    for words in lines:
        if words[0] == "footprint" and "--" in words:
            continue
        invocation = parse_command(words, Settings())
        if words[0] == "run":
            parse_plan(invocation.inputs[0])
        if words[0] == "adapt" and not invocation.options.recipe.endswith(".toml"):
            chosen_recipe(invocation.options)


@pytest.mark.parametrize("name", PAGES)
def test_every_flag_and_set_in_a_sentence_exists(name: str) -> None:
    known = {flag_of(each.name) for command in command_names() for each in option_fields(load_command(command).options)}
    known |= {flag_of(each.name) for each in option_fields(Settings)}
    known |= {flag.replace("--", "--no-", 1) for flag in known} | {"--version", "--help", "--part"}
    prose = _BLOCK.sub("", page(name))
    for span in re.findall(r"`([^`\n]+)`", prose):
        if span.startswith(OTHER_PROGRAMS):
            continue
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span):
            assert flag in known, f"{name}.md: {span}"


def strings_of_the_program() -> set[str]:
    """The string constants of the package; Python joins adjacent ones."""
    found = set()
    for path in (ROOT / "capivara_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


OF_THE_SYSTEM = {"No space left on device"}


def test_every_quoted_message_is_one_of_the_program() -> None:
    quoted = re.findall(r"^### `([^`]+)`", page("troubleshooting"), re.MULTILINE)
    assert len(quoted) > 30
    texts = "\n".join(strings_of_the_program())
    for message in quoted:
        parts = [part.strip(" :;(),") for part in message.split("…")]
        for part in parts:
            if len(part) > 2 and message not in OF_THE_SYSTEM:
                assert part in texts, f"{message}: {part!r}"


def test_the_tutorial_runs(tmp_path: Path) -> None:
    """The rehearsal and everything else that needs no download, in one folder, as typed."""
    copy_photos(tmp_path / "photos", count=20)
    script = "\n".join(block for mark, block in _BLOCK.findall(page("tutorial")) if not mark)
    for large, small in (
        ("toy:600", "toy:60"),
        ("--steps 120 --batch-size 96", "--steps 4 --batch-size 24"),
        ("--val-every 40", "--val-every 2"),
        ("rehearsal toy ", "rehearsal toy:20 "),
    ):
        assert large in script
        script = script.replace(large, small)
    setup = shell_function() + "set -e\n"
    done = subprocess.run(["bash", "-c", setup + script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr  # of a library, such as a FutureWarning about a call of ours
    assert (tmp_path / "runs" / "rehearsal" / "report.html").is_file()
    assert (tmp_path / "runs" / "rehearsal" / "MODEL_CARD.md").is_file()


def test_the_recipe_on_the_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", page("recipes"), re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    found = recipes.load(str(tmp_path / "mine.toml"))
    assert [step.command for step in found.steps] == ["caption", "translate", "filter", "train", "eval"]
    wrong = text.replace('captioner = "blip2"', 'captoiner = "blip2"')
    (tmp_path / "mine.toml").write_text(wrong)
    with pytest.raises(CapivaraError) as caught:
        recipes.load(str(tmp_path / "mine.toml"))
    (shown,) = re.findall(r"^    capivara: mine\.toml: (.*)$", page("recipes"), re.MULTILINE)
    assert caught.value.message.endswith(shown)


def test_the_page_names_every_recipe() -> None:
    text = page("recipes")
    for name in registry.recipes():
        ends = [name.split("-", dashes)[-1] for dashes in (1, 2)]
        assert f"`{name}`" in text or any(f"`-{end}`" in text for end in ends), name
        for target in recipes.load(name).targets:
            assert target == recipes.HELDOUT or catalogue.expand(target)
