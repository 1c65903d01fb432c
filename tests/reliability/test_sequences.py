"""Random sequences of runs, kills, changed inputs and damaged outputs end with the result of a clean run, or say why.

``CAPIVARA_TEST_SEQUENCES=300`` plays as many as the release was tested with.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from reliability import sequences

COUNT = int(os.environ.get("CAPIVARA_TEST_SEQUENCES", "12"))


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_random_sequence_ends_with_the_result_of_a_clean_run(seed: int, tmp_path: Path) -> None:
    sequences.play(seed, tmp_path / "case")
