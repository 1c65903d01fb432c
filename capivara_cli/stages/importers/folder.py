"""A folder of images, each with a .txt of the same name (one caption per line) or without captions.

Subfolders are read too, in the order of names; hidden files are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import IMAGE_SUFFIXES, Caption, Sample, has_image_suffix
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, caption, keys_of, report_bad, samples_of


def recognise(source: Path) -> bool:
    return source.is_dir() and any(has_image_suffix(path) for path in _files(source))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image. An image whose .txt is not UTF-8 is dropped, and counted so that no loss is silent.

    Raises ``CapivaraError`` if the folder has no images.
    """
    if not recognise(source):
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise CapivaraError(f"{source}: no images in this folder", f"image files end in one of {kinds}")
    return samples_of(_photos(source, options, env), env)


def _photos(source: Path, options: PackOptions, env: Env) -> Iterator[Photo]:
    sidecars = set()
    others = []
    for path in _files(source):
        if not has_image_suffix(path):
            others.append(path)
            continue
        name = path.relative_to(source).as_posix()
        sidecar = path.with_suffix(".txt")
        sidecars.add(sidecar)
        try:
            captions = _captions(sidecar, options, env) if sidecar.is_file() else []
        except BadSample as error:
            env.tally.read += 1
            report_bad(env, Sample(keys_of(env).of_path(name), {}), str(sidecar), error.reason)
            continue
        yield Photo(name, [str(path)], captions)
    for path in others:
        if path not in sidecars:
            env.note("caption files without an image" if path.suffix == ".txt" else "other files ignored")


def _captions(sidecar: Path, options: PackOptions, env: Env) -> list[Caption]:
    try:
        text = sidecar.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSample("captions are not UTF-8") from error
    except OSError as error:
        raise BadSample(f"captions cannot be read: {error.strerror}") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    return [each for line in lines for each in caption(line, options.code, env)]


def _files(folder: Path) -> Iterator[Path]:
    """Every file under a folder, in the order of names. Links to folders are not followed: they can form loops."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))
