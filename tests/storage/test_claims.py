"""Claims and signals: SIGTERM at any moment leaves no claim behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from capivara_cli.storage import claims
from capivara_cli.storage.claims import Claims


class Terminated(BaseException):
    pass


@pytest.fixture(autouse=True)
def sigterm_raises() -> Iterator[None]:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    yield
    assert signal.signal(signal.SIGTERM, before) is terminate


def interrupted(function: Callable[..., object], after: bool = False) -> Callable[..., object]:
    """The function, with a SIGTERM that arrives before it does its work, or after."""

    def interrupt(*arguments: object, **options: object) -> object:
        if not after:
            os.kill(os.getpid(), signal.SIGTERM)
        result = function(*arguments, **options)
        if after:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    return interrupt


def test_a_signal_does_not_interrupt_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Claims(tmp_path)
    claim = own.take("a.tar")
    assert claim is not None
    monkeypatch.setattr(Path, "unlink", interrupted(Path.unlink))
    with pytest.raises(Terminated):
        claim.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["os.open", "_create"])
def test_a_claim_taken_when_a_signal_arrives_is_released_by_close(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = (os, "open") if function == "os.open" else (claims, function)
    own = Claims(tmp_path)
    monkeypatch.setattr(module, name, interrupted(getattr(module, name), after=True))
    with pytest.raises(Terminated):
        own.take("a.tar")
    monkeypatch.undo()
    own.close()
    assert list(tmp_path.iterdir()) == []


def test_a_signal_in_the_block_releases_the_claim(tmp_path: Path) -> None:
    own = Claims(tmp_path)
    with pytest.raises(Terminated), own.waiting("a.tar"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_claims_of_another_thread(tmp_path: Path) -> None:
    """Only the main thread can set handlers, and only the main thread runs them."""
    own = Claims(tmp_path)

    def work() -> bool:
        with own.waiting("a.tar") as claim:
            return claim is not None and claim.held()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result()
    assert list(tmp_path.iterdir()) == []


def test_close_leaves_what_was_handed_over_or_taken_over(tmp_path: Path) -> None:
    own = Claims(tmp_path)
    handed_over, lost = own.take("a.tar"), own.take("b.tar")
    assert handed_over is not None and lost is not None
    handed_over.handed_over = True
    lost.path.write_bytes(b"of another process")
    own.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.tar.claim", ".b.tar.claim"]
    handed_over.release()
    handed_over.release()
    assert [path.name for path in tmp_path.iterdir()] == [".b.tar.claim"]
