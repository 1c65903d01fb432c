"""Chains of translations and rewrites, and the text of a chain that judges a caption.

The model knows the language of the first text best, as a rule: captions are written in English. So the nearest text of
the chain in that language judges a caption: an English rewrite of an English text is judged by itself, its translation
by the rewrite, and a rewrite of the translation too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from capivara_cli import languages
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.filtering.sample_facts import OF_LANG, OF_NEAREST, OF_SCORE, of_score, with_of_score


def judge_of(caption: Caption) -> tuple[str, str] | None:
    """The other text that judges a caption, and its language ("" if unknown); None if its own text does.

    The caption must come from ``with_judges``.
    """
    first = _stored(caption, OF_LANG)
    if caption.of is None or first == languages.code_of(caption.lang):
        return None
    return _stored(caption, OF_NEAREST) or caption.of, first or ""


def with_judges(captions: Sequence[Caption], is_wanted: Callable[[Caption], bool]) -> list[Caption]:
    """The captions of a sample; translations and rewrites get the language of the first text of their chain
    (``of_lang``) and, if neither they nor their source judge them, the text that does (``of_nearest``).

    ``is_wanted``: which captions may be changed. Both are stored, so that a caption is judged alike when the other
    texts are gone. Where a chain cannot be followed, a rewrite is judged by itself and a translation by its source.
    """
    known = _by_text(captions)
    return [
        _marked(each, *_judge(each, known)) if each.of is not None and is_wanted(each) else each for each in captions
    ]


def with_stored_judge_scores(captions: Sequence[Caption], is_wanted: Callable[[Caption], bool]) -> list[Caption]:
    """The captions; those without the score of their judge get it if that is among the captions and scored."""
    known = _by_text(captions)
    found = []
    for caption in captions:
        judge = judge_of(caption) if is_wanted(caption) and of_score(caption) is None else None
        source = known.get(judge[0]) if judge is not None else None
        score = source.score if source is not None else None
        found.append(caption if score is None else with_of_score(caption, score))
    return found


def _by_text(captions: Sequence[Caption]) -> dict[str, Caption]:
    """The captions by text; of equal texts an original one, then the first."""
    known: dict[str, Caption] = {}
    for caption in captions:
        if caption.text not in known or (caption.of is None and known[caption.text].of is not None):
            known[caption.text] = caption
    return known


def _judge(caption: Caption, known: dict[str, Caption]) -> tuple[str, str | None]:
    """The text that judges a caption, and the language of the first text of its chain, None if unknown."""
    *links, last = _chain(caption, known)
    text, first = _judge_at_the_end(last)
    for link in reversed(links):
        text = link.text if first == languages.code_of(link.lang) else text
    return text, first


def _chain(caption: Caption, known: dict[str, Caption]) -> list[Caption]:
    """A caption, its source, the source of that, and so on, to an original, or to a caption whose judge is stored.

    It ends earlier if a source is not among the captions, and where it would begin again.
    """
    chain, seen = [caption], {id(caption)}
    while (of := chain[-1].of) is not None and not _has_stored_judge(chain[-1]):
        source = known.get(of)
        if source is None or id(source) in seen:
            break
        chain.append(source)
        seen.add(id(source))
    return chain


def _judge_at_the_end(last: Caption) -> tuple[str, str | None]:
    """What ``_judge`` returns for the last caption of a chain."""
    lang = languages.code_of(last.lang)
    if last.of is None:
        return last.text, lang
    first = _stored(last, OF_LANG)
    if not _has_stored_judge(last) and last.by.startswith("rewrite:"):
        first = lang
    return (last.text if first == lang else _stored(last, OF_NEAREST) or last.of), first


def _has_stored_judge(caption: Caption) -> bool:
    """Whether filter has followed the chain of this caption before."""
    return _stored(caption, OF_LANG) is not None or _stored(caption, OF_NEAREST) is not None


def _marked(caption: Caption, judge: str, first: str | None) -> Caption:
    """The caption with the keys from which ``judge_of`` reads its judge; all others stay."""
    keys = dict(caption.more)
    if first is not None:
        keys[OF_LANG] = json.dumps(first)
    if first == languages.code_of(caption.lang):
        keys.pop(OF_NEAREST, None)
        keys.pop(OF_SCORE, None)
    elif judge == caption.of:
        keys.pop(OF_NEAREST, None)
    else:
        keys[OF_NEAREST] = json.dumps(judge)
    return replace(caption, more=tuple(keys.items()))


def _stored(caption: Caption, key: str) -> str | None:
    """The text under a key of a caption; None if there is none."""
    found = dict(caption.more).get(key)
    value = json.loads(found) if found is not None else None
    return value if isinstance(value, str) else None
