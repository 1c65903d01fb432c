"""The digest of a tower's weights, and what its copy in the cache is found by."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from capivara_cli.errors import CapivaraError
from capivara_cli.models import build as module
from capivara_cli.models.build import digest, known_digest
from capivara_cli.models.clip_files import ClipFiles

DIGESTS = [f"sha256:{number:064d}" for number in range(20)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClipFiles:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    return ClipFiles("ViT-B-32", "ViT-B-32", {}, {}, weights, None, None)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The towers whose digest was computed; each computed digest is another one."""
    found: list[str] = []

    def compute(tower: str, forget: bool) -> str:
        found.append(tower)
        return DIGESTS[len(found)]

    tower: Any = type("Model", (), {"visual": "visual", "text": "text"})
    monkeypatch.setattr(module, "build", lambda files: tower)
    monkeypatch.setattr(module, "digest", compute)
    return found


def test_a_digest_is_computed_once(files: ClipFiles, computed: list[str]) -> None:
    assert [known_digest("visual", files) for _ in range(3)] == [DIGESTS[1]] * 3
    assert known_digest("text", files) == DIGESTS[2]
    assert known_digest("visual", files) == DIGESTS[1]
    assert computed == ["visual", "text"]


@pytest.mark.parametrize("change", ["time", "size", "replaced", "another architecture", "another file", "version"])
def test_a_changed_file_of_weights_has_a_new_digest(
    change: str, files: ClipFiles, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state = files.weights, files.weights.stat()
    times = (state.st_atime_ns, state.st_mtime_ns)
    assert known_digest("text", files) == DIGESTS[1]
    if change == "time":
        os.utime(path, ns=(times[0], times[1] + 1))
    elif change == "size":
        path.write_bytes(b"three")
        os.utime(path, ns=times)
    elif change == "replaced":
        (path.parent / "other").write_bytes(b"two")
        os.utime(path.parent / "other", ns=times)
        (path.parent / "other").replace(path)
    elif change == "another architecture":
        files = replace(files, name="ViT-L-14")
    elif change == "another file":
        (path.parent / "linked").hardlink_to(path)
        files = replace(files, weights=path.parent / "linked")
    else:
        monkeypatch.setattr(module, "__version__", "0.0.1")
    assert known_digest("text", files) == DIGESTS[2]


@pytest.mark.parametrize(
    "text", ["", "sha256:", DIGESTS[5][:-1], f"{DIGESTS[5]}0", DIGESTS[5].replace("sha256", "sha512")]
)
def test_a_damaged_copy_is_computed_again(text: str, files: ClipFiles, computed: list[str], tmp_path: Path) -> None:
    known_digest("text", files)
    (copy,) = (tmp_path / "cache" / "digests").iterdir()
    copy.write_text(text)
    assert known_digest("text", files) == DIGESTS[2] == copy.read_text()


def test_a_digest_is_of_names_shapes_dtypes_and_every_number_in_any_order() -> None:
    def of(*values: tuple[str, torch.Tensor]) -> str:
        tower = nn.Module()
        for name, value in values:
            tower.register_buffer(name, value)
        return digest(tower)

    numbers = torch.arange(6, dtype=torch.float32)
    one, other = ("a", numbers), ("b", numbers + 1)
    last = torch.cat([numbers[:5], torch.tensor([7.0])])
    others = [
        of(("b", numbers)),
        of(("a", numbers.view(2, 3))),
        of(("a", numbers.half())),
        of(("a", last)),
        of(one, other),
    ]
    assert len({of(one), *others}) == 6
    assert of(("a", numbers.clone())) == of(one)
    assert of(other, one) == of(one, other)


@pytest.mark.parametrize("place", [0, 4, 9])
def test_not_a_number_is_found_in_every_slice(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLICE", 16)  # four numbers at a time
    tower = nn.Linear(10, 1, bias=False)
    expected = digest(tower)
    monkeypatch.undo()
    assert digest(tower) == expected
    monkeypatch.setattr(module, "_SLICE", 16)
    tower.weight.data[0, place] = float("-inf")
    assert digest(tower) != expected  # causal masks have infinities
    tower.weight.data[0, place] = float("nan")
    with pytest.raises(CapivaraError, match="the weights are damaged: 'weight' has NaN values"):
        digest(tower)
