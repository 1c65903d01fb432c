"""Kill captioning and translating at random, again and again, and compare with a run that nobody killed.

python benchmarks/kills.py [KILLS] [SHARDS] [SAMPLES]

A folder of toy scenes is captioned and translated in one plan by processes that are killed (SIGKILL) after a random
time, then once more to the end. Shown: the folder equals a clean run's byte for byte, nothing else is left in it, and
no sample that was finished before a kill was captioned or translated after it. The processes are forked from one that
has torch loaded, so that a hundred deaths take minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from capivara_cli import cli
from capivara_cli.stages import caption, translate

PLAN = "caption --captioner toy --n 3 | translate --translator toy --lang pt,xh --no-cache"


def main() -> None:
    kills, shards, samples = (int(word) for word in [*sys.argv[1:], "100", "2", "1200"][:3])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        call("pack", f"toy:{shards * samples}", "--shard-size", str(samples), "--out", "shards", "--quiet")
        start = time.monotonic()
        assert in_child("clean", "clean.log")(None) == 0
        alone = time.monotonic() - start
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
        report(deaths, again, alone, shards * samples)


def report(deaths: int, again: int, alone: float, samples: int) -> None:
    same = content("out") == content("clean")
    clean, killed = (len(Path(log).read_text().splitlines()) for log in ("clean.log", "log"))
    print(f"{samples} samples, {deaths} kills; a clean run takes {alone:.0f} s")
    print(f"the folder equals the clean run's, byte for byte: {same}; files: {' '.join(sorted(content('out')))}")
    print(f"finished samples captioned or translated again: {again}")
    print(f"finished but not kept, so done twice: {killed - clean} of {clean}")
    if not same or again:
        raise SystemExit(1)


def content(folder: str) -> dict[str, str]:
    """File name -> sha256; the costs have a clock in them and are left out."""
    files = [file for file in Path(folder).iterdir() if file.name != "footprint.jsonl"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def finished() -> set[tuple[int, str]]:
    """(step, key) of every sample whose batch a journal has, or whose shard is done."""
    found = set()
    for journal in Path("out").glob(".*.journal") if Path("out").is_dir() else ():
        for line in journal.read_bytes().split(b"\n")[1:-1]:
            step, keys, _ = json.loads(line)
            found |= {(step, key) for key in keys}
    return found


def in_child(out: str, log: str) -> Callable[[float | None], int]:
    """Run the plan in a forked process, which is killed after some seconds; returns its exit code."""

    def run(seconds: float | None) -> int:
        child = os.fork()
        if child == 0:
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
    """Note every sample whose captions were made, after they were."""
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
        cli.main(list(arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


if __name__ == "__main__":
    main()
