"""Stop words by language: words that alone say nothing about an image."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from capivara_cli.languages import Language

OWN = Path(__file__).with_name("stop_words.json")


@cache
def stop_words(language: Language) -> frozenset[str]:
    """Lower-case function words; an empty set for a language without a list.

    The lists of stopwords-iso (57 languages) are made for web search and contain "man", "small", "group", "two".
    Our own lists hold only articles, prepositions, pronouns, conjunctions and auxiliaries, and take precedence.
    """
    own: dict[str, str] = json.loads(OWN.read_text("utf-8"))
    if language.code in own:
        return frozenset(own[language.code].split())
    import stopwordsiso

    code = language.code.partition("-")[0]  # zh-Hant
    return frozenset(stopwordsiso.stopwords(code)) if stopwordsiso.has_lang(code) else frozenset()
