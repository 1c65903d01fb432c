"""A command of the warm server behaves as one of its own interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.made import shard_bytes, toy_like
from support.warm import CAPIVARA, FRESH, OWNER

BOTH = pytest.mark.parametrize("program", [CAPIVARA, FRESH], ids=["warm", "fresh"])


@BOTH
def test_streams_codes_and_folder(program: list[str], tmp_path: Path) -> None:
    data = shard_bytes(toy_like(2))
    done = subprocess.run([*program, "split", "--fraction", "0"], cwd=tmp_path, input=data, capture_output=True)
    assert (done.returncode, b"read 2, wrote 2, dropped 0" in done.stderr) == (0, True)
    assert done.stdout.startswith(b"pax_global_header\0") and b"00001.jpg\0" in done.stdout
    done = subprocess.run([*program, "split", "n\u00e3o.tar"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "capivara: n\u00e3o.tar: no such file or folder" in done.stderr.decode()


@BOTH
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_meets_the_command(program: list[str], number: int, code: int, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*program, "split", "-", "--out", "out"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(shard_bytes(toy_like(2))[:3000])
        process.stdin.flush()
        while not (tmp_path / "out").is_dir():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == code


def test_a_variable_that_is_read_on_import_gets_a_fresh_interpreter(
    shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards(toy_like(1))
    for value, fresh in ((os.environ["OMP_NUM_THREADS"], False), ("7", True)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        process = subprocess.Popen(
            [*CAPIVARA, "split", "--fraction", "0", "-"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        name = Path(f"/proc/{process.pid}/cmdline")
        want = b"-m\0capivara_cli" if fresh else b"warm.py"
        while want not in name.read_bytes():
            assert process.poll() is None
        process.communicate(b"")
        assert process.returncode == 1


@BOTH
def test_code_is_run_with_its_words(program: list[str]) -> None:
    code = "import sys; print(__name__, sys.argv); sys.exit(3)"
    words = program if program is CAPIVARA else program[:1]
    done = subprocess.run([*words, "-c", code, "one", "two"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "__main__ ['-c', 'one', 'two']\n"), done.stderr


def test_the_server_belongs_to_this_run_of_the_tests() -> None:
    assert int(os.environ[OWNER]) in (os.getpid(), os.getppid())
