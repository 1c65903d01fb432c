"""WebDataset tar files, from img2dataset (jpg, txt, json with "caption") or any other program.

Members stay unchanged except ``json``, which gets "captions". A sample that already has capivara's "captions" stays
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.importers._captions import language_code
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import caption
from capivara_cli.stages.importers._sources import is_tar, samples_in_tars


def recognise(source: Path) -> bool:
    return is_tar(source)


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per key, under the same key. The caption is ``json["caption"]``, or else the ``txt`` member."""
    return samples_in_tars(source, lambda sample: _with_captions(sample, options, env), env)


def _with_captions(sample: Sample, options: PackOptions, env: Env) -> Sample:
    document = sample.document
    _ = sample.image
    captions = document.get("captions")
    if isinstance(captions, list) and not any(isinstance(each, str) for each in captions):
        _ = sample.captions
        return sample
    return sample.with_document(captions=[each.to_json() for each in _captions(sample, options, env)])


def _captions(sample: Sample, options: PackOptions, env: Env) -> list[Caption]:
    document = sample.document
    named = document.get("lang") or document.get("language") or document.get("LANGUAGE")
    lang = language_code(named) if isinstance(named, str) else options.code
    if "caption" in document:
        return caption(document["caption"], lang, env)
    if isinstance(texts := document.get("captions"), list):
        return [each for text in texts for each in caption(text, lang, env)]
    if "txt" not in sample.members:
        env.note("samples without a caption")
        return []
    try:
        text = sample.members["txt"].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSample("txt is not UTF-8") from error
    return caption(text, lang, env)
