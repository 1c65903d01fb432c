"""Every caption that a value holds, in the forms in which data sets store captions: a cell, a JSON field, a struct."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator, Mapping, Sequence

from capivara_cli import languages
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.importers._photos import caption

TEXT = ("raw", "caption", "captions", "text", "sentence", "sentences", "value")
"""The fields of a struct that hold its text. The first that is there counts; others are other forms of the text."""
LANG = ("lang", "language", "language_code", "lang_code", "locale")
"""The names of a field or column that holds the language."""

_DEEPEST = 4  # a list of structs with lists of texts has 3 levels
_NOT_TEXT = "captions that are not text"


def captions_of(value: object, lang: str, env: Env, depth: int = 0) -> list[Caption]:
    """The captions that a value holds, by ``ALT``; ``lang`` is the code of those whose language the value lacks.

    A value is a text, a text that holds a list (``["a", "b"]``, as tables do), a list, a struct (``{"raw": …}``,
    ``{"caption": …, "lang": …}``) or texts by language (``{"en": …, "pt": …}``), or a list of these. Empty values and
    values of other forms are counted. Raises ``BadSample`` for an unknown language.
    """
    if depth > _DEEPEST:
        env.note(_NOT_TEXT)
        return []
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, str):
        inner = _list_in(value) if depth == 0 else None
        return caption(value, lang, env) if inner is None else captions_of(inner, lang, env, depth + 1)
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):  # a map of parquet
            return captions_of(dict(value), lang, env, depth + 1)
        return [found for item in value for found in captions_of(item, lang, env, depth + 1)]
    if isinstance(value, Mapping):
        return [
            found for item, code in _of_struct(value, lang, env) for found in captions_of(item, code, env, depth + 1)
        ]
    if value is None or value != value:  # NaN: how pandas writes a cell without a value
        return caption(None, lang, env)
    env.note(_NOT_TEXT)
    return []


def language_code(name: str) -> str:
    """The code of a language that a cell names. Raises ``BadSample`` for an unknown language."""
    try:
        return languages.code_or_unlisted(name)
    except CapivaraError as error:
        raise BadSample(f"unknown language {name.strip()[:20]!r}") from error


def is_language(name: str) -> bool:
    """Whether a text is the code or name of a language of the table."""
    try:
        languages.get(name)
    except CapivaraError:
        return False
    return True


def _of_struct(struct: Mapping[str, object], lang: str, env: Env) -> Iterator[tuple[object, str]]:
    """The values in a struct that hold captions, each with its language."""
    folded = {str(name).strip().casefold(): value for name, value in struct.items()}
    named = next((folded[name] for name in LANG if name in folded), None)
    text = next((folded[name] for name in TEXT if folded.get(name) is not None), None)
    if text is not None or any(name in folded for name in TEXT):
        yield from _with_languages(text, named, lang)
    elif folded and all(is_language(name) for name in folded):
        for name, value in folded.items():
            if value is not None:  # parquet gives every struct the languages of all
                yield value, language_code(name)
    else:
        env.note(_NOT_TEXT)


def _with_languages(text: object, named: object, lang: str) -> Iterator[tuple[object, str]]:
    """A text, or a list of texts, with one language for all or a list of as many languages."""
    if isinstance(named, Sequence) and not isinstance(named, str) and isinstance(text, Sequence):
        if len(named) == len(text):
            yield from ((each, _code(name, lang)) for each, name in zip(text, named, strict=True))
            return
        raise BadSample("a list of captions and a list of languages of different lengths")
    yield text, _code(named, lang)


def _code(named: object, lang: str) -> str:
    return language_code(named) if isinstance(named, str) and named.strip() else lang


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSample("captions are not UTF-8") from error


def _list_in(text: str) -> object:
    """The list or struct that a cell holds as JSON, or as Python or numpy print a list of texts; None if it holds none.

    A text in brackets that is no list of texts or structs ("[untitled]", "[1]") is a caption.
    """
    text = text.strip()
    if not (text.startswith(("[", "{")) and text.endswith(("]", "}"))):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _printed_list(text)
    items = value if isinstance(value, list) else [value]
    return value if items and all(isinstance(item, (str, dict)) for item in items) else None


def _printed_list(text: str) -> object:
    """What a list holds, as Python (``['a', 'b']``, ``[{'raw': 'a'}]``) or numpy (``['a' 'b']``) prints it."""
    if "{" in text and (structs := _printed_structs(text)) is not None:
        return structs
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        kept = [token for token in tokens if token.string.strip()]
        if [kept[0].string, kept[-1].string] != ["[", "]"]:
            return None
        texts = [ast.literal_eval(token.string) for token in kept if token.type == tokenize.STRING]
    except (tokenize.TokenError, SyntaxError, ValueError, IndexError):
        return None
    punctuation = {token.string for token in kept if token.type != tokenize.STRING} - {"[", "]", ","}
    return texts if texts and not punctuation and all(isinstance(each, str) for each in texts) else None


def _printed_structs(text: str) -> object:
    """The struct, or the list of structs, that Python prints, as pandas writes them into cells; None if it is none."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    items = value if isinstance(value, list) else [value]
    return value if items and all(isinstance(item, dict) and item for item in items) else None
