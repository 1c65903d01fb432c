"""Whatever people keep photos and captions in -> samples, through the importer that recognises it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from capivara_cli import registry
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import opt, parsed
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._photos import complain
from capivara_cli.urls import public_url

# Asked in this order: the particular before the general, and tars before the parquet files img2dataset leaves beside.
ORDER = ("toy", "capivara-original", "img2dataset", "parquet", "karpathy", "coco", "table", "folder")


@dataclass(frozen=True)
class PackOptions:
    """What ``pack`` may be told."""

    lang: str = opt("en", "language of captions that do not say theirs", kind=Languages(one=True))
    format: str = opt("auto", "importer to use, see: capivara list importers [default: the one that recognises it]")
    images: str = opt("", "folder the listed image files are in [default: beside the list]")
    split: str = opt("", "only these splits, comma-separated (karpathy, parquet) [default: all]", kind=Names())
    shard_size: int = opt(1000, "samples per shard", min=1)
    verify: bool = opt(True, "decode every image once and leave out those that cannot be")

    def check(self) -> None:
        """Raise ``CapivaraError`` for an unknown format, or an image folder that is not there."""
        if self.format != "auto":
            registry.check("importers", self.format)
        if self.images and not Path(self.images).is_dir():
            raise CapivaraError(f"--images {self.images}: no such folder")

    @property
    def code(self) -> str:
        """The BCP-47 code of ``lang``."""
        return parsed(self, "lang")[0]

    @property
    def splits(self) -> tuple[str, ...]:
        return parsed(self, "split")


def samples(source: str, options: PackOptions, env: Env) -> Stream:
    """The samples of one file or folder; what cannot be used is counted (``env.tally``: read = yielded + dropped).

    Raises ``CapivaraError`` when the source is missing, of no known form, or has nothing in it. Keys are unique over
    all sources that share ``env``.
    """
    found = importer_of(source, options.format)
    stream = registry.module("importers", found).read(Path(source), options, env)
    before = env.tally.read
    yield from _verified(stream, env) if options.verify else stream
    if env.tally.read == before:
        raise CapivaraError(f"{source}: there is no image in it to pack")


def importer_of(source: str, wanted: str = "auto") -> str:
    """The name of the importer to use. Raises ``CapivaraError`` that lists the known forms when none recognises it."""
    path = Path(source)
    names = registry.names("importers")
    if wanted != "auto":
        return _there(source, wanted)
    for name in [*ORDER, *(name for name in names if name not in ORDER)]:
        if registry.module("importers", name).recognise(path):
            return name
    _there(source, "")
    forms = "\n".join(f"{name}: {registry.describe('importers', name)}" for name in names)
    raise CapivaraError(f"{source}: in none of the forms that can be packed", f"{forms}\nchoose one with --format NAME")


def _there(source: str, importer: str) -> str:
    """The importer, if the source is a file, a folder, or something that importer makes up (``toy``)."""
    if Path(source).exists() or (importer and registry.module("importers", importer).recognise(Path(source))):
        return importer
    hint = "pack reads local files: download it first" if "://" in source else "give a folder of images or a table"
    raise CapivaraError(f"{public_url(source)}: no such file or folder", hint)


def _verified(stream: Stream, env: Env) -> Stream:
    """The samples whose image decodes; pixels are dropped in the thread that made them."""

    def damage(sample: Sample) -> str:
        try:
            decode_image(sample)
        except BadSample as error:
            return error.reason
        return ""

    for sample, reason in map_batched(stream, damage, list, size=8, env=env):
        if reason:
            complain(env, sample, sample.key, reason)
        else:
            yield sample
