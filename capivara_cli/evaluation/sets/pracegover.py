"""#PraCegoVer: images from Instagram with one caption each, written in Portuguese (dos Santos et al. 2022).

Access is by request, for non-commercial use (zenodo.org/record/7548638), so nothing is downloaded. ``--data DIR`` takes
the unchanged release: pracegover_400k.json and the unpacked images. Captions have 39 words on average.

CAPIVARA reports results on the images that its own baseline scores 0.20 or higher. This set is unfiltered unless your
file is filtered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.sets._files import CaptionedImage, ImageFolder, Samples, check_choice, checksum
from capivara_cli.pipeline.env import Env

RELEASED = {"train": 242_036, "validation": 80_628, "test": 80_673}
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_ANNOTATIONS = "pracegover_400k.json"
_LAYOUT = (
    "ask for access at zenodo.org/record/7548638, then --data DIR with DIR/pracegover_400k.json "
    '({"train", "validation", "test"}: lists of {"filename", "caption", …}) and DIR/images/*.jpg'
)


def languages(variant: str) -> tuple[str, ...]:
    return ("pt",)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The captions and images of one split, from the release in ``data``."""
    check_choice("pracegover", variant, ())
    if split not in _SPLITS:
        raise unknown("split of pracegover", split, _SPLITS)
    if lang not in languages(variant):
        raise unknown("language in pracegover", lang, languages(variant))
    if not data:
        raise CapivaraError("pracegover: cannot be downloaded, because access is by request only", _LAYOUT)
    path = Path(data) / _ANNOTATIONS
    if not path.is_file():
        raise CapivaraError(f"{data}: has no {_ANNOTATIONS}", _LAYOUT)
    rows = _rows(path, _SPLITS[split])
    read = ImageFolder(Path(data), ("images",)).checked_reader(rows, _LAYOUT)
    provenance = Provenance(
        f"#PraCegoVer, {_extent(len(rows), _SPLITS[split])}",
        "CC BY-NC-SA; access by request, non-commercial use only",
        _SPLITS[split],
        by="human",
        obtained=f"local copy in {data}",
        checksums={_ANNOTATIONS: checksum(path)},
    )
    return EvalSet("pracegover", lang, Samples(rows, lang, "human", read), provenance)


def _extent(count: int, split: str) -> str:
    """The share of the release that the file has. A filtered file gives other scores, so results record it."""
    released = RELEASED[split]
    capivara = "CAPIVARA reports a part that its baseline scores 0.20 or higher"
    if count == released:
        return f"all {count:,} images of the split, unfiltered ({capivara})"
    return f"a file with {count:,} images, where the release has {released:,} ({capivara})"


def _rows(path: Path, split: str) -> list[CaptionedImage]:
    try:
        document: Any = json.loads(path.read_bytes())
        rows = [(each["filename"], [each["caption"]]) for each in document[split]]
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{path}: not the annotations of #PraCegoVer: {error!r}", _LAYOUT) from error
    if not rows:
        raise CapivaraError(f"{path}: no image of the split {split}", _LAYOUT)
    return rows
