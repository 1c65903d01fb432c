"""``webdataset``: decoded samples for a DataLoader, on the reader that refuses damaged shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.made import a_sample, shard_bytes, toy_like
from torch.utils.data import DataLoader, IterableDataset

import capivara_cli as capivara


def key(sample: dict[str, Any]) -> str:
    return str(sample["__key__"])


def test_samples_are_decoded(here: Path) -> None:
    dataset = capivara.webdataset("shards")
    assert isinstance(dataset, IterableDataset)
    first = next(iter(dataset))
    assert list(first) == ["__key__", "__url__", "jpg", "json"]
    assert (first["__key__"], first["__url__"]) == ("00000", "shards/00000.tar")
    assert (first["jpg"].mode, first["jpg"].size) == ("RGB", (64, 64))
    assert first["json"]["captions"][0]["text"] == "a red square number 0"
    raw = next(iter(capivara.webdataset("shards", decode=False)))
    assert isinstance(raw["jpg"], bytes)
    assert isinstance(raw["json"], bytes)


def test_other_members_are_text_or_bytes(here: Path) -> None:
    sample = a_sample("a")
    more = type(sample)(
        "a", {**sample.members, "txt": "até".encode(), "npy": b"\0\1", "small.JPG": sample.members["jpg"]}
    )
    Path("more.tar").write_bytes(shard_bytes([more]))
    (found,) = capivara.webdataset(["more.tar"])
    assert (found["txt"], found["npy"], found["small.JPG"].size) == ("até", b"\0\1", (64, 48))


def test_the_methods_of_webdataset_follow(here: Path) -> None:
    dataset = capivara.webdataset(capivara.read("shards")[0:1]).shuffle(10).map(key)
    assert sorted(dataset) == ["00000", "00001", "00002"]
    batches = list(capivara.webdataset("shards").to_tuple("__key__", "json").batched(4))
    assert [len(keys) for keys, _ in batches] == [4, 2]


@pytest.mark.parametrize(("workers", "part"), [(0, slice(2)), (2, slice(2)), (2, slice(1))])
def test_workers_share_the_shards(workers: int, part: slice, here: Path) -> None:
    """Each sample comes once, also if there are more workers than shards; every epoch has all of them."""
    shards = capivara.read("shards")[part]
    loader = DataLoader(capivara.webdataset(shards, shardshuffle=True).map(key), batch_size=2, num_workers=workers)
    for _ in range(2):
        assert sorted(each for batch in loader for each in batch) == [sample.key for sample in shards]


def test_processes_of_torchrun_share_the_shards(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        found.append(list(capivara.webdataset("shards").map(key)))
    assert found == [["00000", "00001", "00002"], ["00003", "00004", "00005"]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_an_error(workers: int, here: Path) -> None:
    """webdataset's own reader takes a shard that was cut off for a complete one."""
    Path("shards/00001.tar").write_bytes(shard_bytes(toy_like(3, 3))[:-1024])
    loader = DataLoader(capivara.webdataset("shards").map(key), batch_size=None, num_workers=workers)
    with pytest.raises(capivara.CapivaraError, match=r"00001\.tar"):
        list(loader)


def test_an_image_that_cannot_be_decoded_is_named_or_handled(here: Path) -> None:
    import webdataset

    samples = [a_sample("good"), a_sample("bad", image=b"\xff\xd8 none")]
    Path("some.tar").write_bytes(shard_bytes(samples))
    with pytest.raises(capivara.CapivaraError, match=r"some\.tar: sample 'bad': image cannot be decoded"):
        list(capivara.webdataset("some.tar"))
    kept = capivara.webdataset("some.tar", handler=webdataset.ignore_and_continue)
    assert list(kept.map(key)) == ["good"]


def test_missing_shards_are_an_error_at_once(here: Path) -> None:
    with pytest.raises(capivara.CapivaraError, match="nowhere"):
        capivara.webdataset("nowhere")
