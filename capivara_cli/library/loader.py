"""Shards as a webdataset pipeline, for the DataLoader of PyTorch, on the reader of capivara."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.library._calls import call
from capivara_cli.library._options import texts_of
from capivara_cli.library.shards import Shards
from capivara_cli.library.sources import StrPath
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.sample import Sample, is_image_suffix
from capivara_cli.shards.unpacked import is_text_suffix
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from capivara_cli.library._dataset import Dataset

_KEY, _URL = "__key__", "__url__"


def webdataset(
    shards: Shards | StrPath | Sequence[StrPath],
    *,
    decode: bool = True,
    shardshuffle: bool = False,
    handler: Callable[[Exception], bool] | None = None,
) -> Dataset:
    """A webdataset pipeline over shards: an ``IterableDataset`` with ``.shuffle``, ``.map``, ``.batched`` and the rest.

    It yields a dict per sample: ``__key__``, ``__url__``, and a value per member, by suffix. Images are PIL images,
    ``json`` is parsed, ``txt`` is text, others are bytes; ``decode=False`` leaves all as bytes. The workers of a
    DataLoader, and the processes of ``torchrun``, share the shards: each sample comes once, so there should be as many
    shards as workers. ``shardshuffle`` shuffles the shards of each worker anew in every epoch. ``handler``: a function
    of webdataset for samples that cannot be decoded, such as ``webdataset.warn_and_continue``.

    Raises ``CapivaraError`` for shards that do not exist; iterating raises it for a damaged shard, and for a sample
    that cannot be decoded, unless there is a ``handler``.

    >>> dataset = capivara.webdataset("shards").map(lambda sample: (sample["jpg"].size, sample["json"]["id"]))
    >>> next(iter(dataset))
    ((64, 64), 0)
    >>> len(list(dataset.batched(4)))
    2
    """
    import webdataset as wds

    from capivara_cli.library._dataset import Dataset

    with call():
        paths = shards.paths if isinstance(shards, Shards) else find_shards(texts_of(shards))
    shuffled = [wds.shuffle(len(paths))] if shardshuffle else []
    stages = [wds.SimpleShardList(paths), wds.split_by_node, wds.split_by_worker, *shuffled, _samples]
    if decode:
        stages.append(wds.map(_decoded, handler=handler or wds.reraise_exception))
    return Dataset(*stages)


def _samples(sources: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """The samples of shards in webdataset's form; a damaged shard is an error."""
    for source in sources:
        path = source["url"]
        try:
            with open_shard(path) as reader:
                for sample in reader:
                    yield {_KEY: sample.key, _URL: public_url(path), **sample.members}
        except CapivaraError as error:  # of one class: a worker cannot hand on errors that are made of other arguments
            raise CapivaraError(error.message, error.hint) from error


def _decoded(found: dict[str, Any]) -> dict[str, Any]:
    """The same sample with its members decoded. Raises ``CapivaraError`` that names the one that cannot be."""
    members = {suffix: data for suffix, data in found.items() if suffix not in (_KEY, _URL)}
    try:
        values = {suffix: _value(suffix, data) for suffix, data in members.items()}
    except BadSample as error:
        raise CapivaraError(f"{found[_URL]}: sample {found[_KEY]!r}: {error.reason}") from error
    return {**found, **values}


def _value(suffix: str, data: bytes) -> Any:
    if is_image_suffix(suffix):
        return decode_image(data)
    if suffix == "json":
        return Sample("", {"json": data}).document
    if is_text_suffix(suffix):
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise BadSample(f"{suffix} is not UTF-8") from error
    return data
