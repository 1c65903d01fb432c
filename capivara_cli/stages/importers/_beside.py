"""The captions beside an image: in text files, one per line, and in a JSON object, as members of a tar or as files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption
from capivara_cli.shards.unpacked import LIKELY_NAMES, caption_lines
from capivara_cli.stages.importers._captions import captions_of, language_code
from capivara_cli.stages.importers._columns import Columns, columns_by_role
from capivara_cli.stages.importers._photos import caption, unescaped
from capivara_cli.stages.importers._text_tables import decoded, is_damaged

_TITLES = frozenset({"title", "comment", "alt_text", *LIKELY_NAMES})
"""Fields that hold a caption only where nothing else does: beside captions they say something else."""


def captions_beside(document: Mapping[str, object], texts: Iterable[bytes], default: str, env: Env) -> list[Caption]:
    """The captions of an image: those of the JSON object, then those in text files that the object does not have.

    The fields of the object are found by name, as the columns of a table. Many programs store the caption in both
    places: a text file that holds a caption of the object is not taken for others, even if the caption has several
    lines. ``default`` is the code of captions whose language is not given. Raises ``BadSample`` for text that is not
    UTF-8 and for an unknown language.
    """
    texts = list(texts)
    lines = {data: _lines_of(data, env) for data in texts}
    fields = fields_of(document)
    ignored = _TITLES if any(lines.values()) else frozenset()
    if fields.doubtful:
        env.note(f"samples with {fields.roles(default)}")
    given = {name: value for name, value in document.items() if not _is_blank(value)}
    found = [
        each
        for name, lang in fields.captions.items()
        if name in given and name.strip().casefold() not in ignored
        for each in captions_of(given[name], lang or _language_of(document, fields, default), env)
    ]
    known = {_folded(each.text) for each in found}
    for each in lines.values():
        if _folded(unescaped("\n".join(each))) in known:
            continue
        new = [line for line in each if _folded(unescaped(line)) not in known]
        found += [made for line in new for made in caption(line, _language_of(document, fields, default), env)]
        known.update(_folded(unescaped(line)) for line in new)
    if not found:
        env.note("empty captions" if texts or fields.captions else "samples without a caption")
    return found


def fields_of(document: Mapping[str, object]) -> Columns:
    """The fields of a JSON object by role; blank ones hold no captions where others hold some."""
    given = [name for name, value in document.items() if not _is_blank(value)]
    fields = columns_by_role(given, {name: [document[name]] for name in given})
    return fields if fields.captions else columns_by_role(list(document), {})


def _language_of(document: Mapping[str, object], fields: Columns, default: str) -> str:
    named = document.get(fields.lang) if fields.lang else None
    return language_code(named) if isinstance(named, str) and named.strip() else default


def _lines_of(data: bytes, env: Env) -> list[str]:
    """The captions of a text file; one that is not UTF-8 is read as a table would be, and counted."""
    try:
        return caption_lines(data)
    except BadSample:
        text, guessed = decoded(data)
        if is_damaged(text):
            raise
        if guessed:
            env.note("text files read as cp1252, as they are not UTF-8")
        return caption_lines(text.encode("utf-8", "replace"))


def _is_blank(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip()) or value == []


def _folded(text: str) -> str:
    return " ".join(text.split())
