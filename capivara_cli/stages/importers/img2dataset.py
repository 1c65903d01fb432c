"""WebDataset tar files, from img2dataset (jpg, txt, json with "caption"), CLIP_benchmark or any other program.

Captions are those in json and in txt, one per line. Members stay unchanged except ``json``, which gets "captions". A
sample that already has capivara's "captions" stays unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.unpacked import is_text_suffix
from capivara_cli.stages.importers._beside import captions_beside
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._sources import is_tar, samples_in_tars


def recognise(source: Path) -> bool:
    return is_tar(source)


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per key, under the same key, with the captions of its text and json members."""
    return samples_in_tars(source, lambda sample: _with_captions(sample, options, env), env)


def _with_captions(sample: Sample, options: PackOptions, env: Env) -> Sample:
    document = sample.document
    _ = sample.image
    captions = document.get("captions")
    if isinstance(captions, list) and captions and not any(map(_is_foreign, captions)):
        _ = sample.captions
        return sample
    texts = (data for suffix, data in sample.members.items() if is_text_suffix(suffix))
    found = captions_beside({**_other_json(sample), **document}, texts, options.code, env)
    if not found and captions == []:
        return sample
    return sample.with_document(captions=[each.to_json() for each in found])


def _is_foreign(entry: object) -> bool:
    """Whether an entry of "captions" is a text, or an object without the text, language or author of capivara's."""
    if isinstance(entry, dict):
        return "text" not in entry or not entry.keys() & {"lang", "by"}
    return isinstance(entry, str)


def _other_json(sample: Sample) -> dict[str, object]:
    """The object in a member such as ``jpg.json``; an empty one if there is none."""
    data = next((data for suffix, data in sample.members.items() if suffix.lower().endswith(".json")), b"{}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSample("json cannot be parsed") from error
    return value if isinstance(value, dict) else {}
