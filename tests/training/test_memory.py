"""A memory budget: sizes as people write them, what fits, and chunks that stay the same when a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.tiny import pairs
from torch import nn

from capivara_cli.commands.train import Options, train
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed
from capivara_cli.training import memory
from capivara_cli.training.encoder import Chunk
from capivara_cli.training.memory import Budget, parse_size, saved_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("2GB", 2_000_000_000),
        ("1.5G", 1_500_000_000),
        ("800 MB", 800_000_000),
        ("2GiB", 2 << 30),
        ("512", 512),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["much", "-2GB", "0", "1.2.3GB", "2XB", "GB"])
def test_not_a_size(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "used_bytes", lambda device: 1_000_000_000)
    monkeypatch.setattr(memory, "_LIBRARIES", {"cpu": 0})
    monkeypatch.setattr(memory, "_FRAGMENTATION", {"cpu": 1.0})


@pytest.mark.parametrize(
    ("limit", "tokens"),
    [
        (4_000_000_000, 2048),
        (1_300_000_000, 1920),
        (1_030_000_000, 128),
        (1_019_200_000, 128),
    ],  # 1.5 chunks of 100 kB a token must fit
)
def test_chunks_are_as_large_as_fits(used: None, limit: int, tokens: int) -> None:
    budget = Budget("cpu", limit)
    budget.fit(100_000, nn.Linear(1, 1).requires_grad_(False))
    assert budget.chunk_tokens == tokens
    assert 1.5 * tokens * 100_000 <= budget.room == limit - 1_000_000_000


def test_gradients_and_moments_are_counted_before_they_are_there(used: None) -> None:
    budget = Budget("cpu", 4_000_000_000)
    budget.fit(100_000, nn.Linear(1000, 1000, bias=False))
    assert budget.room == 3_000_000_000 - 12 * 1_000_000


def test_too_little_says_how_much_is_needed(used: None) -> None:
    frozen = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(CapivaraError, match=r"--memory 1.02GB is not enough"):
        Budget("cpu", 1_019_199_000).fit(100_000, frozen)  # a kilobyte less than the smallest chunk takes
    with pytest.raises(CapivaraError, match=r"--memory 1.01GB is not enough\. The model takes 1.00 GB") as raised:
        Budget("cpu", 1_010_000_000).fit(100_000, nn.Linear(1, 1))
    assert raised.value.hint == "give it --memory 1.1GB or more"


def test_graphs_are_kept_while_they_fit_beside_the_one_in_work() -> None:
    import numpy as np

    chunks = [Chunk(number, np.arange(10), 10) for number in range(5)]
    for room, kept in ((400.0, {0, 1}), (350.0, {0, 1}), (349.0, {0}), (249.0, set()), (1e9, {0, 1, 2, 3, 4})):
        budget = Budget("cpu", chunk_tokens=100, bytes_per_token=1.0, room=room)
        assert budget.kept(chunks) == kept  # room - 1.5 · 100 is for chunks of 100


def test_freed_memory_goes_back_only_where_a_chunk_might_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(memory, "return_freed_memory", lambda: given.append(1))
    monkeypatch.setattr(memory, "used_bytes", lambda device: 1000)
    for limit, count in ((0, 0), (2000, 0), (1160, 0), (1140, 1)):
        Budget("cpu", limit, chunk_tokens=100, bytes_per_token=1.0).make_room()
        assert len(given) == count


def test_what_a_backward_pass_needs_is_counted_once_and_without_parameters() -> None:
    linear = nn.Linear(8, 8, bias=False)
    x = torch.ones(4, 8, requires_grad=True)
    assert saved_bytes(lambda: linear(x) * linear(x), linear) == 3 * 4 * 8 * 4  # x, and both factors


@pytest.fixture
def options(tiny: Path, tmp_path: Path) -> Options:
    return build(
        Options,
        lang="pt", model=f"local-dir:{tiny}", runs=str(tmp_path / "runs"), steps=4, batch_size=64, lr=1e-2, warmup=1,
        checkpoint_every=2,
    )  # fmt: skip


def test_a_resumed_run_has_the_chunks_it_had(
    options: Options, shards: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With more memory than before: the same dropout. With less: other chunks, and it is said."""
    data = shards(pairs(80))

    def run(limit: int) -> bytes:
        monkeypatch.setattr(memory, "_CHUNK_TOKENS", {"cpu": limit})
        folder = Path(train.run([str(data)], options, Env(Settings(), "train"))["run"])
        return (folder / "adapter" / "adapter_model.safetensors").read_bytes()

    clean = run(128)
    folder = RunDir(Path(options.runs) / "pt")
    assert folder.document["batch"]["chunk_tokens"] == 128
    folder.checkpoint(4).unlink()
    folder.save(finished=False)
    assert run(4096) == clean
    folder = RunDir(folder.path)
    folder.save(finished=False, batch={**folder.document["batch"], "chunk_tokens": 4096})
    monkeypatch.setattr(memory, "free_memory", lambda device: 1)
    run(4096)
    assert "memory is too low for chunks of 4,096 tokens, so they have 128" in capsys.readouterr().err


def test_memory_that_is_too_little_is_said_through_the_command(options: Options, shards: Callable[..., Path]) -> None:
    with pytest.raises(CapivaraError, match=r"--memory 0.10GB is not enough"):
        train.run([str(shards(pairs(30)))], changed(options, memory="100MB"), Env(Settings(), "train"))
