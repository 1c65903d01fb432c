"""The options of ``pack``, and the samples of a source through the importer that recognises it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capivara_cli import console, plugin_errors, registry
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import RESULTS, Settings, opt, parsed
from capivara_cli.plugin_errors import Checked, Guarded
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Sample, has_image_suffix
from capivara_cli.shards.unpacked import TEXT_SUFFIXES
from capivara_cli.stages.importers._photos import is_http_url, report_bad
from capivara_cli.storage.files import special_kind
from capivara_cli.urls import public_url

_FOLDER = "folder"
# Importers in the order in which they are tried: specific formats first, and tars before parquet, because img2dataset
# writes both into one folder.
ORDER = ("toy", "capivara-original", "img2dataset", "parquet", "karpathy", "coco", "table", _FOLDER)


@dataclass(frozen=True)
class PackOptions:
    """The options of ``pack``."""

    lang: str = opt(
        "en", "language of captions for which the source gives none", kind=Languages(one=True, unlisted=True)
    )
    format: str = opt(
        "auto", "importer; auto: the one that recognises the source", metavar="NAME", completes="importers"
    )
    images: str = opt(
        "", "folder of the images that a table or list names [default: its own]", reads="images", metavar="DIR"
    )
    split: str = opt("", "only these splits of a data set [default: all]", kind=Names())
    shard_size: int = opt(1000, "samples per shard", min=1, panel=RESULTS)
    verify: bool = opt(True, "decode every image once and drop those that are damaged")

    def check(self) -> None:
        """Raise ``CapivaraError`` for an unknown format, or an image folder that does not exist."""
        if self.format != "auto":
            registry.check("importers", self.format)
        if self.images and not Path(self.images).is_dir():
            raise CapivaraError(f"--images {self.images}: no such folder")

    def check_sources(self, sources: Sequence[str]) -> None:
        """Raise ``CapivaraError`` if a source is missing or has an unknown format, before any of them is read.

        A broken link among several image files, as ``photos/*.jpg`` names it, is one image that cannot be used.
        """
        for source in sources:
            if len(sources) == 1 or not _is_image_file(Path(source), self.format):  # there may be thousands
                importer_of(source, self.format)

    def named_files(self, source: str) -> list[Path]:
        """The image files that a table or JSON file names; none for other sources. What is bad in it is not said here.

        Raises the errors of the importer.
        """
        if _is_image_file(Path(source), self.format):
            return []
        importer = registry.module("importers", importer_of(source, self.format))
        photos = getattr(importer, "photos", None)
        if photos is None:
            return []
        with console.quiet():
            found = photos(Path(source), self, Env(Settings(), "pack"))
        paths = ([Path(each) for each in photo.locations if not is_http_url(each)] for photo in found)
        return [next((path for path in some if path.exists()), some[0]) for some in paths if some]

    def origin_of(self, source: str) -> str:
        """The package and version of the importer that reads a source; "" for one of capivara's own."""
        if _is_image_file(Path(source), self.format):
            return ""
        return registry.origin("importers", importer_of(source, self.format))

    @property
    def code(self) -> str:
        """The BCP-47 code of ``lang``."""
        return parsed(self, "lang")[0]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names in ``split``, () for all."""
        return parsed(self, "split")


def samples_of_sources(sources: Sequence[str], options: PackOptions, env: Env) -> Stream:
    """Yield the samples of files and folders in turn; image files one after the other are read at the same time."""
    for are_images, group in itertools.groupby(sources, lambda source: _is_image_file(Path(source), options.format)):
        if are_images:
            stream = registry.module("importers", _FOLDER).read_files(list(map(Path, group)), options, env)
            yield from _verified(stream, env) if options.verify else stream
        else:
            for source in group:
                yield from samples(source, options, env)


def _is_image_file(path: Path, wanted: str) -> bool:
    return wanted in ("auto", _FOLDER) and has_image_suffix(path) and (path.is_file() or path.is_symlink())


def samples(source: str, options: PackOptions, env: Env) -> Stream:
    """Yield the samples of one file or folder. Keys are unique over all sources that share ``env``.

    Unusable images and rows are counted in ``env.tally`` (read = yielded + dropped). Raises ``CapivaraError`` if the
    source does not exist, no importer recognises it, or it has no images.
    """
    importer = registry.module("importers", importer_of(source, options.format))
    stream: Stream = iter(Checked(importer, importer.read(Path(source), options, env), Sample))
    before = env.tally.read
    stream = _verified(stream, env) if options.verify else stream
    yield from _accounted(importer, stream, env) if isinstance(importer, Guarded) else stream
    if env.tally.read == before:
        raise CapivaraError(f"{source}: no images to pack")


def _accounted(importer: Guarded, stream: Stream, env: Env) -> Stream:
    """The samples of an importer of another package. Raises ``PluginError`` unless it counted each of them as read."""
    read, dropped, given = env.tally.read, env.tally.dropped.total(), 0
    for sample in stream:
        given += 1
        yield sample
    read, dropped = env.tally.read - read, env.tally.dropped.total() - dropped
    if read != given + dropped:
        raise plugin_errors.fault(importer, f"counted {read} samples as read, gave {given} and dropped {dropped}")


def importer_of(source: str, wanted: str = "auto") -> str:
    """The name of the importer that reads a source: ``wanted``, or with "auto" the first that recognises it.

    Raises ``CapivaraError`` that lists the formats if none recognises it.
    """
    path = Path(source)
    if kind := special_kind(path):
        raise CapivaraError(
            f"{source}: is {kind}, not a file", "pack reads a source more than once: write it to a file"
        )
    names = registry.names("importers")
    if wanted != "auto":
        _check_source(source, wanted)
        return wanted
    for name in [*ORDER, *(name for name in names if name not in ORDER)]:
        if _recognises(name, path):
            return name
    _check_source(source, "")
    raise _unrecognised(path)


def _recognises(name: str, path: Path) -> bool:
    """Whether an importer recognises a source. A broken one of another package is named once and left out."""
    try:
        return bool(registry.module("importers", name).recognise(path))
    except CapivaraError as error:
        if name in ORDER:
            raise
        console.warn_once(f"{error.message}; --format {name} is not tried")
        return False


def _unrecognised(path: Path) -> CapivaraError:
    hint = "name a folder of images, a table, a JSON list or tar files; --format NAME chooses: capivara list importers"
    if not path.is_dir():
        if path.suffix[1:].lower() in {"json", *TEXT_SUFFIXES}:
            hint = f"captions beside images are found in their folder: capivara pack {path.parent} --out shards"
        return CapivaraError(f"{path}: no importer recognises this format", hint)
    files = Counter(each.suffix.lower() or each.name for each in path.rglob("*") if each.is_file())
    if not files:
        return CapivaraError(f"{path}: an empty folder", "put images into it: capivara pack FOLDER --out shards")
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in files.most_common(5))
    return CapivaraError(f"{path}: no images, table or tar files in this folder; it has {kinds}", hint)


def _check_source(source: str, importer: str) -> None:
    """Raise ``CapivaraError`` unless the source is a file, a folder, or a name that the importer knows (``toy``)."""
    if Path(source).exists() or (importer and registry.module("importers", importer).recognise(Path(source))):
        return
    if Path(source).is_symlink():
        raise CapivaraError(f"{source}: a link that leads to no file or folder", "mend the link, or name its target")
    hint = "pack reads local files: download it first" if "://" in source else "give a folder of images or a table"
    raise CapivaraError(f"{public_url(source)}: no such file or folder", hint)


def _verified(stream: Stream, env: Env) -> Stream:
    """The samples whose image can be decoded. The pixels never leave the thread that decodes them."""

    def objection(sample: Sample) -> str:
        try:
            decode_image(sample)
        except BadSample as error:
            return error.reason
        return ""

    for sample, reason in map_batched(stream, objection, list, size=8, env=env):
        if reason:
            report_bad(env, sample, sample.key, reason)
        else:
            yield sample
