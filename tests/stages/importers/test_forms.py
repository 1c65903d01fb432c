"""The same data in every form packs to the same images, captions and languages: nothing is lost or altered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from support.forms import FORMS, data, expected, real_captions
from support.made import PHOTOS
from support.packed import pack

COUNT = int(os.environ.get("CAPIVARA_TEST_PHOTOS", "20"))
"""How many of the 200 real photos: CAPIVARA_TEST_PHOTOS=200 takes all."""


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the real photos are not beside this checkout")
@pytest.mark.parametrize("name", FORMS)
def test_a_form_packs_to_the_same_images_and_captions(name: str, tmp_path: Path) -> None:
    if "parquet" in name or "files" in name:
        pytest.importorskip("pyarrow")
    rows = real_captions(COUNT)
    shas = {hashlib.sha256(data(row.image)).hexdigest(): row.image for row in rows}
    found = []
    for source in FORMS[name](tmp_path, rows):
        samples, tally = pack(source.path, **source.options)
        assert not tally.dropped
        for sample in samples:
            image = shas[hashlib.sha256(sample.image).hexdigest()]
            found += [(image, caption.text, caption.lang) for caption in sample.captions]
    assert len(found) == len(rows)
    assert set(found) == expected(rows)
