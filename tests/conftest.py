"""Shared fixtures: small shards made here, and the environment every test runs in."""

from __future__ import annotations

import gc
import io
import math
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as every command sets it
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every command that a test starts would compile the package
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers inherit it
    os.environ["CAPIVARA_CACHE"] = tempfile.mkdtemp(prefix="capivara-tests-")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{os.environ['CAPIVARA_CACHE']}/inductor"  # or torch sets it on import

from support import warm
from support.made import shard_bytes

from capivara_cli import console
from capivara_cli.shards.sample import Sample

if "PYTEST_XDIST_WORKER" not in os.environ:
    warm.prepare(os.environ["CAPIVARA_CACHE"])


def pytest_configure() -> None:
    """Ctrl-C reaches what the tests start, also where a shell has started these in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What all tests import stays: no search for garbage visits it, and no fork has to copy it for that."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """For ``-n auto``: more workers than cores, since tests wait a third of their time for processes and servers."""
    return math.ceil(1.5 * len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session", autouse=True)
def _commands_stay_warm() -> Iterator[None]:
    """No test and no import leaves a variable behind with which the warm server refuses every later command."""
    before = warm.read_on_import(os.environb)
    yield
    assert warm.read_on_import(os.environb) == before


@pytest.fixture(autouse=True)
def _a_warning_of_another_test_is_given_again() -> None:
    console._WARNED.clear()


@pytest.fixture(scope="session", autouse=True)
def drawing() -> Iterator[Callable[..., None]]:
    """``curve.save`` of the program. Drawing is half the time of a short training: the tests get one black pixel."""
    from PIL import Image

    from capivara_cli.storage.files import replacing
    from capivara_cli.training import curve

    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "PNG")

    def save(metrics: object, path: Path, title: str) -> None:
        with replacing(path) as out:
            out.write(pixel.getvalue())

    drawn = curve.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "save", save)
        yield drawn


@pytest.fixture
def curves_are_drawn(drawing: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The training curve is drawn, as people get it."""
    monkeypatch.setattr("capivara_cli.training.curve.save", drawing)


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of shards: ``shards([samples], [samples])`` -> its path."""

    def write(*parts: Sequence[Sample], name: str = "shards") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for number, samples in enumerate(parts):
            (folder / f"{number:05d}.tar").write_bytes(shard_bytes(samples))
        return folder

    return write


@pytest.fixture
def never_waits() -> Iterator[None]:
    """Reading a pipe that nobody writes to would wait for ever: an alarm ends the test."""
    signal.alarm(100)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder: a ViT and an XLM-RoBERTa text tower with random weights; see ``support/tiny.py``."""
    from support.tiny import tiny_clip

    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bitwise equality is asserted, and the machine is shared: one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
