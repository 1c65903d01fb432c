"""What a training says before it begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from capivara_cli import console
from capivara_cli.training.session import Session


@pytest.mark.parametrize(
    ("steps", "size", "captions", "says"),
    [
        (1500, 1000, 2000, "1,500 steps of 1,000 pairs show each of 2,000 captions 750 times|30 times are --steps 60;"),
        (1500, 96, 24, "1,500 steps of 96 pairs show each of 24 captions 6,000 times|30 times are --steps 7;"),
        (10, 40, 13, "10 steps of 40 pairs show each of 13 captions 31 times|30 times are --steps 9;"),
        (2, 1000, 3, "2 steps of 1,000 pairs show each of 3 captions 667 times|30 times are --steps 1;"),
        (30, 40, 40, ""),  # thirty times exactly
        (1500, 1000, 500_000, ""),
    ],
)
def test_captions_that_are_drawn_too_often_are_warned_of_with_the_steps_that_are_enough(
    steps: int, size: int, captions: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_WARNED", set())
    monkeypatch.setattr(console.STREAMS, "quiet", False)
    own: Any = SimpleNamespace(options=SimpleNamespace(schedule=SimpleNamespace(steps=steps)))
    for _ in range(2):  # two seeds of one command
        Session._warn_of_repetition(own, size, captions)
    lines = capsys.readouterr().err.splitlines()
    if not says:
        assert lines == []
        return
    problem, advice = says.split("|")
    assert len(lines) == 2
    assert lines[0].startswith(f"warning: {problem}, so the model may learn them by heart")
    assert lines[1].startswith(f"  {advice}")
