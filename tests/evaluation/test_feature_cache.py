"""Image embeddings kept on disk: found by content, checked when read, never shared between image towers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capivara_cli.evaluation import feature_cache
from capivara_cli.evaluation.feature_cache import FeatureCache, content_digest
from capivara_cli.shards.embedding import TowerIdentity

TOWER = TowerIdentity("m", "sha256:a", "224 px")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def vector(number: int) -> np.ndarray:
    return np.full(4, number + 0.1, np.float32)


def filled(name: str = "set", tower: TowerIdentity = TOWER, count: int = 3) -> None:
    known = FeatureCache(name, tower, 4)
    for number in range(count):
        known.put(content_digest(bytes([number])), vector(number))
    known.flush()


def recalled(name: str = "set", tower: TowerIdentity = TOWER, dim: int = 4) -> list[np.ndarray | None]:
    known = FeatureCache(name, tower, dim)
    return [known.get(content_digest(bytes([number]))) for number in range(4)]


def test_what_was_kept_is_found_bit_by_bit():
    filled()
    *found, missing = recalled()
    assert missing is None
    for number, each in enumerate(found):
        assert each is not None
        assert each.tobytes() == vector(number).tobytes()


@pytest.mark.parametrize("change", ["model", "weights", "preprocess"])
def test_another_tower_set_or_size_finds_nothing(change):
    filled()
    assert recalled(tower=replace(TOWER, **{change: "other"})) == [None] * 4
    assert recalled("other set") == [None] * 4
    assert recalled(dim=5) == [None] * 4


def test_a_damaged_file_is_said_and_not_used(cache, capsys):
    filled()
    (path,) = cache.rglob("*.npy")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert recalled() == [None] * 4
    assert f"{path}: damaged, so its image embeddings are recomputed" in capsys.readouterr().err
    assert not path.exists()
    filled()
    assert recalled()[0] is not None


def test_a_cut_file_is_not_used(cache):
    filled()
    (path,) = cache.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-8])
    assert recalled() == [None] * 4


def test_two_processes_add_to_each_other(cache):
    first, second = FeatureCache("set", TOWER, 4), FeatureCache("set", TOWER, 4)
    first.put(content_digest(b"\0"), vector(0))
    second.put(content_digest(b"\1"), vector(1))
    first.flush()
    second.flush()
    assert [each is not None for each in recalled()] == [True, True, False, False]
    assert len(list(cache.rglob("*.npy"))) == 2


def test_long_work_is_kept_on_the_way(cache, monkeypatch):
    monkeypatch.setattr(feature_cache, "_SECONDS", 0.0)
    FeatureCache("set", TOWER, 4).put(content_digest(b"\0"), vector(0))
    assert recalled()[0] is not None


def test_a_cache_that_cannot_be_written_is_said_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "file"))
    known = FeatureCache("set", TOWER, 4)
    for number in range(2):
        known.put(content_digest(bytes([number])), vector(number))
        known.flush()
    assert capsys.readouterr().err.count("cannot cache image embeddings") == 1
    assert known.get(content_digest(b"\0")) is not None
