"""The sets of ``--against``: which they are, how their images are recognised, and the reasons that are counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from capivara_cli.errors import CapivaraError, unknown

WAYS = {"id": "same id", "bytes": "same bytes", "phash": "near perceptual hash", "embedding": "near embedding"}
"""How an image is recognised in another set, the cheapest and surest way first, and the reason that is counted."""
_LIMIT = 1000
"""The largest number of sets: the code of a set and a way has 16 bits."""


@dataclass(frozen=True)
class Other:
    """A set whose images are removed: an eval set as ``catalogue`` names it, or shards."""

    name: str
    is_shards: bool


def sets_of(against: str) -> list[Other]:
    """``xtd,elevater,heldout/`` -> the sets; a group is replaced by its members.

    A name is taken for an eval set rather than for a folder of that name ("./xtd" is the folder). Raises
    ``CapivaraError`` for what is neither.
    """
    from capivara_cli.evaluation import catalogue

    known = {*catalogue.names(), *catalogue.groups()}
    found: list[Other] = []
    for part in filter(None, (each.strip() for each in against.split(","))):
        if "://" not in part and part.partition(":")[0].replace("_", "-") in known:
            found += [Other(spec, False) for spec in catalogue.expand(part)]
        elif "://" in part or Path(part).exists() or any(mark in part for mark in "*?[{"):
            found.append(Other(part, True))
        else:
            raise unknown("eval set", part, known, "or shards: an existing folder, a .tar file or a pattern")
    if not found or len(found) > _LIMIT:
        raise CapivaraError(f"--against {against!r}: {len(found)} sets", f"name 1 to {_LIMIT:,}")
    return found


def reasons(against: str) -> list[str]:
    """What the codes of ``Others.codes`` mean: "" for code 0, then one reason for each set and way."""
    sets = sets_of(against) if against else []
    return ["", *(f"in {other.name}: {reason}" for other in sets for reason in WAYS.values())]


@dataclass(frozen=True)
class OtherSettings:
    """Which sets, and how their images are recognised.

    ``against``: names, see ``sets_of``; ``ways``: of ``WAYS``, in that order; ``radius`` and ``similarity`` as in
    ``ImageSettings``; ``data`` and ``split``: the folder and the split of the eval sets.
    """

    against: str
    ways: tuple[str, ...]
    radius: int
    similarity: float
    data: str
    split: str
