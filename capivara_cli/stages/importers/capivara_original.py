"""The shards of the original CAPIVARA: captions-en, captions-pt, generated-captions-*, similarities-* in json.

The length of a list tells its form, as in the original's readers: ``captions-pt`` holds two translations of each
English caption, by Marian then by Google, and after scoring also the generated captions
(the "12-entry form", a side effect of ``generated_caps_sim_score.py``), in the order of ``similarities-pt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from capivara_cli.errors import BadSample
from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.importers._columns import language_code
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import ALT
from capivara_cli.stages.importers._sources import first_sample, is_tar, samples_in_tars

Origins = list[tuple[str, str | None]]
"""The origin of each caption: who wrote it (``by``) and the text it was translated from (``of``)."""

CAPTIONER = "Salesforce/blip2-opt-2.7b-coco"
SOURCE = "en"
_ORIGINAL, _GENERATED, _SCORES = "captions-", "generated-captions-", "similarities-"


def recognise(source: Path) -> bool:
    if not is_tar(source) or (sample := first_sample(source)) is None:
        return False
    try:
        return any(name.startswith((_ORIGINAL, _GENERATED)) for name in sample.document)
    except BadSample:
        return False


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """One sample per key. The lists become ``captions`` with provenance and score; every other json key is kept."""
    return samples_in_tars(source, lambda sample: _converted(sample, env), env)


def _converted(sample: Sample, env: Env) -> Sample:
    _ = sample.image
    document = sample.document
    langs = [name.removeprefix(_ORIGINAL) for name in document if name.startswith(_ORIGINAL)]
    langs += [name.removeprefix(_GENERATED) for name in document if name.startswith(_GENERATED)]
    langs = sorted(dict.fromkeys(langs), key=lambda lang: lang != SOURCE)  # English first, then in their order
    english = _texts(document, _ORIGINAL + SOURCE)
    described = _texts(document, _GENERATED + SOURCE)
    captions: list[Caption] = []
    for lang in langs:
        captions += _of_language(document, lang, english, described, env)
    if any(not caption.text for caption in captions):
        env.note("empty captions", sum(not caption.text for caption in captions))
        captions = [caption for caption in captions if caption.text]
    ours = (_ORIGINAL, _GENERATED, _SCORES)
    kept = {name: value for name, value in document.items() if not name.startswith(ours)}
    bare = sample.with_members(json=b"{}")
    return bare.with_document(**kept).with_captions(captions)


def _of_language(
    document: dict[str, Any], lang: str, english: list[str], described: list[str], env: Env
) -> list[Caption]:
    """The captions of one language: the originals or their translations, then the generated ones."""
    code = language_code(lang)
    generated = _texts(document, _GENERATED + lang)
    originals = _texts(document, _ORIGINAL + lang)
    if generated and len(originals) > len(generated) and originals[-len(generated) :] == generated:
        originals = originals[: -len(generated)]
    if lang == SOURCE:
        origins = _first_hand(ALT, originals) + _first_hand(CAPTIONER, generated)
    else:
        origins = _translators(originals, english, code) + _engine(generated, described, code, "google")
    texts = originals + generated
    scores = _scores(document, lang, len(texts), env)
    captions = [
        Caption(text.strip(), code, by, of, score) for text, (by, of), score in zip(texts, origins, scores, strict=True)
    ]
    if lang == SOURCE:
        begins = PREFIXES if len(generated) == len(PREFIXES) else ("",) * len(generated)
        for place, prefix in enumerate(begins, start=len(originals)):
            captions[place] = replace(captions[place], prefix=prefix)
    return captions


def _first_hand(by: str, texts: list[str]) -> Origins:
    return [(by, None) for _ in texts]


def _translators(texts: list[str], english: list[str], code: str) -> Origins:
    """The origins of captions in another language, told from how many there are for each English caption."""
    if english and len(texts) == 2 * len(english):
        engines = ("marian", "google")
        return [(f"{engines[i % 2]}:{SOURCE}-{code}", english[i // 2]) for i in range(len(texts))]
    return _engine(texts, english, code, "machine")


def _engine(texts: list[str], sources: list[str], code: str, engine: str) -> Origins:
    """The origins of one engine's translations; without English captions the texts are originals (PraCegoVer)."""
    if not sources:
        return _first_hand(ALT, texts)
    by = f"{engine}:{SOURCE}-{code}"
    return [(by, source) for source in sources] if len(texts) == len(sources) else _first_hand(by, texts)


def _texts(document: dict[str, Any], name: str) -> list[str]:
    texts = document.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadSample(f"json {name!r} is not a list of texts")
    return texts


def _scores(document: dict[str, Any], lang: str, count: int, env: Env) -> list[float | None]:
    """The image-text cosine of each caption. A single one was stored as a bare number."""
    scores = document.get(_SCORES + lang)
    if scores is None:
        return [None] * count
    scores = scores if isinstance(scores, list) else [scores]
    if len(scores) == count and all(isinstance(score, (int, float)) for score in scores):
        return [float(score) for score in scores]
    env.note("similarities that are not in line with the captions")
    return [None] * count
