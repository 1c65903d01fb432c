"""Hashes of a plan: a link to nowhere among its input files is no reason to stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from reliability.running import run
from support.made import jpeg


@pytest.mark.parametrize("name", ["b.jpg", "README", "list.csv", "x/0001.json"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_to_nowhere_in_a_folder_costs_at_most_its_own_image(name: str, target: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "x").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(jpeg())
    (photos / "a.txt").write_text("red")
    link = photos / name
    link.symlink_to(link if target == "itself" else "nowhere")
    ran = run(["pack", "photos", "--out", "out"], tmp_path)
    assert ran.code == 0, ran.said
    assert "wrote 1" in ran.said
