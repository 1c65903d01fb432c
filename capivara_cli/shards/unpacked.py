"""Captions as other programs store them in shards: in ``txt``, one per line, or in ``json``.

Only ``pack`` makes captions of them, because they have no language. All other commands refuse them (``packed_only``):
to them such shards would have no captions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.shards.sample import Sample, is_image_suffix

TEXT_SUFFIXES = frozenset({"txt", "text", "caption", "captions"})
"""The last parts of the suffixes of members and files that hold captions: ``a.txt``, ``a.jpg.txt``, ``a.caption``."""

CAPTION_WORDS = r"captions?|texts?|sentences?|comments?|title|alt[-_ ]text"
"""The words for captions in names of columns and fields, as an alternation."""
LIKELY_NAMES = (
    "description", "descriptions", "alt", "legenda", "legendas", "leyenda", "texto", "textos", "descrição", "descricao",
    "descripción", "descripcion", "beschreibung", "légende", "prompt",
)  # fmt: skip
"""Names that say captions where no other column or field holds any."""

_NOT_UTF_8 = "captions are not UTF-8"
_FIELD = re.compile(rf"(.*[-_ .])?(?:{CAPTION_WORDS}|{'|'.join(LIKELY_NAMES)})([-_ .:(\[\d].*)?")
_SURE = frozenset({"caption", "captions", "text", "texts", "sentence", "sentences"})


def caption_lines(data: bytes) -> list[str]:
    """The captions of a text file, one per line, stripped; the lines without text are left out.

    Only a newline ends a line (LF, CR or both): ``splitlines`` would also split inside a caption, at U+2028 and U+0085.
    Raises ``BadSample`` for bytes that are not UTF-8, and for zero bytes: then they are UTF-16.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSample(_NOT_UTF_8) from error
    if "\0" in text:
        raise BadSample(_NOT_UTF_8)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def is_text_suffix(suffix: str) -> bool:
    """Whether a member or file with this suffix holds captions as text."""
    return suffix.rpartition(".")[2].lower() in TEXT_SUFFIXES


def is_packed(sample: Sample) -> bool | None:
    """Whether the captions of a sample are in capivara's list.

    None if it has no captions, if they are damaged, or if it has no image, so that nothing can pack it.
    """
    try:
        captions = sample.document.get("captions")
    except BadSample:
        return None
    if isinstance(captions, list) and all(map(_is_entry, captions)):
        return True if captions else None
    if not any(map(is_image_suffix, sample.members)):
        return None
    return False if _place(sample) else None


def packed_only(samples: Iterable[Sample], name: str) -> Iterator[Sample]:
    """Yield the samples of one shard. Raises ``CapivaraError`` if the first sample with captions is not packed.

    ``name``: that of the shard, which the error says how to pack.
    """
    samples = iter(samples)
    for sample in samples:
        packed = is_packed(sample)
        if packed is False:
            raise not_packed(sample, name)
        yield sample
        if packed:
            break
    yield from samples


def not_packed(sample: Sample, name: str) -> CapivaraError:
    """The error for a sample whose captions only ``pack`` reads."""
    source = "SHARDS" if name in ("-", "standard input") else name
    return CapivaraError(
        f"{name}: its captions are in {_place(sample)}, without a language: only pack reads them",
        f"capivara pack {source} --out packed",
    )


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("text"), str)


def _place(sample: Sample) -> str:
    """Where a sample has captions that are not packed: ``txt``, ``json "caption"``; "" if it has none."""
    for suffix, data in sample.members.items():
        if is_text_suffix(suffix) and data.strip():
            return suffix
    for name, value in sample.document.items():
        folded = name.casefold()
        if _FIELD.fullmatch(folded) and _holds_text(value, words=1 if folded in _SURE else 2):
            return f'json "{name}"'
    return ""


def _holds_text(value: object, words: int) -> bool:
    """Whether a value of json is a text, or holds one. Numbers, ids and names of models (``caption_by``) are none."""
    if isinstance(value, (list, dict)):
        return any(_holds_text(each, words) for each in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and (len(value.split()) >= words or (bool(value.strip()) and not value.isascii()))
