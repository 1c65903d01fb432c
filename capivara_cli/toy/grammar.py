"""Sentences about scenes in English, Portuguese, Hindi and Xhosa, with grammatical agreement.

A `Choice` fixes the sentence frame and the synonyms. `render` is a function of scene, language and choice, so the
sentences of one choice are translations of each other. The words are tables in `lexicon`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from capivara_cli.toy import lexicon
from capivara_cli.toy.lexicon import CLASS_NAMES, LANGUAGES, NOUN_PHRASE_FRAMES, TEMPLATES
from capivara_cli.toy.scenes import Scene, Thing, groups, random_scene, split_of

__all__ = [
    "CLASS_NAMES",
    "LANGUAGES",
    "NOISE",
    "TEMPLATES",
    "Choice",
    "alt_text",
    "brief",
    "choose",
    "describe",
    "noisy",
    "noun_phrase",
    "parallel",
    "render",
]

NOISE = {"vague": 0.18, "truncated": 0.16, "other": 0.10, "clean": 0.56}
"""The shares of alt-text that is vague, truncated, about another scene, or correct."""

_MIRROR = {"left": "right", "above": "below"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The wording: the index of the frame, the index (0 or 1) in each pair of synonyms, and the order of the groups."""

    frame: int
    size: int
    pattern: int
    relation: int
    mirrored: bool  # say "B right of A" instead of "A left of B"


def choose(rng: random.Random, frames: tuple[int, ...] = tuple(range(len(lexicon.FRAMES["en"])))) -> Choice:
    """A random choice whose frame is one of `frames`."""
    return Choice(rng.choice(frames), rng.randrange(2), rng.randrange(2), rng.randrange(2), rng.random() < 0.5)


def render(scene: Scene, lang: str, choice: Choice) -> str:
    """The sentence in `lang` that `choice` gives for `scene`."""
    ordered = groups(scene)
    relation = scene.relation
    if relation is not None and choice.mirrored:
        ordered, relation = ordered[::-1], _MIRROR[relation]
    phrase = None if relation is None else lexicon.RELATIONS[lang][relation][choice.relation]
    sentence = _RENDERERS[lang](ordered, phrase, choice).replace("{at}", lexicon.PLACES[lang][scene.background])
    return " ".join(sentence.split())  # the pattern "plain" is an empty word


def describe(scene: Scene, lang: str, rng: random.Random) -> str:
    """One true, complete sentence about the scene in `lang`.

    >>> from capivara_cli.toy.scenes import Scene, Thing
    >>> scene = Scene((Thing("boat", "red", "big", "striped"),) * 2, None, "sand")
    >>> describe(scene, "pt", random.Random(1))
    'um desenho de dois barcos vermelhos grandes com listras na areia'
    """
    return render(scene, lang, choose(rng))


def parallel(scene: Scene, rng: random.Random) -> dict[str, str]:
    """The same sentence in all four languages: language code -> text."""
    choice = choose(rng)
    return {lang: render(scene, lang, choice) for lang in LANGUAGES}


def noun_phrase(scene: Scene, lang: str, rng: random.Random) -> str:
    """Like `describe`, but never a full clause, so that it can follow "a photo of" or "the picture shows"."""
    return render(scene, lang, choose(rng, NOUN_PHRASE_FRAMES))


def brief(scene: Scene, lang: str, rng: random.Random) -> str:
    """A zero-shot template with the class name of the first thing: true, but not very informative."""
    return rng.choice(TEMPLATES[lang]).format(CLASS_NAMES[lang][scene.things[0].shape])


def noisy(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """English alt-text and its kind, one of the keys of `NOISE`."""
    kind = rng.choices(list(NOISE), weights=list(NOISE.values()))[0]
    if kind == "vague":
        return rng.choice(lexicon.VAGUE), kind
    if kind == "other":
        scene = _another(scene, rng)
    text = describe(scene, "en", rng)
    if kind == "truncated":
        words = text.split()
        text = " ".join(words[: rng.randint(2, max(2, len(words) // 2))])
    return text, kind


def alt_text(scene: Scene, rng: random.Random) -> str:
    """English text like that of images on the web: only a share of `NOISE["clean"]` is correct."""
    return noisy(scene, rng)[0]


def _another(scene: Scene, rng: random.Random) -> Scene:
    """A different scene of the same split, so that noise moves no scene from one split to the other."""
    while True:
        other = random_scene(rng)
        if other != scene and split_of(other) == split_of(scene):
            return other


# --- English ------------------------------------------------------------------------------------------------------
def _english(ordered: tuple[tuple[int, Thing], ...], phrase: str | None, choice: Choice) -> str:
    parts = [_english_group(count, thing, choice) for count, thing in ordered]
    frame = lexicon.FRAMES["en"][choice.frame].replace("{be}", "is" if ordered[0][0] == 1 else "are")
    return frame.replace("{np}", f" {phrase} ".join(parts))


def _english_group(count: int, thing: Thing, choice: Choice) -> str:
    pattern = lexicon.EN_PATTERNS[thing.pattern][choice.pattern]
    before, after = ("", pattern) if pattern.startswith("with") else (pattern, "")
    size = lexicon.EN_SIZES[thing.size][choice.size]
    noun = lexicon.EN_NOUNS[thing.shape][count > 1]
    return f"{('a', 'two', 'three')[count - 1]} {size} {thing.color} {before} {noun} {after}"


# --- Portuguese: everything agrees in gender and number ---------------------------------------------------------------
def _portuguese(ordered: tuple[tuple[int, Thing], ...], phrase: str | None, choice: Choice) -> str:
    parts = [_portuguese_group(count, thing, choice) for count, thing in ordered]
    return lexicon.FRAMES["pt"][choice.frame].replace("{np}", f" {phrase} ".join(parts))


def _portuguese_group(count: int, thing: Thing, choice: Choice) -> str:
    gender, *forms = lexicon.PT_NOUNS[thing.shape]
    form = (gender == "f") + 2 * (count > 1)
    number = lexicon.PT_COUNTS[count][gender == "f"]
    color = lexicon.PT_COLORS[thing.color][form]
    size = lexicon.PT_SIZES[thing.size][choice.size][form]
    pattern = lexicon.PT_PATTERNS[thing.pattern][choice.pattern][form]
    return f"{number} {forms[count > 1]} {color} {size} {pattern}"


# --- Hindi: a noun before a postposition is oblique; the verb agrees with the first group -----------------------------
_HINDI_OBLIQUE_FRAMES = (1, 2)  # का चित्र and वाला दृश्य follow the whole noun phrase


def _hindi(ordered: tuple[tuple[int, Thing], ...], phrase: str | None, choice: Choice) -> str:
    (count, thing), *rest = ordered
    words = [f"{_hindi_group(*other, choice, oblique=True)} {phrase}" for other in rest]
    words.append(_hindi_group(count, thing, choice, oblique=choice.frame in _HINDI_OBLIQUE_FRAMES))
    be = "है" if count == 1 else "हैं"
    gender = lexicon.HI_NOUNS[thing.shape][0]
    seen = "दिखती" if gender == "f" else "दिखता" if count == 1 else "दिखते"
    frame = lexicon.FRAMES["hi"][choice.frame].replace("{be}", be).replace("{seen}", f"{seen} {be}")
    return frame.replace("{np}", " ".join(words))


def _hindi_group(count: int, thing: Thing, choice: Choice, *, oblique: bool) -> str:
    gender, *forms = lexicon.HI_NOUNS[thing.shape]
    form = 2 if gender == "f" else int(count > 1 or oblique)
    size = lexicon.HI_SIZES[thing.size][choice.size][form]
    pattern = lexicon.HI_PATTERNS[thing.pattern][choice.pattern][form]
    noun = forms[(count > 1) + 2 * oblique]
    return f"{lexicon.HI_COUNTS[count]} {size} {lexicon.HI_COLORS[thing.color][form]} {pattern} {noun}"


# --- Xhosa: every qualifier takes the concord of the noun's class -----------------------------------------------------
_XHOSA_LINKS = {
    1: "w",
    2: "n",
}  # umzobo wa- + noun: a drawing of the noun; umboniso o-na- + noun: a scene that has the noun


def _xhosa(ordered: tuple[tuple[int, Thing], ...], phrase: str | None, choice: Choice) -> str:
    first, *rest = (_xhosa_group(count, thing, choice) for count, thing in ordered)
    if choice.frame in _XHOSA_LINKS:
        first = _coalesced(_XHOSA_LINKS[choice.frame], first)
    words = " ".join([first, *(_linked(phrase, other) for other in rest)])
    return lexicon.FRAMES["xh"][choice.frame].replace("{np}", words)


def _linked(phrase: str | None, noun: str) -> str:
    """A relation and its noun: `phezu kw` + `ibhola` is `phezu kwebhola`."""
    *words, link = str(phrase).split()
    return " ".join([*words, _coalesced(link, noun)])


def _coalesced(consonant: str, noun: str) -> str:
    """consonant + a + noun, where a + i is e, a + u is o and a + a is a; kw loses its w before o."""
    vowel = {"i": "e", "u": "o", "a": "a"}[noun[0]]
    if noun.startswith("ii"):
        noun = "i" + "e" + noun[2:]  # a long i stays long: kwa + iibhola is kweebhola
    if vowel == "o" and consonant == "kw":
        consonant = "k"
    return consonant + vowel + noun[1:]


def _xhosa_group(count: int, thing: Thing, choice: Choice) -> str:
    noun_class, noun = lexicon.XH_NOUNS[thing.shape][count > 1]
    relative = lexicon.XH_RELATIVE[noun_class]
    words = [noun]
    if count > 1:
        words.append(_adjective(noun_class, lexicon.XH_COUNTS[count]))
    words.append(_adjective(noun_class, lexicon.XH_SIZES[thing.size][choice.size]))
    words.append(relative + lexicon.XH_COLORS[thing.color])
    pattern = lexicon.XH_PATTERNS[thing.pattern][choice.pattern]
    if pattern:
        words.append(relative + pattern)
    return " ".join(words)


def _adjective(noun_class: int, stem: str) -> str:
    """Adjective concord + stem. After the nasal of classes 9 and 10 the sound changes: en + khulu is enkulu."""
    concord = lexicon.XH_ADJECTIVE[noun_class]
    if concord.endswith("n"):
        for sounds, changed in lexicon.XH_NASAL.items():
            if ("n" + stem).startswith(sounds):
                return concord[:-1] + changed + stem[len(sounds) - 1 :]
    return concord + stem


_RENDERERS = {"en": _english, "pt": _portuguese, "hi": _hindi, "xh": _xhosa}
