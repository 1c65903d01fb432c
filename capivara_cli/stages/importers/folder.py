"""A folder of images, or image files, with or without captions beside them: a.txt, a.caption, a.json, a.jpg.txt.

A text file has one caption per line; a JSON file is read as the json member of a tar, as img2dataset writes it.
Subfolders are read too, in the order of names; hidden files are ignored.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.manifest import is_output_folder
from capivara_cli.shards.names import SYSTEM_FOLDER, is_system_file
from capivara_cli.shards.sample import IMAGE_SUFFIXES, Sample, has_image_suffix
from capivara_cli.shards.unpacked import TEXT_SUFFIXES
from capivara_cli.stages.importers._beside import captions_beside, fields_of
from capivara_cli.stages.importers._exact import exact_float
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, keys_of, report_bad, samples_of
from capivara_cli.stages.importers._sources import report_passed_over
from capivara_cli.stages.importers._text_tables import decoded, is_damaged
from capivara_cli.storage.files import special_kind

_JSON = ".json"


def recognise(source: Path) -> bool:
    if source.is_file():
        return has_image_suffix(source)
    return source.is_dir() and any(map(has_image_suffix, _files(source, _Walk())))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image. An image whose captions cannot be read is dropped, and counted.

    Raises ``CapivaraError`` if the folder has no images.
    """
    if not recognise(source):
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise CapivaraError(f"{source}: no images in this folder", f"image files end in one of {kinds}")
    if source.is_file():
        return read_files([source], options, env)
    return samples_of(_photos(source, options, env), env)


def read_files(paths: Sequence[Path], options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image file. Their names become relative to the folder that all of them are in."""
    return samples_of(_photos_of_files(paths, options, env), env)


@dataclass
class _Walk:
    """What was passed over on the way through the folders.

    ``special``: pipes, sockets and devices, of which a read may never end.

    ``failed``: folders that cannot be read. ``repeated``: links to folders that are read already. ``system``: the
    number of files of macOS and Windows.
    """

    failed: list[OSError] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    special: list[Path] = field(default_factory=list)
    system: int = 0


def _photos(source: Path, options: PackOptions, env: Env) -> Iterator[Photo]:
    walk = _Walk()
    captioned = uncaptioned = 0
    others: list[Path] = []
    for files in _by_folder(source, walk):
        images = list(filter(has_image_suffix, files))
        beside = _beside(files)
        used: set[Path] = set()
        for path in images:
            sidecars = _sidecars_of(path, beside)
            used.update(sidecars)
            name = path.relative_to(source).as_posix()
            try:
                photo = _photo(path, name, sidecars, options, env)
            except BadSample as error:
                env.tally.read += 1
                report_bad(env, Sample(keys_of(env).of_path(name), {}), str(path), error.reason)
                continue
            captioned, uncaptioned = captioned + bool(photo.captions), uncaptioned + (not photo.captions)
            yield photo
        others += [path for path in files if path not in used and not has_image_suffix(path)]
    texts = [path for path in others if path.suffix[1:].lower() in TEXT_SUFFIXES]
    orphans = [path for path in texts if ".token." not in path.name.lower()]  # those of Flickr are tables
    if orphans:
        env.note("caption files without an image", len(orphans))
    report_passed_over(source, [path for path in others if path not in set(orphans)], captioned, uncaptioned, env)
    if orphans and not captioned:
        name = orphans[0].relative_to(source).as_posix()
        console.warn(f"{source}: no captions found; {name} has the name of no image: a.txt belongs to a.jpg beside it")
    _report(walk, env)


def _photos_of_files(paths: Sequence[Path], options: PackOptions, env: Env) -> Iterator[Photo]:
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    beside: dict[Path, dict[str, list[Path]]] = {}
    for path in paths:
        if path.parent not in beside:
            beside[path.parent] = _beside(list(_without_special(sorted(path.parent.iterdir()), [])))
        sidecars = _sidecars_of(path, beside[path.parent])
        name = path.absolute().relative_to(root).as_posix()
        try:
            yield _photo(path, name, sidecars, options, env)
        except BadSample as error:
            env.tally.read += 1
            report_bad(env, Sample(keys_of(env).of_path(name), {}), str(path), error.reason)


def _photo(path: Path, name: str, sidecars: Sequence[Path], options: PackOptions, env: Env) -> Photo:
    """The photo with the captions beside it. Raises ``BadSample`` if they cannot be read."""
    texts = [_bytes_of(each) for each in sidecars if each.suffix.lower() != _JSON]
    document: dict[str, object] = {}
    for each in sidecars:
        if each.suffix.lower() == _JSON:
            document = {**_document(each, env), **document}
    if not sidecars:
        return Photo(name, [str(path)])
    captions = captions_beside(document, texts, options.code, env)
    return Photo(name, [str(path)], captions, fields_of(document).extra_of(document, env))


def _document(path: Path, env: Env) -> dict[str, object]:
    """The object in a JSON file. A list or a text is taken for the captions."""
    text, guessed = decoded(_bytes_of(path))
    try:
        value = json.loads(text, parse_float=exact_float)
    except (ValueError, RecursionError) as error:
        raise BadSample("json cannot be parsed") from error
    if is_damaged(text):
        raise BadSample("json is not UTF-8")
    if guessed:
        env.note("json files read as cp1252, as they are not UTF-8")
    return value if isinstance(value, dict) else {"captions": value}


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSample(f"captions cannot be read: {error.strerror}") from error


def _beside(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files with captions in one folder, by their names without the suffix: that of an image, or of its stem."""
    found: dict[str, list[Path]] = {}
    for path in files:
        suffix = path.suffix.lower()
        if suffix == _JSON or suffix[1:] in TEXT_SUFFIXES:
            found.setdefault(_folded(path.stem), []).append(path)
    return found


def _sidecars_of(image: Path, beside: Mapping[str, list[Path]]) -> list[Path]:
    return beside.get(_folded(image.stem), []) + beside.get(_folded(image.name), [])


def _folded(name: str) -> str:
    """The same for all Unicode forms of a name: macOS decomposes accents, other systems do not."""
    return unicodedata.normalize("NFC", name)


def _report(walk: _Walk, env: Env) -> None:
    """Count what was passed over, and name the folders that cannot be read."""
    if walk.system:
        env.note("files of macOS or Windows passed over", walk.system)
    if walk.repeated:
        env.note("links to folders that are read already", len(walk.repeated))
    for path in walk.special:
        console.warn(f"{path}: passed over: it is {special_kind(path) or 'no file'}, not a file")
        env.note("pipes, sockets and devices passed over")
    for error in walk.failed:
        console.warn(f"{error.filename}: cannot be read: {error.strerror}")
        env.note("folders that cannot be read")


def _files(folder: Path, walk: _Walk) -> Iterator[Path]:
    for files in _by_folder(folder, walk):
        yield from files


def _by_folder(folder: Path, walk: _Walk) -> Iterator[list[Path]]:
    """The files of each folder under a folder, in the order of names, without hidden ones.

    Links to folders are followed; a folder is read once, so a link into itself ends there. Folders that capivara filled
    are passed over: ``pack .`` writes to ``./shards``.
    """
    known: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, onerror=walk.failed.append, followlinks=True):
        info = Path(parent).stat()
        if (info.st_dev, info.st_ino) in known:
            walk.repeated.append(parent)
            folders.clear()
            continue
        known.add((info.st_dev, info.st_ino))
        walk.system += sum(map(is_system_file, files))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name != SYSTEM_FOLDER and not is_output_folder(Path(parent, name))
        )
        visible = [name for name in sorted(files) if not name.startswith(".") and not is_system_file(name)]
        yield list(_without_special([Path(parent, name) for name in visible], walk.special))


def _without_special(files: Sequence[Path], special: list[Path]) -> Iterator[Path]:
    """The files, without pipes, sockets and devices, which are added to ``special``."""
    for path in files:
        if special_kind(path):
            special.append(path)
        else:
            yield path
