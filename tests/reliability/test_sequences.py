"""Random sequences of runs, kills, changed inputs and damaged outputs end with the result of a clean run, or say why.

``CAPIVARA_TEST_SEQUENCES=300`` plays as many as the release was tested with, by default those of two seeds. Four
faults are planted, one at a time, and found, by default two of them: damage is not looked for; the files of options,
or the times of inputs, are ignored; outputs whose input is gone stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from reliability import sequences
from support import variants

from capivara_cli.pipeline import fingerprint
from capivara_cli.pipeline.local_store import LocalStore
from capivara_cli.shards.manifest import Manifest, ShardEntry
from capivara_cli.storage import found_claims


@pytest.fixture(autouse=True)
def _empty_claims_are_soon_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_claims, "_UNREADABLE", 0.05)  # s


COUNT = int(os.environ.get("CAPIVARA_TEST_SEQUENCES", "0"))
SEEDS = range(COUNT) if COUNT else (0, 2, 9, 16, 34) if variants.ALL else (16, 34)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_sequence_ends_with_the_result_of_a_clean_run(seed: int, tmp_path: Path) -> None:
    sequences.play(seed, tmp_path / "case")


# The sequences find faults: each of these is planted, and the processes that are forked have it.


def _damage_is_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    def is_complete(self: LocalStore, entry: ShardEntry) -> bool:
        return (self.work_folder / entry.shard).exists()

    patch.setattr(LocalStore, "is_complete", is_complete)
    patch.setattr(LocalStore, "is_whole", is_complete, raising=False)


def _files_of_options_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fingerprint, "files_of_options", lambda options: [])


def _outputs_without_an_input_stay(patch: pytest.MonkeyPatch) -> None:
    begin = LocalStore.begin

    def keep(self: LocalStore, manifest: Manifest, names: Sequence[str], finished: Sequence[str]) -> None:
        begin(self, manifest, [*names, *manifest.done], finished)

    patch.setattr(LocalStore, "begin", keep)


def _times_of_inputs_are_ignored(patch: pytest.MonkeyPatch) -> None:
    known = fingerprint.input_identity
    patch.setattr(fingerprint, "input_identity", lambda shard: {**known(shard), "mtime_ns": 0})


PLANTED = {
    _damage_is_not_looked_for: 16,
    _files_of_options_are_ignored: 9,
    _outputs_without_an_input_stay: 2,
    _times_of_inputs_are_ignored: 34,
}


@pytest.mark.parametrize(
    ("plant", "seed"), variants.some([*PLANTED.items()], 2), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert COUNT or seed in SEEDS  # it ends well without the fault
    plant(monkeypatch)
    with pytest.raises(sequences.Fault, match=f"seed {seed}:"):
        sequences.play(seed, tmp_path / "wrong")
