"""The program as people meet it: help, exit codes, messages, standard output, signals."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import warm
from support.made import shard_bytes, toy_like

from capivara_cli import __version__
from capivara_cli.cli import app
from capivara_cli.pipeline.launchers import local
from capivara_cli.registry import command_names

CAPIVARA = [sys.executable, "-m", "capivara_cli"]


def capivara(
    *words: str, cwd: Path, program: list[str] = CAPIVARA, **options: object
) -> subprocess.CompletedProcess[str]:
    given = {"stdin": subprocess.DEVNULL, **options}
    return subprocess.run([*program, *words], cwd=cwd, capture_output=True, text=True, errors="replace", **given)  # type: ignore[call-overload,no-any-return]


def test_help_lists_every_command(tmp_path: Path) -> None:
    page = capivara("--help", cwd=tmp_path).stdout
    for name in command_names():
        assert f"\n│ {name} " in page


@pytest.fixture(scope="module")
def helps() -> dict[str, list[str]]:
    """What each command prints for ``--help``, ``--quiet --help`` (parsed by Typer) and ``--version``."""
    code = """
import contextlib, io, json, sys
from capivara_cli.cli.app import main
printed = {name: [] for name in sys.argv[1:]}
for name in printed:
    for words in (["--help"], ["--quiet", "--help"], ["--version"]):
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
            main([name, *words])
        printed[name].append(out.getvalue())
print(json.dumps(printed))"""
    words = [sys.executable, "-c", code, *command_names()]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", sorted(command_names()))
def test_every_command_has_help_version_and_quiet(name: str, helps: dict[str, list[str]]) -> None:
    page, parsed, version = helps[name]
    assert page == parsed
    for flag in ("--quiet", "--version", "--help", "--summary"):
        assert flag in page
    assert page.startswith(f"Usage: capivara {name} ")
    assert version == f"capivara {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["captoin"], 2, "did you mean caption?"),
        (["caption", "--nope"], 2, "--nope"),
        (["caption", "shards", "--n", "0"], 2, "--n 0: must be at least 1"),
        (["split", "shards", "--fraction", "nan"], 2, "--fraction nan"),
        (["search"], 2, "search: no query"),
        (["search", "x", "good.tar", "--k", "0"], 2, "--k 0: must be at least 1"),
        (["search", "x", "good.tar", "--model", "no-such-model"], 1, "no-such-model"),
        (["report"], 2, "which run?"),
        (["split", "nowhere"], 1, "nowhere: no such file or folder"),
        (["split"], 1, "shards: no such file or folder"),
        (["split", "empty"], 1, "no .tar shards"),
        (["split", "text.tar"], 1, "text.tar: cut off"),
        (["split", "zip.tar"], 1, "zip.tar: not a tar"),
        (["split", "void.tar"], 1, "void.tar: empty"),
        (["caption", "good.tar", "--captioner", "stib"], 1, "there is no captioner 'stib'"),
        (["translate", "good.tar", "--lang", "ptt"], 2, "--lang: there is no language 'ptt'"),
        (["filter", "good.tar", "--model", "no-such-model"], 1, "no-such-model"),
        (["run", "split | dedup", "good.tar"], 2, "did you mean dedupe?"),
        (["run"], 2, "which plan"),
        (["pack"], 2, "pack: no input is named"),
        (["pack", "nowhere.csv"], 1, "nowhere.csv: no such file or folder"),
        (["train", "good.tar"], 2, "--lang"),
        (["eval", "flickr31k"], 1, "did you mean flickr30k?"),
        (["footprint", "nowhere"], 1, "nowhere: no such file or folder"),
        (["footprint"], 2, "which results"),
        (["split", "good.tar", "--country", "BRZ"], 1, "BRZ"),
        (["adapt", "good.tar"], 2, "which language"),
        (["list", "capybaras"], 2, "capybaras"),
    ],
)
def test_wrong_use_is_one_clear_message(words: list[str], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar").write_bytes(b"hello")
    (tmp_path / "zip.tar").write_bytes(b"PK\x03\x04" * 400)
    (tmp_path / "void.tar").touch()
    (tmp_path / "good.tar").write_bytes(shard_bytes(toy_like(2)))
    result = capivara(*words, cwd=tmp_path, program=warm.CAPIVARA)
    assert (result.returncode, message in result.stderr) == (code, True), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == "" or result.stdout.startswith(("pax", "\0"))  # at most the head of an unfinished tar


def test_the_summary_counts_and_can_be_read_by_programs(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(20))
    result = capivara("split", "--fraction", "0.5", "--out", "half", "--summary", "s.json", cwd=tmp_path)
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["command"] == "split"
    assert summary["read"] == 20 == summary["written"] + summary["dropped"]["in the heldout part"]
    assert summary["footprint"]["kwh"] > 0
    line = result.stderr.splitlines()[-1]
    assert line.startswith(
        f"capivara split: read 20, wrote {summary['written']}, dropped {20 - summary['written']} (in the"
    )
    quiet = capivara("split", "shards", "--out", "other", "--quiet", cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_closed_pipe_is_silent(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(600))  # more than a pipe of 1 MiB holds
    script = f"{' '.join(CAPIVARA)} split shards --fraction 0 | head -c 600 > /dev/null; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert (result.stdout, result.stderr) == ("141\n", "")


def test_a_full_disk_is_said_of_a_file(tmp_path: Path) -> None:
    from capivara_cli.storage.files import replacing

    with pytest.raises(OSError, match="No space left on device") as raised, replacing(tmp_path / "x" / "adapter.pt"):
        raise OSError(28, "No space left on device")
    assert raised.value.filename == str(tmp_path / "x" / "adapter.pt")
    assert list((tmp_path / "x").iterdir()) == []


def test_a_full_disk_is_said_and_nothing_is_left(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(200))
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*CAPIVARA, "split", "shards", "--fraction", "0"],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    limited = capivara("split", "shards", "--fraction", "0", "--out", "out", cwd=tmp_path, preexec_fn=small_files)
    assert limited.returncode == 1
    assert "File too large" in limited.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.jsonl"]  # others may fill it, too
    again = capivara("split", "shards", "--fraction", "0", "--out", "out", cwd=tmp_path)
    assert again.returncode == 0
    assert "wrote 200" in again.stderr


@pytest.mark.parametrize("limit", [100, 30_000, 100_000])
def test_a_stream_that_fills_the_disk_leaves_no_folder(limit: int, tmp_path: Path) -> None:
    (tmp_path / "stream.tar").write_bytes(shard_bytes(toy_like(200)))

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    words = ["split", "-", "--fraction", "0", "--out", "out", "--no-energy"]
    with open(tmp_path / "stream.tar", "rb") as stream:
        limited = capivara(*words, cwd=tmp_path, stdin=stream, preexec_fn=small_files)
    assert (limited.returncode, "File too large" in limited.stderr) == (1, True), limited.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_named(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(2))
    (tmp_path / "file").write_text("")
    result = capivara("split", "shards", "--out", "file/below", cwd=tmp_path)
    assert result.returncode == 1
    assert "file/below" in result.stderr or "Not a directory" in result.stderr
    assert "Traceback" not in result.stderr
    readonly = capivara("split", "shards", "--out", "/proc/nowhere", cwd=tmp_path)
    assert readonly.returncode == 1
    assert "/proc/nowhere" in readonly.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_nothing_behind(number: int, code: int, shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(2))
    process = subprocess.Popen(
        [*CAPIVARA, "split", "-", "--out", "out"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write((tmp_path / "shards" / "00000.tar").read_bytes()[:3000])
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "manifest.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.wait(60) == code
    assert b"Traceback" not in process.stderr.read()
    process.stdin.close()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "kept"), [("", "PASSIVE"), ("ACTIVE", "ACTIVE"), ("passive", "passive")])
def test_threads_that_wait_sleep_in_every_command_unless_the_user_wants_them_to_spin(
    given: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given)
    if not given:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    monkeypatch.setattr("atexit.register", lambda function: function)
    seen: list[str] = []
    monkeypatch.setattr(app, "_answer", lambda words: seen.append(os.environ["OMP_WAIT_POLICY"]))
    with pytest.raises(SystemExit) as ended:
        app.main(["split", "shards"])
    own = {} if not given else {"OMP_WAIT_POLICY": given}
    assert (ended.value.code, seen, local.environment(own, 0, 2, "cpu")["OMP_WAIT_POLICY"]) == (0, [kept], kept)


def test_a_bug_is_shown_whole_with_its_own_exit_code(tmp_path: Path) -> None:
    code = "import sys; from capivara_cli.cli import app\napp.load_command = lambda name: 1 / 0\napp.main(['split'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 70
    assert "this is a bug in capivara" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_on_a_terminal_a_stage_writes_a_folder(shards: Callable[..., Path], tmp_path: Path) -> None:
    import pty

    shards(toy_like(2))
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*CAPIVARA, "split", "--fraction", "0"], cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave, close_fds=True
    )
    assert process.wait(60) == 0
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    assert "writing to shards-split/" in shown
    assert "read 2, wrote 2" in shown
    assert (tmp_path / "shards-split" / "00000.tar").is_file()
