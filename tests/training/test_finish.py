"""The summary of a run: which line of the metrics each number is from."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.stores import data_of, strings

from capivara_cli.training.data import select
from capivara_cli.training.finish import _result, data_summary
from capivara_cli.training.loop import BestValidation


def line(step: int, **more: Any) -> Any:
    timing = {"seconds": 0.25 * step, "peak_bytes": 100 + (step == 2)}
    return {"step": step, "loss": 9.0 - step, "tokens": 10 * step, "padded": 12 * step, "timing": timing, **more}


def test_numbers_are_of_the_right_steps() -> None:
    vals = {step: {"val": {"pt": mean, "mean": mean}} for step, mean in ((1, 4.0), (2, 5.0), (4, 3.0))}
    lines = [line(step, **vals.get(step, {})) for step in (1, 2, 3, 4)]
    assert _result(lines, BestValidation(5.0, 2, 1), 12.34) == {
        "loss_first": 8.0, "loss_last": 5.0, "seconds": 2.5, "pairs_per_second": 12.3, "tokens": 100, "padded": 120,
        "peak_bytes": 101, "best_step": 2, "val": {"pt": 5.0, "mean": 5.0},
    }  # fmt: skip
    without = _result([line(1)], BestValidation(), 1.0)
    assert (without["best_step"], without["val"], without["loss_last"]) == (None, None, 8.0)


def test_the_data_are_counted_once_and_shots_are_named() -> None:
    keys, bounds = strings([f"key{number}" for number in range(10)])
    data = data_of([1] * 10, [1] * 10)
    store = data.store
    store.document.update(embedded_here=4, fingerprint="sha256:f")
    object.__setattr__(store, "keys", keys)
    object.__setattr__(store, "key_bounds", bounds)
    found = data_summary(data, 0)
    assert found == {
        "samples": 10, "captions": {"en": 10, "pt": 10}, "authors": [["en", "alt", 10], ["pt", "alt", 10]],
        "embedded_here": 4, "fingerprint": "sha256:f",
    }  # fmt: skip
    few = select(store, ["pt", "en"], heldout=3)
    held = data_summary(few, 7)
    assert held["heldout"] == 3  # of both languages the same images
    images = [int(image) for image in few.target.images]
    assert held["shots"] == [f"key{image}" for image in images] and len(images) == 7
    assert not np.isin(images, few.heldout["pt"].images).any()
