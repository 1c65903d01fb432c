"""Words that say nothing of an image by themselves, by language."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from capivara_cli.languages import Language

OWN = Path(__file__).with_name("stop_words.json")


@cache
def stop_words(language: Language) -> frozenset[str]:
    """Function words in small letters; none where no list is known.

    The lists of stopwords-iso (57 languages) are made for web search: those of large languages hold "man", "small",
    "group", "two". Where we have our own, of articles, prepositions, pronouns, conjunctions and auxiliaries, it is
    used instead.
    """
    own: dict[str, str] = json.loads(OWN.read_text("utf-8"))
    if language.code in own:
        return frozenset(own[language.code].split())
    import stopwordsiso

    code = language.code.partition("-")[0]  # zh-Hant
    return frozenset(stopwordsiso.stopwords(code)) if stopwordsiso.has_lang(code) else frozenset()
