"""Sets in the layout of CLIP_benchmark's webdatasets, on the hub or in a folder.

``ROOT/{split}/nshards.txt`` has the number of shards. A sample in ``ROOT/{split}/0.tar`` … is an image with ``cls`` (a
class number), ``npy`` (one number per class) or ``txt`` (one caption per line). ``ROOT/classnames.txt``,
``zeroshot_classification_templates.txt`` (with ``{c}``) and ``dataset_type.txt`` are optional.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.models import hub
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.sample import Caption, Sample, encode_json, is_image_suffix
from capivara_cli.shards.unpacked import caption_lines

COUNT = "nshards.txt"
NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
KIND = "dataset_type.txt"
LAYOUT = f"DIR/test/{COUNT} with DIR/test/0.tar … (a webdataset of CLIP_benchmark)"


def splits(folder: Path) -> list[str]:
    """The splits in a folder; [] if it does not have this layout."""
    return sorted(path.parent.name for path in folder.glob(f"*/{COUNT}"))


def shards(folder: Path) -> list[Path]:
    """The shards of one split's folder. Raises ``CapivaraError`` if one is missing."""
    count = _count(folder / COUNT)
    found = [folder / f"{number}.tar" for number in range(count)]
    if missing := [path.name for path in found if not path.is_file()]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CapivaraError(f"{folder}: {missing[0]}{more} of {count} shards missing", "download it again")
    return found


def _count(path: Path) -> int:
    text = path.read_text("utf-8", errors="replace").strip()
    if not text.isdecimal() or int(text) < 1:
        raise CapivaraError(f"{path}: {text[:40]!r} is not a number of shards")
    return int(text)


def from_hub(repo: str, split: str, what: str, hints: Sequence[str]) -> Path:
    """The local folder of a set on the hub with one complete split, downloaded on first use.

    ``what`` and ``hints``: its description and hints, for errors.
    """
    count = f"{split}/{COUNT}"
    first = hub.folder(_repo_files(repo, [count], what, hints))
    tars = [f"{split}/{number}.tar" for number in range(_count(first / count))]
    return hub.folder(_repo_files(repo, [count, *tars], what, hints))


def _repo_files(repo: str, files: Sequence[str], what: str, hints: Sequence[str]) -> hub.RepoFiles:
    choices = tuple((name,) for name in files)
    return hub.RepoFiles(repo, choices, extras=(NAMES, TEMPLATES, KIND), what=what, hints=tuple(hints), kind="dataset")


def revision(folder: Path) -> str:
    """The commit of a folder in the hub's cache, "" for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else ""


def samples(paths: Sequence[Path], mapping: Sequence[int] | None = None, lang: str = "en") -> Iterator[Sample]:
    """The samples of shards. ``mapping``: class number in the shards -> class number in the set, None if they agree.

    Raises ``CapivaraError`` for a class number out of range, and for captions that are not UTF-8.
    """
    for path in paths:
        with open_shard(str(path)) as reader:
            for sample in reader:
                yield _converted(sample, mapping, lang, f"{path}: {sample.key}")


def _converted(sample: Sample, mapping: Sequence[int] | None, lang: str, source: str) -> Sample:
    members = {suffix: data for suffix, data in sample.members.items() if is_image_suffix(suffix)}
    if "cls" in sample.members:
        text = sample.members["cls"].decode("utf-8", "replace").strip()
        if not text.isdecimal():
            raise CapivaraError(f"{source}.cls: {text[:40]!r} is not a class number")
        members["cls"] = str(_mapped(int(text), mapping, source)).encode()
    elif "npy" in sample.members:
        found = [_mapped(int(index), mapping, source) for index in _present(sample.members["npy"], source)]
        members["json"] = encode_json({"classes": sorted(found)})
    elif "txt" in sample.members:
        try:
            lines = caption_lines(sample.members["txt"])
        except BadSample as error:
            raise CapivaraError(f"{source}.txt: {error.reason}") from error
        members["json"] = encode_json({"captions": [Caption(line, lang, "unknown").to_json() for line in lines]})
    return Sample(sample.key, members)


def _mapped(number: int, mapping: Sequence[int] | None, source: str) -> int:
    if mapping is None:
        return number
    if number >= len(mapping):
        raise CapivaraError(f"{source}: class {number}, and there are {len(mapping)} classes")
    return mapping[number]


def _present(data: bytes, source: str) -> list[int]:
    """The classes of an image: the indexes of the numbers other than 0 in its array."""
    import numpy as np

    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CapivaraError(f"{source}.npy: not an array of numbers: {error}") from error
    if found.ndim != 1:
        raise CapivaraError(f"{source}.npy: an array of shape {found.shape}, not one number for each class")
    return np.flatnonzero(found).tolist()
