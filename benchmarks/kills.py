"""Kill runs at random many times, and compare the result with an uninterrupted run.

python benchmarks/kills.py one     [KILLS] [SHARDS] [SAMPLES]   one process, captioning and translating
python benchmarks/kills.py workers [KILLS] [SHARDS] [SAMPLES]   four workers, one of them at a time, and once everything
python benchmarks/kills.py ray     [KILLS] [SHARDS] [SAMPLES]   the same with the actors of --engine ray
python benchmarks/kills.py disk    [RUNS]  [SHARDS] [SAMPLES]   four workers on a disk that fills up many times

``one`` tests the inside of a shard: a sample that was finished before a kill is not captioned or translated again. Its
processes are forked from one that has torch loaded, so a hundred kills take minutes. The others test a folder that
processes share, in a plan with a stage that must see all samples: the folder equals that of a clean run byte for byte,
holds nothing else, and has every sample once. If it is complete before the last kill, another one is started.
``benchmarks/disturbances.py`` does the same with stopped processes, wrong clocks and two machines.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from capivara_cli.cli import app
from capivara_cli.shards.archive import ShardReader

PLAN = "caption --captioner toy --n 3 | translate --translator toy --lang pt,xh --no-cache"
SHARED = "translate --translator toy --lang pt,xh --no-cache | dedupe --images exact"
CAPIVARA = [sys.executable, "-m", "capivara_cli"]
WORKERS = 4
DEFAULTS = {"one": (100, 2, 1200), "workers": (200, 40, 250), "ray": (40, 40, 250), "disk": (12, 40, 250)}


def main() -> None:
    mode, *words = sys.argv[1:] or ["one"]
    given = [int(word) for word in words]
    count, shards, samples = (*given, *DEFAULTS[mode][len(given) :])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        call("pack", f"toy:{shards * samples}", "--shard-size", str(samples), "--out", "shards", "--quiet")
        if mode == "one":
            one(count, shards * samples)
        elif mode == "disk":
            print(full_disk(count, SHARED))
        else:
            engine = ["--engine", "ray"] if mode == "ray" else []
            print(kill_workers(count, SHARED, engine))


# A folder that several processes fill


def kill_workers(kills: int, plan: str, engine: Sequence[str] = (), wait: float = 2.0) -> str:
    """Kill workers of runs over ./shards into ./out until it is complete; returns a report, raises if it is wrong.

    The pace follows the work, so that the kills are spread over all of it. In the middle everything is killed at once.
    """
    clean = clean_run(plan)
    source = random.Random(0)
    total = len(list(Path("shards").glob("*.tar")))
    deaths, before, everything, folders = 0, 0, 0, 0
    codes: list[int] = []
    while deaths < kills or codes[-1] != 0:
        if not codes or codes[-1] == 0:
            folders, before = folders + 1, deaths
        out = Path(f"out-{folders}")
        run = start(plan, out.name, [*engine, "--workers", str(WORKERS)])
        while run.poll() is None:
            time.sleep(source.uniform(0, wait))
            wait = paced(wait, out, total, (deaths - before) / kills)
            if deaths >= kills:
                continue
            if not everything and deaths >= kills // 2 and run.poll() is None:
                everything = len(kill_all(run))
            elif kill_one(run, source):
                deaths += 1
        codes.append(run.wait())
        if codes[-1] == 0:
            seen = check(clean, out)
    kinds = ", ".join(f"{codes.count(code)} with {code}" for code in sorted(set(codes)))
    return (
        f"{deaths} workers killed one by one, {everything} processes at once; {len(codes)} runs ended: {kinds}\n"
        f"{folders} folders, each: {seen}"
    )


def paced(wait: float, out: Path, shards: int, share: float) -> float:
    """The next time to wait: longer if the ``share`` of the kills that are done is ahead of the work, else shorter."""
    done = len([*out.rglob("*.tar"), *out.rglob("*.npz")]) / (4 * shards)
    return min(10.0, wait * 1.1) if done < share else max(0.02, wait / 1.3)


def full_disk(runs: int, plan: str) -> str:
    """Run on a disk that grows a little each time, until it is large enough."""
    clean = clean_run(plan)
    needed = sum(path.stat().st_size for path in Path("shards").rglob("*"))
    Path("out").mkdir()
    size = needed // runs
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "out"], check=True)
    failed = 0
    try:
        while start(plan, "out/put", ["--workers", str(WORKERS)]).wait() != 0:
            failed += 1
            text = Path("log").read_text()
            if "No space left on device" not in text.splitlines()[-2]:
                raise SystemExit(f"a full disk was not the last thing said:\n{text[-2000:]}")
            size += needed // runs
            subprocess.run(["mount", "-o", f"remount,size={size}", "out"], check=True)
        seen = check(clean, Path("out/put"))
    finally:
        subprocess.run(["umount", "out"], check=True)
    return f"{failed} runs stopped by a full disk\n{seen}"


def clean_run(plan: str) -> dict[str, str]:
    """The digests of the files of an uninterrupted run, in ./clean."""
    began = time.monotonic()
    if (run := start(plan, "clean", [])).wait() != 0:
        raise SystemExit(f"the clean run ended with {run.returncode}:\n{Path('log').read_text()}")
    print(f"a clean run of one process takes {time.monotonic() - began:.0f} s")
    return content("clean")


def start(
    plan: str, out: str, more: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, which signals of a terminal can be sent to."""
    with open("log", "ab") as log:
        return subprocess.Popen(
            [*CAPIVARA, "run", plan, "shards", "--out", out, "--no-energy", "--device", "cpu", *more],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=os.setpgrp,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **(environment or {})},
        )  # fmt: skip


def workers_of(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that do the work: our workers, or Ray's actors."""
    found = []
    for child in psutil.Process(run.pid).children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "capivara_cli.pipeline.workers.worker" in line or line.startswith("ray::Actor"):
            found.append(child)
    return found


def kill_one(run: subprocess.Popen[bytes], source: random.Random) -> bool:
    try:
        source.choice(workers_of(run)).kill()
    except (psutil.Error, IndexError):  # they have ended by themselves
        return False
    return True


def kill_all(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Send SIGKILL to the run and to all processes that it has started."""
    doomed = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    for process in doomed:
        try:
            process.kill()
        except psutil.Error:
            continue
    return doomed


def check(clean: dict[str, str], out: Path) -> str:
    """Compare the folder with the clean run's; raises when a byte, a file or a sample differs."""
    found = content(str(out))
    if found != clean:
        differ = sorted(name for name in found.keys() | clean.keys() if found.get(name) != clean.get(name))
        raise SystemExit(f"{out} differs from a clean run in {', '.join(differ[:10])} ({len(differ)} files)")
    keys = keys_in(out)
    if len(keys) != len(set(keys)):
        raise SystemExit(f"{len(keys) - len(set(keys))} samples are there twice")
    expected = keys_in(Path("clean"))
    if keys != expected:
        raise SystemExit("samples are lost")
    left = len(list(out.rglob(".*")))
    return f"{len(found)} files equal a clean run's byte for byte, {left} hidden; {len(keys)} samples, each there once"


def keys_in(folder: Path) -> list[str]:
    keys = []
    for path in sorted(folder.glob("*.tar")):
        with open(path, "rb") as stream:
            keys += [sample.key for sample in ShardReader(stream, path.name)]
    return keys


def content(folder: str) -> dict[str, str]:
    """File name -> sha256; without the costs, which hold times."""
    files = [file for file in Path(folder).rglob("*") if file.name != "footprint.jsonl"]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "a folder"
        for file in files
    }


# One process, inside a shard


def one(kills: int, samples: int) -> None:
    import torch

    torch.set_num_threads(1)
    began = time.monotonic()
    assert in_child("clean", "clean.log")(None) == 0
    alone = time.monotonic() - began
    source = random.Random(0)
    Path("log").touch()
    deaths, again = 0, 0
    while deaths < kills:
        before = finished()
        logged = Path("log").stat().st_size
        code = in_child("out", "log")(source.uniform(0.05, 2.2 * alone / kills + 1.0))
        with open("log") as log:
            log.seek(logged)
            again += sum(tuple(json.loads(line)) in before for line in log)
        if code == 0:
            print(f"finished after {deaths} kills; the rest of them has nothing to kill: give it more samples")
            break
        deaths += 1
    assert in_child("out", "log")(None) == 0
    report(deaths, again, alone, samples)


def report(deaths: int, again: int, alone: float, samples: int) -> None:
    same = content("out") == content("clean")
    clean, killed = (len(Path(log).read_text().splitlines()) for log in ("clean.log", "log"))
    print(f"{samples} samples, {deaths} kills; a clean run takes {alone:.0f} s")
    print(f"the folder equals the clean run's, byte for byte: {same}; files: {' '.join(sorted(content('out')))}")
    print(f"finished samples captioned or translated again: {again}")
    print(f"finished but not kept, so done twice: {killed - clean} of {clean}")
    if not same or again:
        raise SystemExit(1)


def finished() -> set[tuple[int, str]]:
    """(step, key) of every sample whose batch a journal has, or whose shard is done."""
    found = set()
    for journal in Path("out").glob(".*.journal") if Path("out").is_dir() else ():
        for line in journal.read_bytes().split(b"\n")[1:-1]:
            step, keys, _ = json.loads(line[9:])  # after its CRC-32
            found |= {(step, key) for key in keys}
    return found


def in_child(out: str, log: str) -> Callable[[float | None], int]:
    """Run the plan in a forked process, which is killed after some seconds; returns its exit code."""

    def run(seconds: float | None) -> int:
        child = os.fork()
        if child == 0:
            from capivara_cli.stages import caption, translate

            watch(caption._Work, 0, Path(log))
            watch(translate._Work, 1, Path(log))
            code = 70
            try:
                code = call("run", PLAN, "shards", "--out", out, "--quiet", "--no-energy", "--device", "cpu")
            finally:
                os._exit(code)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return run


def watch(work: Any, step: int, log: Path) -> None:
    """Log every sample after its captions are made."""
    original = work.__call__

    def logging(self: Any, batch: list[Any]) -> Any:
        results = original(self, batch)
        with open(log, "a") as out:
            out.write("".join(json.dumps([step, item[0]]) + "\n" for item in batch))
        return results

    work.__call__ = logging


def call(*arguments: str) -> int:
    """One command line in this process; returns its exit code."""
    try:
        app.main(list(arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


if __name__ == "__main__":
    main()
