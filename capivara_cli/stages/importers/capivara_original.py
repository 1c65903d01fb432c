"""The shards of the original CAPIVARA: captions-en, captions-pt, generated-captions-*, similarities-* in json.

As in the original's readers, the length of a list identifies its form. ``captions-pt`` holds two translations of each
English caption, first Marian's, then Google's. After scoring it also holds the generated captions, in the order of
``similarities-pt`` (the "12-entry form", a side effect of ``generated_caps_sim_score.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from capivara_cli.errors import BadSample
from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.importers._captions import language_code
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import ALT
from capivara_cli.stages.importers._sources import first_sample, is_tar, samples_in_tars

Origins = list[tuple[str, str | None]]
"""The origin of each caption: who wrote it (``by``) and the text it was translated from (``of``)."""

Texts = list[str | None]
"""The texts of a list in their places; None where one is missing."""

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
    """Yield one sample per key. The lists become ``captions`` with provenance and score; other json keys are kept."""
    return samples_in_tars(source, lambda sample: _converted(sample, env), env)


def _converted(sample: Sample, env: Env) -> Sample:
    _ = sample.image
    document = sample.document
    langs = [name.removeprefix(_ORIGINAL) for name in document if name.startswith(_ORIGINAL)]
    langs += [name.removeprefix(_GENERATED) for name in document if name.startswith(_GENERATED)]
    langs = sorted(dict.fromkeys(langs), key=lambda lang: lang != SOURCE)  # English first, then in their order
    english = _texts(document, _ORIGINAL + SOURCE)
    generated_english = _texts(document, _GENERATED + SOURCE)
    captions: list[Caption] = []
    for lang in langs:
        captions += _of_language(document, lang, english, generated_english, env)
    if any(not caption.text for caption in captions):
        env.note("empty captions", sum(not caption.text for caption in captions))
        captions = [caption for caption in captions if caption.text]
    converted = [name for name in document if name.startswith((_ORIGINAL, _GENERATED, _SCORES))]
    return sample.without_keys(converted).with_captions(captions)


def _of_language(
    document: dict[str, object], lang: str, english: Texts, generated_english: Texts, env: Env
) -> list[Caption]:
    """The captions of one language: originals or their translations first, then generated captions."""
    code = language_code(lang)
    generated = _texts(document, _GENERATED + lang)
    originals = _texts(document, _ORIGINAL + lang)
    if generated and len(originals) > len(generated) and originals[-len(generated) :] == generated:
        originals = originals[: -len(generated)]
    if lang == SOURCE:
        origins = _untranslated(ALT, originals) + _untranslated(CAPTIONER, generated)
    else:
        origins = _translators(originals, english, code) + _engine(generated, generated_english, code, "google")
    texts = originals + generated
    scores = _scores(document, lang, len(texts), env)
    captions = [
        Caption((text or "").strip(), code, by, of, score)
        for text, (by, of), score in zip(texts, origins, scores, strict=True)
    ]
    if lang == SOURCE:
        prefixes = PREFIXES if len(generated) == len(PREFIXES) else ("",) * len(generated)
        for index, prefix in enumerate(prefixes, start=len(originals)):
            captions[index] = replace(captions[index], prefix=prefix)
    return captions


def _untranslated(by: str, texts: Texts) -> Origins:
    return [(by, None) for _ in texts]


def _translators(texts: Texts, english: Texts, code: str) -> Origins:
    """The origins of captions in another language, by their number for each English caption."""
    if english and len(texts) == 2 * len(english):
        engines = ("marian", "google")
        return [(f"{engines[i % 2]}:{SOURCE}-{code}", english[i // 2]) for i in range(len(texts))]
    return _engine(texts, english, code, "machine")


def _engine(texts: Texts, sources: Texts, code: str, engine: str) -> Origins:
    """The origins of the translations by one engine; without English captions the texts are originals (PraCegoVer)."""
    if not sources:
        return _untranslated(ALT, texts)
    by = f"{engine}:{SOURCE}-{code}"
    return [(by, source) for source in sources] if len(texts) == len(sources) else _untranslated(by, texts)


def _texts(document: dict[str, object], name: str) -> Texts:
    """The texts of a list. What pandas writes for a missing value, NaN or null, keeps its place as None."""
    texts = document.get(name)
    if _is_missing(texts):
        return []
    if not isinstance(texts, list) or not all(isinstance(text, str) or _is_missing(text) for text in texts):
        raise BadSample(f"json {name!r} is not a list of texts")
    return [text if isinstance(text, str) else None for text in texts]


def _is_missing(value: object) -> bool:
    return value is None or value != value


def _scores(document: dict[str, object], lang: str, count: int, env: Env) -> list[float | None]:
    """The image-text cosine of each caption. The original stores a single score as a bare number.

    A missing one, null or NaN, leaves the others in their places.
    """
    scores = document.get(_SCORES + lang)
    if _is_missing(scores):
        return [None] * count
    scores = scores if isinstance(scores, list) else [scores]
    numbers = [float(score) if isinstance(score, (int, float)) else None for score in scores]
    if len(numbers) == count:
        return [None if _is_missing(number) else number for number in numbers]
    env.note("similarity lists whose length differs from that of the captions")
    return [None] * count
