"""The names of the sets of ``--against``, the kinds of match with their images, and the reasons that are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capivara_cli.errors import CapivaraError, unknown

MATCHES = {"id": "same id", "bytes": "same bytes", "phash": "near perceptual hash", "embedding": "near embedding"}
"""Kind of match with an image of another set -> the reason that is counted; the cheapest and surest kind first."""
_LIMIT = 1000
"""The largest number of sets: a code of 16 bits names a set and a kind of match."""


@dataclass(frozen=True)
class OtherSet:
    """A set whose images are removed: an eval set under its name in ``catalogue``, or shards."""

    name: str
    is_shards: bool


def expand_sets(names: Sequence[str]) -> list[OtherSet]:
    """The sets of names such as "xtd", "elevater" and "heldout/"; a group is replaced by its members.

    The name of an eval set comes before a folder of the same name ("./xtd" is the folder). Raises ``CapivaraError`` for
    a name that is neither, and for more than 1,000 sets.
    """
    from capivara_cli.evaluation import catalogue

    known = {*catalogue.names(), *catalogue.groups()}
    found: list[OtherSet] = []
    for name in names:
        if "://" not in name and name.partition(":")[0].replace("_", "-") in known:
            found += [OtherSet(spec, False) for spec in catalogue.expand(name)]
        elif "://" in name or Path(name).exists() or any(mark in name for mark in "*?[{"):
            found.append(OtherSet(name, True))
        else:
            raise unknown("eval set", name, known, "or shards: an existing folder, a .tar file or a pattern")
    if len(found) > _LIMIT:
        raise CapivaraError(f"--against: {len(found):,} sets", f"name at most {_LIMIT:,}")
    return found


def reasons(names: Sequence[str]) -> list[str]:
    """The reason for each code of ``OtherSets.codes``: "" for code 0, then one for each set and kind of match."""
    return ["", *(f"in {other.name}: {reason}" for other in expand_sets(names) for reason in MATCHES.values())]


@dataclass(frozen=True)
class MatchSettings:
    """The sets of ``--against``, and what makes an image the same as one of theirs.

    ``against``: names, see ``expand_sets``. ``matches``: names in ``MATCHES``, in that order. ``radius``,
    ``similarity``: as in ``ImageSettings``. ``data``, ``split``: the folder and the split of the eval sets.
    """

    against: tuple[str, ...]
    matches: tuple[str, ...]
    radius: int
    similarity: float
    data: str
    split: str
