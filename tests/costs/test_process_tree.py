"""CPU time and memory of this process and its descendants: each counted once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from capivara_cli.costs import process_tree

BUSY = "import time, sys\nwhile time.process_time() < 0.2: pass\nprint('x', flush=True)\nsys.stdin.read()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A child process that has used 0.2 CPU seconds, and waits."""
    process = subprocess.Popen([sys.executable, "-S", "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate(b"")


def test_own_time_is_counted_once_though_this_process_is_among_those_alive(child: subprocess.Popen[bytes]) -> None:
    while os.times().user < 0.2:
        pass
    own = process_tree.cpu_seconds()
    assert process_tree.cpu_seconds([os.getpid()]) - own < 0.1
    assert 0.15 <= process_tree.cpu_seconds([os.getpid(), child.pid]) - own < 0.2 + own  # counted in hundredths
    assert process_tree.cpu_seconds([2**22 + 1]) - own < 0.1  # a process that has ended


def test_the_tree_has_this_process_and_children_of_every_thread(child: subprocess.Popen[bytes]) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE))
        ended.wait()

    ended = threading.Event()
    thread = threading.Thread(target=start)
    thread.start()
    try:
        while not started:
            pass
        found = process_tree.processes()
        assert found[0] == os.getpid() and len(found) == len(set(found))
        assert {child.pid, started[0].pid} <= set(found)
    finally:
        ended.set()
        thread.join()
        started[0].communicate(b"\n")


def test_memory_is_in_bytes_and_that_of_processes_that_ended_is_0() -> None:
    import psutil

    own = process_tree.resident_bytes([os.getpid()])
    whole = psutil.Process().memory_info().rss
    assert 0.1 * whole < own < 1.2 * whole
    assert process_tree._whole_resident(os.getpid()) == pytest.approx(whole, rel=0.2)
    assert process_tree.resident_bytes([2**22 + 1]) == process_tree._whole_resident(2**22 + 1) == 0


def test_the_time_of_the_machine_is_more_than_that_of_this_process() -> None:
    assert process_tree.busy_seconds() > process_tree.cpu_seconds()
    assert 0 < process_tree.age() < 24 * 3600
