"""``--patience`` that cannot end a run is known before the work, with numbers that help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny import pairs

from capivara_cli.commands.train import Options, train
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> Options:
    model = f"local-dir:{tiny}"
    return build(Options, lang="pt", model=model, runs=str(tmp_path / "runs"), batch_size=8, keep_share=0.0, val="8")


@pytest.mark.parametrize(
    ("steps", "every", "patience", "says"),
    [
        (20, 100, 5, "6 validations before the last step, and with --val-every 100 and --steps 20 there are 0; "
                     "try --val-every 3 or less"),
        (100, 100, 1, "there are 0; try --val-every 49 or less"),
        (300, 100, 2, "there are 2; try --val-every 99 or less"),
        (5, 1, 5, "there are 4; try a smaller --patience, or more --steps"),
        (301, 100, 2, ""),
        (3, 1, 1, ""),
        (20, 100, 0, ""),
    ],
)  # fmt: skip
def test_patience_that_cannot_end_a_run_is_known_before_the_work(
    options: Options, steps: int, every: int, patience: int, says: str
) -> None:
    given = changed(options, steps=steps, val_every=every, patience=patience, val="0.2")
    assert given.idle_patience.endswith(says) and bool(given.idle_patience) == bool(says)


def warned(options: Options, data: Path, capsys: pytest.CaptureFixture[str], **given: Any) -> list[str]:
    """The warnings of a run with these options."""
    train.run([str(data)], changed(options, **given), Env(Settings(), "train"))
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]


def test_the_advice_on_patience_is_followed_by_a_run_that_ends_early(
    options: Options, shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = shards(pairs(24))
    idle = {"steps": 9, "val_every": 100, "patience": 1, "lr": 0.0, "min_lr": 0.0}
    assert warned(options, data, capsys, **idle) == [
        "warning: --patience 1 cannot end this run early: it needs 2 validations before the last step, and with "
        "--val-every 100 and --steps 9 there are 0; try --val-every 4 or less"
    ]
    assert warned(options, data, capsys, **{**idle, "val_every": 4}, name="early") == []
    assert json.loads((Path(options.runs) / "early" / "run.json").read_text())["result"]["best_step"] == 4
    assert len((Path(options.runs) / "early" / "metrics.jsonl").read_text().splitlines()) == 8
