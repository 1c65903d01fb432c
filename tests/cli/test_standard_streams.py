"""Standard streams that are closed or cannot be written: the work is done, and a lost result is an error."""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import variants
from support.made import toy_like

from capivara_cli import __version__

CAPIVARA = shlex.join([sys.executable, "-m", "capivara_cli"])
CLOSINGS = ["<&-", ">&-", "2>&-"]


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which ``capivara`` is a fresh interpreter."""
    script = line.replace("capivara ", f"{CAPIVARA} ")
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder with shards, and the bytes that ``split`` makes of the first."""
    folder = tmp_path_factory.mktemp("split")
    from support.made import shard_bytes

    (folder / "shards").mkdir()
    for number in range(2):
        (folder / "shards" / f"{number:05d}.tar").write_bytes(shard_bytes(toy_like(3, 3 * number)))
    done = shell("capivara split shards --out clean", folder)
    assert done.returncode == 0, done.stderr
    return folder, (folder / "clean" / "00000.tar").read_bytes()


@pytest.mark.parametrize(
    "closed",
    variants.some([each for count in (1, 2, 3) for each in itertools.combinations(CLOSINGS, count)], 4),
    ids=" ".join,
)
def test_a_folder_is_written_whatever_is_closed(closed: tuple[str, ...], split: tuple[Path, bytes]) -> None:
    folder, expected = split
    out = f"out-{CLOSINGS.index(closed[0])}-{len(closed)}-{CLOSINGS.index(closed[-1])}"
    done = shell(f"capivara split shards --out {out} {' '.join(closed)}", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / out / "00000.tar").read_bytes() == expected
    assert done.stdout == ""
    assert ("read 6, wrote 6" in done.stderr) is ("2>&-" not in closed)


def test_workers_work_with_everything_closed(split: tuple[Path, bytes]) -> None:
    folder, expected = split
    done = shell("capivara split shards --out by-two --workers 2 <&- >&- 2>&-", folder)
    assert done.returncode == 0
    assert (folder / "by-two" / "00000.tar").read_bytes() == expected


@pytest.mark.parametrize("stderr", variants.some(["2>&-", "2>/dev/full"], 1))
def test_without_standard_error_results_and_codes_are_the_same(stderr: str, split: tuple[Path, bytes]) -> None:
    folder, _ = split
    table = shell(f"capivara list importers {stderr}", folder)
    assert table.returncode == 0
    assert "karpathy" in table.stdout
    piped = shell(f"capivara split shards {stderr} | capivara show -", folder)
    assert piped.returncode == 0
    assert "00004" in piped.stdout
    assert shell(f"capivara list nothing {stderr}", folder).returncode == 2


LOST = {
    ">/dev/full": "capivara: standard output cannot be written: No space left on device\n",
    ">&-": "capivara: standard output is closed\n",
    "</dev/null >&-": "capivara: standard output is closed\n",
}
ASKED = ["--help", "--version", "list --help", "list --version", "list importers", "list --quiet --help"]


@pytest.mark.parametrize(("stdout", "words"), variants.some([*itertools.product(LOST, ASKED)], 6))
def test_what_was_asked_for_and_cannot_be_shown_is_an_error_of_one_line(
    words: str, stdout: str, tmp_path: Path
) -> None:
    done = shell(f"capivara {words} {stdout}", tmp_path)
    assert (done.returncode, done.stderr) == (1, LOST[stdout])


def test_a_tar_for_closed_standard_output_is_refused_before_the_work(split: tuple[Path, bytes]) -> None:
    folder, _ = split
    before = sorted(folder.iterdir())
    done = shell("capivara split shards >&-", folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "capivara: standard output is closed"
    assert sorted(folder.iterdir()) == before


def test_closed_standard_input_is_empty(tmp_path: Path) -> None:
    done = shell("capivara split - --out out <&-", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("capivara: standard input: empty")


@pytest.mark.parametrize("line", ["capivara --help", "capivara --version"])
def test_a_reader_that_has_stopped_is_silent(line: str, tmp_path: Path) -> None:
    done = shell(f"{{ sleep 1; {line}; echo $? >&2; }} | true", tmp_path)
    assert done.stderr == "141\n"


def test_messages_do_not_go_into_the_next_file_that_is_opened(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(2))
    program = (
        "import sys; from capivara_cli import console; console.open_closed_streams(); out = open('file', 'w')\n"
        "print(out.fileno() > 2, file=out); console.say('a message'); print('text')"
    )
    done = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} <&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (0, "text\n")
    assert (tmp_path / "file").read_text() == "True\n"


def test_the_version_is_shown_as_before(tmp_path: Path) -> None:
    assert shell("capivara --version", tmp_path).stdout == f"capivara {__version__}\n"
