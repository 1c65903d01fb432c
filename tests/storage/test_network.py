"""Limits on waiting: the pace of bytes by an injected clock, settings, and an answer that comes too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from capivara_cli.errors import UsageError
from capivara_cli.storage.network import BYTES_VARIABLE, SECONDS_VARIABLE, NetworkLimits, Pace, TooSlow, answered

LIMITS = NetworkLimits(seconds=30, least=1000)


class Server:
    """Sends blocks; each takes a number of seconds, by its own clock."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pace = Pace(LIMITS, lambda: self.time)

    def blocks(self, *sent: tuple[float, int]) -> Iterator[bytes]:
        for seconds, size in sent:
            self.time += seconds
            yield bytes(size)

    def read(self, *sent: tuple[float, int]) -> int:
        return sum(map(len, self.pace.watched(self.blocks(*sent))))


def test_few_bytes_in_the_longest_wait_are_too_slow() -> None:
    server = Server()
    with pytest.raises(TooSlow, match=r"^30 bytes in 30 s: too slow \(the least is 1,000 in 30 s"):
        server.read(*[(1.0, 1)] * 100)
    assert server.time == 30
    assert server.pace.too_slow


@pytest.mark.parametrize(
    "sent",
    [
        [(29.9, 999), (0.05, 0)],  # not yet
        [(29.0, 1000), (29.0, 1000), (29.0, 1000)],  # exactly the least
        [(31.0, 1000)],  # late, but enough
        [(1.0, 1)] * 29,  # a small file that is complete before
    ],
)
def test_enough_bytes_are_not_too_slow(sent: list[tuple[float, int]]) -> None:
    server = Server()
    assert server.read(*sent) == sum(size for _, size in sent)
    assert not server.pace.too_slow


def test_the_pauses_of_the_reader_do_not_count() -> None:
    server = Server()
    for _ in server.pace.watched(server.blocks(*[(1.0, 1)] * 20)):
        server.time += 100  # the reader works
    assert not server.pace.too_slow


def test_a_server_that_drops_the_connection_before_it_is_too_slow_is_too_slow() -> None:
    """The time of all connections counts, and that of an answer which never comes."""
    server = Server()
    server.read((20.0, 5))
    with pytest.raises(ConnectionError), server.pace.waiting():
        server.time += 8.0
        raise ConnectionError
    with pytest.raises(TooSlow, match="7 bytes in 31 s"):
        server.read((3.0, 2), (1.0, 1))


def test_enough_bytes_after_a_slow_time_end_it() -> None:
    server = Server()
    with pytest.raises(TooSlow):
        server.read((30.0, 5))
    server.read((1.0, 999))
    assert server.pace.too_slow
    server.read((1.0, 1))
    assert not server.pace.too_slow


@pytest.mark.parametrize("text", ["", "  "])
def test_limits_that_are_not_set_are_the_defaults(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, text)
    monkeypatch.delenv(BYTES_VARIABLE, raising=False)
    assert NetworkLimits.from_environment() == NetworkLimits(30.0, 10_000)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_limit_that_is_no_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, text)
    with pytest.raises(UsageError, match=rf"^CAPIVARA_NETWORK_SECONDS={text}: not a number above 0"):
        NetworkLimits.from_environment()


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "2.5")
    monkeypatch.setenv(BYTES_VARIABLE, "7")
    assert NetworkLimits.from_environment() == NetworkLimits(2.5, 7)


def test_an_answer_that_is_late_is_closed_when_it_comes() -> None:
    closed, release = threading.Event(), threading.Event()

    class Answer:
        def close(self) -> None:
            closed.set()

    def send() -> Answer:
        release.wait(60)
        return Answer()

    with pytest.raises(TooSlow, match="late"):
        answered(send, 0.01, TooSlow("late"))
    release.set()
    assert closed.wait(60)


def test_an_answer_in_time_is_returned_and_an_error_is_raised() -> None:
    assert answered(lambda: 5, 60, TooSlow("late")) == 5

    def send() -> int:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        answered(send, 60, TooSlow("late"))
