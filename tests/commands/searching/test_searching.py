"""What search is made of: places of samples in a tar, the best of many scores, images on terminals."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.made import a_sample, shard_bytes

from capivara_cli.commands.searching import exact, terminal_images
from capivara_cli.errors import CapivaraError
from capivara_cli.shards.archive import open_shard, read_sample


def strange_tar() -> bytes:
    """Directories, long names, a repeated member, files without a suffix, and a second tar behind the first."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in [
            ("d/", b""), ("d/one.txt", b"1"), ("d/one.json", b"{}"), ("README", b"r"), (f"{'x' * 140}.txt", b"long"),
            ("two.txt", b"2"), ("two.txt", b"again"), ("two.json", b"{}"), ("three.txt", b"3"),
        ]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    pax = io.BytesIO()
    with tarfile.open(fileobj=pax, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(f"é{'y' * 120}.txt")
        tar.addfile(info)
    return out.getvalue() + pax.getvalue() + shard_bytes([a_sample("last")])


def test_every_sample_is_read_back_from_its_bytes(tmp_path: Path) -> None:
    path, copy = tmp_path / "strange.tar", io.BytesIO()
    path.write_bytes(strange_tar())
    with open_shard(str(path), copy) as reader:
        found = [(sample, reader.start, reader.end) for sample in reader]
    assert [sample.key for sample, _, _ in found] == [
        "d/one",
        "README",
        "x" * 140,
        "two",
        "three",
        f"é{'y' * 120}",
        "last",
    ]
    assert found[0][1:] == (0, 2560)  # a directory, and two members of a header and a block each
    assert copy.getvalue() == path.read_bytes()
    for sample, start, end in found:
        assert read_sample(str(path), start, end, sample.key) == sample
    with pytest.raises(CapivaraError, match="sample 'two' has moved"):
        read_sample(str(path), *found[0][1:], "two")


def units(count: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [7, 64, 1 << 22])
def test_the_best_are_those_of_all_scores_sorted_whatever_the_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, queries = units(500, 24, 0), units(9, 24, 1)
    images[[3, 99, 100, 499]] = images[250]  # equal images, far apart: ties
    queries[0] = images[250]
    expected = exact.products(images, queries, np.tile(np.arange(500), 9), np.repeat(np.arange(9), 500)).reshape(9, 500)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :6]
    assert np.abs(expected - queries.astype(np.float64) @ images.T.astype(np.float64)).max() < 1e-6
    monkeypatch.setattr(exact, "_SCORES", block)
    found = exact.best(images, queries, 6)
    assert np.array_equal(found.rows, order)
    assert np.array_equal(found.scores, np.take_along_axis(expected, order, 1))
    assert found.rows[0, :5].tolist() == [3, 99, 100, 250, 499]
    alone = [exact.best(images, query[None], 6) for query in queries]
    assert np.array_equal(np.concatenate([each.scores for each in alone]), found.scores)


def test_more_wanted_than_there_are_and_nothing_but_ties() -> None:
    images = np.tile(units(1, 8, 0), (20, 1))
    found = exact.best(images, images[:2], 50)
    assert found.rows.tolist() == [list(range(20))] * 2
    assert exact.best(images, images[:0], 5).rows.shape == (0, 5)


def test_vectors_of_another_model_are_refused() -> None:
    with pytest.raises(CapivaraError, match="of the images have 8 numbers, that of the query has 6"):
        exact.best(units(3, 8, 0), units(1, 6, 0), 1)
    with pytest.raises(CapivaraError, match="not finite"):
        exact.best(units(3, 8, 0), np.full((1, 8), np.nan, np.float32), 1)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "3"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, ""),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, ""),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm", "TMUX": "/tmp/x"}, ""),
        ({}, ""),
    ],
)
def test_terminals_that_show_images(environment: dict[str, str], expected: str) -> None:
    assert terminal_images.protocol(environment) == expected
