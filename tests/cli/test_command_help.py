"""``COMMAND --help``: panels with the options of that command, its arguments explained, examples that parse."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from capivara_cli import __main__
from capivara_cli.cli import command_help, overview
from capivara_cli.cli.application import call
from capivara_cli.cli.command_help import HelpText, parsed_text
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import Invocation
from capivara_cli.pipeline.options import GENERAL, WORK, option_fields
from capivara_cli.registry import command_names, load_command

COMMANDS = sorted(command_names())
ESCAPE = "\x1b["


def page(name: str) -> str:
    return command_help.page(name, load_command(name))


def parsed(line: str) -> Invocation:
    """A command line as the program parses it; nothing is performed."""
    name, *words = shlex.split(line)
    found: list[Invocation] = []
    call(name, load_command(name), words, lambda given, streams, as_json: found.append(given))
    return found[0]


@pytest.mark.parametrize("width", [80, 120])
def test_help_is_as_wide_as_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for name in COMMANDS:
        text, _, examples = page(name).partition("\nExamples:\n")
        frames = {len(line) for line in text.splitlines() if line.startswith(("╭", "│", "╰"))}
        assert frames == {width} and max(map(len, text.splitlines())) == width, name
        assert f"\n  capivara {name}" in f"\n{examples}", name  # copied as a whole: never wrapped
    assert max(map(len, overview.help_page().splitlines())) == width


def test_an_option_is_one_line_at_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    wrapped, options = set(), 0
    for name in COMMANDS:
        for line in page(name).splitlines():
            options += bool(re.match(r"│ -", line))
            wrapped |= {line} if re.match(r"│ {20,}\S", line) else set()
    assert options > 350 and len(wrapped) <= 25, "\n".join(sorted(wrapped))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_one_panel_and_the_arguments_are_explained(name: str) -> None:
    command = load_command(name)
    panels = command_help.panels(command)
    flags = [row.flags for rows in panels.values() for row in rows]
    own = len(list(option_fields(command.options)))
    assert len(flags) == len(set(flags)) == own + len(command.shared) + 2 + command_help.has_json(command)
    assert [*panels][-1] == GENERAL and (next(iter(panels)) == WORK or WORK not in panels)
    assert all(row.text for rows in panels.values() for row in rows)
    words = set(re.findall(r"[A-Z_]{3,}", command_help.argument_of(command, name)))
    assert words == set(re.findall(r"[A-Z_]{3,}", " ".join(command_help.arguments_of(name, command))))


def test_usage_names_arguments_only_where_there_are_some() -> None:
    usages = {name: command_help.usage(name, load_command(name)) for name in COMMANDS}
    assert {name for name, text in usages.items() if text.endswith("[OPTIONS]")} == {"demo", "doctor"}
    assert usages["demo"] == "capivara demo [OPTIONS]"
    assert usages["pack"] == "capivara pack [OPTIONS] [SOURCE]..."
    assert not any("[]" in text for text in usages.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_parse(name: str) -> None:
    """Each is a pipe of capivara commands; the first of them is about the command itself."""
    examples = command_help.help_text(name).examples
    assert 2 <= len(examples) <= 3
    assert all(f"capivara {name}" in line for line in examples)
    for line in examples:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|")
        lexer.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in lexer:
            parts = [*parts, []] if word == "|" else [*parts[:-1], [*parts[-1], word]]
        for program, *words in parts:
            assert program == "capivara"
            given = parsed(shlex.join(words))
            if given.command.name in ("run", "slurm"):
                from capivara_cli.cli.parameters import parse_plan

                assert parse_plan(given.inputs[0])


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("train shards --lang pt --rejects bad", "--rejects"),
        ("train shards --lang pt --gpus-per-worker 1", "--gpus-per-worker"),
        ("list languages --device cpu", "--device"),
        ("demo --rejects bad", "--rejects"),
        ("show shards --out x", "--out"),
        ("show shards -o x", "-o"),
        ("footprint runs/pt --ledger x", "--ledger"),
        ("split shards --device cpu", "--device"),
        ("split shards --max-failures 1", "--max-failures"),
        ("filter shards --seed 1", "--seed"),
        ("report runs/pt --dry-run", "--dry-run"),
        ("pack photos --json", "--json"),
    ],
)
def test_an_option_that_a_command_does_not_read_is_no_option(line: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"{line.split()[0]}: No such option: {option}") as caught:
        parsed(line)
    assert caught.value.exit_code == 2
    assert caught.value.hint == f"see: capivara {line.split()[0]} --help"


@pytest.mark.parametrize(
    ("typed", "meant"), [("train --stpes 3", "--steps"), ("caption --temprature 1", "--temperature")]
)
def test_an_unknown_option_suggests_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=meant):
        parsed(typed)


@pytest.mark.parametrize(
    ("device", "right"),
    [("gpu", "cuda"), ("GPU:1", "cuda:1"), ("cuda1", "cuda:1"), ("CUDA", "cuda"), ("metal", "mps"), ("nvidia", "cuda")],
)
def test_another_name_of_a_device_is_refused_with_the_right_one(device: str, right: str) -> None:
    with pytest.raises(UsageError, match=f"--device: there is no device '{device}'") as caught:
        parsed(f"train shards --lang pt --device {device}")
    assert caught.value.hint == f"write it as torch does: --device {right}"


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps", "xpu:0", "meta"])
def test_a_device_of_torch_is_accepted(device: str) -> None:
    assert parsed(f"train shards --lang pt --device {device}").settings.device == device


def test_short_flags() -> None:
    given = parsed("split shards -o out -q")
    assert (given.settings.out, given.settings.quiet) == ("out", True)
    with pytest.raises(UsageError, match="--out is given more than once"):
        parsed("split shards -o out --out other")
    with pytest.raises(UsageError, match="--lang: 'pt hi': a list has commas"):
        parsed("train shards --lang 'pt hi'")
    assert parsed("train shards --lang pt --lang hi").options.languages == ["pt", "hi"]


@pytest.mark.parametrize("make", [lambda: page("demo"), overview.help_page])
def test_colours_are_for_terminals(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert ESCAPE not in make()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ESCAPE in make()
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESCAPE not in make()


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str, int]:
    """What the program prints for a command line, and its exit code."""
    monkeypatch.setattr("sys.argv", ["capivara", *words])
    code = 0
    try:
        __main__.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, err = capsys.readouterr()
    return out, err, code


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["help"], ["--help"]),
        (["help", "train"], ["train", "--help"]),
        (["help", "list"], ["list", "-h"]),
        (["-V"], ["--version"]),
        (["demo", "-V"], ["--version"]),
    ],
)
def test_the_ways_to_ask_for_help_and_version(
    words: list[str], same: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(monkeypatch, capsys, *words)
    assert shown == said(monkeypatch, capsys, *same)
    assert shown[0] and shown[1:] == ("", 0)


def test_help_of_an_unknown_command_suggests_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["help", "trian"], ["trian"]):
        out, err, code = said(monkeypatch, capsys, *words)
        assert (out, code) == ("", 2) and "did you mean train?" in err


def test_help_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", type("Ascii", (), {"encoding": "ascii", "isatty": lambda self: False})())
    for text in (overview.help_page(), overview.drawable("│ a … ü ╯")):
        assert text.isascii()


def test_the_parts_of_a_docstring() -> None:
    arguments, examples = "    IN: a\n        b: c\n    OUT: d", "    x | y\n    z"
    text = parsed_text(f"Do ``this`` and\nthat.\n\nMore.\n\nArguments:\n{arguments}\n\nExamples:\n{examples}")
    assert text == HelpText(("Do this and that.", "More."), {"IN": "a b: c", "OUT": "d"}, ("x | y", "z"))
    assert parsed_text("") == HelpText((), {}, ())
