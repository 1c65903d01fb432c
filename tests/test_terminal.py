"""A terminal that several commands of a pipe share: whole lines, one line of progress; plain text everywhere else."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.made import ROOT

from capivara_cli import console, terminal
from capivara_cli.terminal import Board, Count, StyledText

COMMAND = """
import os, stat, sys, time
from capivara_cli import console
name, total, output = sys.argv[1], int(sys.argv[2]), console.claim_stdout()
reads, writes = (stat.S_ISFIFO(os.fstat(each).st_mode) for each in (0, output))
bar = console.Progress(name, total or None)
if not writes:  # the last one is ready, so the first may begin
    open(os.environ["READY"], "w").close()
while not reads and not os.path.exists(os.environ["READY"]):
    time.sleep(0.01)
for number in range(40):
    if reads and not os.read(0, 1):
        break
    time.sleep(0.02)
    writes and os.write(output, b"x")
    bar.advance()
    if number % 10 == 5:
        console.say(f"{name} says [red]{number}[/red]")
    if number == 7:
        console.warn(f"{name} warns")
bar.close()
console.say(f"capivara {name}: read 40")
"""


class Screen(io.StringIO):
    """A terminal that cannot be drawn on, as standard error."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(line: str, **variables: str) -> str:
    """What a shell's command line sends to a terminal of 80 columns, where ``run NAME TOTAL`` is ``COMMAND``."""
    process, master = pty.fork()
    if not process:
        os.environ.update({"PYTHONPATH": str(ROOT), "TERM": "xterm", "READY": os.devnull, "COLUMNS": "80", **variables})
        command = f'run() {{ exec {sys.executable} -c "$CODE" "$@"; }}; {line}'
        os.environ["CODE"] = COMMAND
        os.execvp("bash", ["bash", "-c", command])
    sent = b""
    try:
        while some := os.read(master, 1 << 16):
            sent += some
    except OSError:  # the end of a terminal is an error
        pass
    os.close(master)
    os.waitpid(process, 0)
    return sent.decode().replace("\r\n", "\n")


def without_styles(sent: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", sent)


def lines_of(sent: str) -> list[str]:
    """The lines that stay on the screen: what was cleared is gone."""
    return [line.rpartition(terminal.CLEAR)[2] for line in without_styles(sent).split("\n")]


def drawn(sent: str) -> list[str]:
    """The lines of progress that were drawn and cleared."""
    parts = without_styles(sent).replace("\n", terminal.CLEAR).split(terminal.CLEAR)
    return [part for part in parts if re.search(r"\d/s|\d s$", part) and not part.startswith("capivara")]


def said_by(name: str) -> list[str]:
    return [*(f"{name} says [red]{number}[/red]" for number in (5, 15, 25, 35)), f"capivara {name}: read 40"]


NAMES = ("caption", "translate", "filter")


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipe of three commands, of which the first knows the total."""
    ready = str(tmp_path_factory.mktemp("piped") / "ready")
    return on_a_terminal("run caption 40 | run translate 0 | run filter 0 > /dev/null", READY=ready)


def test_a_pipe_of_three_commands_leaves_whole_lines(piped: str) -> None:
    expected = [*(line for name in NAMES for line in said_by(name)), *(f"warning: {name} warns" for name in NAMES), ""]
    assert sorted(lines_of(piped)) == sorted(expected)


def test_the_last_command_of_a_pipe_draws_the_counts_of_all_and_knows_the_total_of_the_first(piped: str) -> None:
    found = drawn(piped)
    assert all(each.split()[0] in NAMES for each in found)
    assert any(re.fullmatch(r"caption \d+ \| translate \d+ \| filter ━[━╸╺]+ \d+/~40, [\d.]+/s, [\d.]+ s left", each)
               for each in found), found  # fmt: skip
    assert all(len(each) < 80 for each in found)


@pytest.mark.parametrize(
    "line", ["run caption 40 | cat > /dev/null", "run caption 40 | run translate 0 | cat > /dev/null"]
)  # fmt: skip
def test_before_a_program_that_does_not_know_of_the_line_nobody_draws(line: str) -> None:
    sent = on_a_terminal(line)
    names = re.findall(r"run (\w+)", line)
    assert drawn(sent) == []
    assert sorted(lines_of(sent)) == sorted(
        ["", *(f"warning: {n} warns" for n in names), *(line for n in names for line in said_by(n))]
    )


@pytest.mark.parametrize(
    ("variables", "colours", "cursor"),
    [({}, True, True), ({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False)],
)
def test_colours_and_cursor_only_where_they_are_wanted(variables: dict[str, str], colours: bool, cursor: bool) -> None:
    sent = on_a_terminal("run alone 40 > /dev/null", **variables)
    codes = {int(code) for some in re.findall(r"\x1b\[([0-9;]+)m", sent) for code in some.split(";")}
    assert bool(codes & {*range(30, 38), *range(90, 98)}) == colours
    assert (terminal.CLEAR in sent, bool(drawn(sent))) == (cursor, cursor)
    assert sorted(lines_of(sent)) == sorted(["", "warning: alone warns", *said_by("alone")])


def test_elsewhere_there_is_no_code_and_rich_is_not_imported() -> None:
    code = (
        "import sys; from capivara_cli import console; console.say('s'); console.warn('w', 'a\\nb')\n"
        "console.hint('h'); console.error('e', 'f'); list(console.track('abc', 'x', 3))\n"
        "console.say(str('rich' in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "s\nwarning: w\n  a\n  b\n  h\ncapivara: e\n  f\nFalse\n"


@pytest.mark.parametrize("text", ["[red]x[/red].jpg", "[/]", "\\[bold]", ":smile:", "[link=http://x]y[/link]"])
def test_markup_in_names_is_shown_as_it_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console.STREAMS, "quiet", False)
    console.say(text, "bold")
    console.warn(text, text)
    console.error(text, text)
    terminal.draw([Count(text, 1)], Count(text, 1, 2), text)
    assert without_styles(screen.getvalue()).count(text) == 8
    assert text in console.table([[text]], ["name"])


def test_what_is_said_in_colour_is_made_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(console.STREAMS, "quiet", False)
    console.warn("a\x1b[2Jb\u202ec", "d\x07e")
    console.error("f\x9b31mg", "h\rj")
    shown = without_styles(screen.getvalue()).replace(terminal.CLEAR, "")
    assert shown == ("warning: a\\x1b[2Jb\\u202ec\n  d\\x07e\ncapivara: f\\x9b31mg\n  h\n  j\n")


def test_numbers_are_to_the_right_and_wide_characters_take_two_columns() -> None:
    rows = [["pt", "a dog", "1,234.5", "< 1 s"], ["ja", "犬と猫", "—", "+2.0**"]]
    lines = terminal.table([["lang", "text", "n", "share"], *rows], None).splitlines()
    assert lines == [
        "lang  text          n   share",
        "─" * 29,
        "pt    a dog   1,234.5   < 1 s",
        "ja    犬と猫        —  +2.0**",
    ]


@pytest.mark.parametrize("width", [40, 30])
def test_texts_take_several_lines_on_a_narrow_terminal_and_numbers_none(width: int) -> None:
    words = "one two three four five six seven eight nine ten"
    lines = terminal.table([["n", "text", "more"], ["1,234,567", words, "@" * 60]], width).splitlines()
    assert max(map(len, lines)) <= width
    assert "1,234,567" in lines[2]
    assert "".join("".join(line) for line in lines[2:]).count("@") == 60
    assert set(" ".join(lines[2:]).replace("@", "").split()) >= set(words.split())


def test_numbers_are_never_cut() -> None:
    row = ["1,234,567.89"] * 8
    lines = terminal.table([[f"column {number}" for number in range(8)], row], 40).splitlines()
    assert lines[-1].split() == row


def test_counts_of_killed_commands_and_broken_files_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    board = Board()
    board.put(Count("own", 1))
    (folder,) = tmp_path.iterdir()
    counts = {"12": Count("second", 5), "3": ["first", 7, 9, False, True], "5": ["old", 1], "6": [1] * 9, "x.new": []}
    for process, content in counts.items():
        (folder / process).write_text(json.dumps(content))
    (folder / "4").write_text("{")
    os.utime(folder / "5", (0, 0))
    os.utime(folder / "3", (time.time() - 60, time.time() - 60))  # has finished, so its total still counts
    assert board.others() == [Count("first", 7, 9, ended=True), Count("second", 5)]
    board.end(Count("own", 2))
    assert json.loads((folder / str(os.getpid())).read_text()) == ["own", 2, 0, False, True]
    (tmp_path / f"capivara-progress-{os.getuid()}-1").mkdir()
    os.utime(tmp_path / f"capivara-progress-{os.getuid()}-1", (0, 0))
    board.end(Count("own", 2, draws=True))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_user_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    board = Board()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "3").write_text('["x", 1]')
    (tmp_path / f"capivara-progress-{os.getuid()}-{os.getpgrp()}").symlink_to(tmp_path / "elsewhere")
    board.put(Count("own", 1))
    assert board.others() == []
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["3"]


def test_without_a_place_for_the_counts_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null/nowhere")
    board = Board()
    board.put(Count("own", 1))
    assert board.others() == []
    board.end(Count("own", 1, draws=True))


def test_the_styles_of_a_line_are_codes_around_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.styled(StyledText("a", "red"), StyledText("b")) == "\x1b[31ma\x1b[0mb"
    assert terminal.styled(StyledText("a"), StyledText("b")) == "ab"


@pytest.mark.parametrize("result", [False, True], ids=["standard error", "standard output"])
def test_a_table_fits_the_terminal_that_it_goes_to_and_no_other(result: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "one two three four five six seven eight nine ten"
    widths = {1: None, 2: 30}
    monkeypatch.setattr(console.STREAMS, "data", None)
    monkeypatch.setattr(terminal, "columns", lambda descriptor: widths[descriptor])
    lines = console.table([["pt", words]], ["lang", "text"], result=result).splitlines()
    assert (len(lines) == 3) == result
    monkeypatch.setattr(console.STREAMS, "data", 9)  # where commands keep their standard output
    widths[9] = 20
    assert max(map(len, console.table([["pt", words]], ["lang", "text"], result=True).splitlines())) <= 20
