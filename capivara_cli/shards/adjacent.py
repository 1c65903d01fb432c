"""Find tars whose samples are torn apart: all images first and all texts after them, or in no order at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.sample import Sample, is_image_suffix
from capivara_cli.shards.tar import shown

_REMEMBERED = 1 << 16
"""Keys remembered, of about 200 bytes each. The first keys suffice: they are the first to come again."""


def adjacent_only(samples: Iterator[Sample], name: str) -> Iterator[Sample]:
    """Yield the samples of one stream. Raises ``CapivaraError`` at the first one that belongs to an earlier one.

    That is a sample with the same key and other members, of which only one has an image. The same members under the
    same key are another sample: streams of several shards repeat keys.
    """
    seen: dict[str, tuple[str, ...]] = {}
    combinations: dict[tuple[str, ...], tuple[str, ...]] = {}
    for sample in samples:
        earlier = seen.get(sample.key)
        if earlier is None:
            if len(seen) < _REMEMBERED:
                suffixes = tuple(sample.members)
                seen[sample.key] = combinations.setdefault(suffixes, suffixes)
        elif _are_parts(earlier, sample.members):
            raise _unsorted(name, sample, earlier)
        yield sample


def _are_parts(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two lists of suffixes are parts of one sample: they have none in common, and one of them has an image."""
    return not set(one) & set(other) and _has_image(one) != _has_image(other)


def _has_image(suffixes: Collection[str]) -> bool:
    return any(map(is_image_suffix, suffixes))


def _unsorted(name: str, sample: Sample, earlier: tuple[str, ...]) -> CapivaraError:
    first, later = shown(f"{sample.key}.{earlier[0]}"), shown(f"{sample.key}.{next(iter(sample.members))}")
    return CapivaraError(
        f"{name}: not sorted: {first} and {later} belong together, and other samples are between them",
        "sort its members by name: mkdir new && tar xf OLD.tar -C new && tar --sort=name -cf NEW.tar -C new .",
    )
