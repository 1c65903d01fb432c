"""Stored embeddings: used only if they are valid and of the requested tower."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from support.made import a_sample

from capivara_cli.shards.embedding import TowerIdentity, stored_embedding, unit, with_embedding

OWNER = TowerIdentity("m", "sha256:1", "p")


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_a_stored_embedding_is_found_and_storing_it_twice_changes_nothing() -> None:
    vector = np.array([0.5, -0.25], np.float16)
    sample = with_embedding(a_sample("a", id=7), vector, OWNER)
    assert list(sample.members) == ["jpg", "json", "clip.npy"]
    assert sample.document["clip"] == OWNER.to_json() and sample.document["id"] == 7
    found = stored_embedding(sample, OWNER, 2)
    assert found is not None and found.dtype == np.float16 and found.tolist() == [0.5, -0.25]
    assert with_embedding(sample, vector, OWNER) is sample


def test_an_embedding_of_another_tower_is_not_used() -> None:
    sample = with_embedding(a_sample("a"), np.array([0.5, 1.0], np.float16), OWNER)
    assert stored_embedding(sample, replace(OWNER, weights="sha256:2"), 2) is None
    assert stored_embedding(a_sample("b"), OWNER, 2) is None


def zipped(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, array)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        npy(np.array([0.5, 1.0], np.float16))[:-1],
        npy(np.array([{"a": 1}, 2], dtype=object)),
        npy(np.array([np.nan, 1.0])),
        npy(np.array([0.0, 0.0])),
        npy(np.array([1, 2])),
        npy(np.array([[0.5, 1.0]])),
        zipped(np.array([0.5, 1.0])),
    ],
    ids=["empty", "noise", "cut", "pickle", "nan", "zero", "integers", "matrix", "archive"],
)
def test_an_invalid_vector_is_not_used(data: bytes) -> None:
    sample = a_sample("a", clip=OWNER.to_json()).with_members(**{"clip.npy": data})
    assert stored_embedding(sample, OWNER, 2) is None


def test_unit_length() -> None:
    assert np.allclose(unit(np.array([3.0, 4.0], np.float16)), [0.6, 0.8])


@pytest.mark.parametrize("field", ["model", "weights", "preprocess"])
def test_an_embedding_whose_identity_differs_in_one_field_is_not_used(field: str) -> None:
    one = TowerIdentity("a", "b", "c")
    other = TowerIdentity(**{**one.to_json(), field: "other"})
    sample = with_embedding(a_sample("k"), np.array([0.6, 0.8], np.float16), one)
    assert stored_embedding(sample, one, 2) is not None
    assert stored_embedding(sample, other, 2) is None
