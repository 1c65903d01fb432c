"""Every layout that docs/data.md shows is packed as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.layouts import Layout, by_topic
from support.packed import pack, said

LAYOUTS = [layout for layouts in by_topic().values() for layout in layouts]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_is_packed_as_the_page_says(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if layout.needs_pyarrow:
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    found, tally = pack(layout.write(Path()), **layout.options)
    assert {sample.key: said(sample) for sample in found} == dict(layout.finds)
    assert (dict(tally.notes), dict(tally.dropped)) == (dict(layout.notes), {})


def test_no_two_layouts_have_the_same_name() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
