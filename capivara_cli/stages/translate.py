"""Translate captions into other languages; the originals stay unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from capivara_cli import console, languages, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import code_of
from capivara_cli.languages import translation_checks as guards
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.batches import map_texts
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import opt, parsed
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample, captions_in

AUTO = "auto"
ONLY = ("all", "original", "synthetic")


class Translation(NamedTuple):
    """One answer: from and to which language, by whom, of which text; by whom it was taken back, and as what."""

    source: str
    target: str
    by: str
    text: str
    translation: str
    back_by: str
    back: str
    guarded: bool


class Translator(Protocol):
    """What a plugin of ``translators/`` loads: texts in, as many texts out, "" where there is no answer.

    ``by`` is stored with each. ``version`` is all that decides a translation, the key under which it is remembered;
    "" when it is not to be. ``guarded`` False keeps the guards away from what is no translation.
    """

    by: str
    version: str

    def __call__(self, texts: list[str], /) -> list[str]: ...


@dataclass(frozen=True)
class Options:
    lang: str = opt("pt", "target languages, comma-separated: pt,hi,xh", kind=Languages())
    from_: str = opt(
        "en",
        "language of the captions to translate; auto: each from its own, found out where unknown",
        kind=Languages(AUTO, one=True),
    )
    translator: str = opt(
        "argos", "auto, argos, nllb, opus, apertium … or NAME:VARIANT; see: capivara list translators"
    )
    package: str = opt("", "Argos packages to use instead of the installed ones: files or folders")
    only: str = opt("all", "translate all captions, the original ones, or the synthetic ones: all, original, synthetic")
    back_translate: bool = opt(
        False, "also translate each translation back, as one more caption in its source language"
    )
    guards: str = opt(
        "all",
        "what is left out: all, none, or some of empty,script,copy,repetition,junk,language",
        kind=Names(guards.NAMES, "guard", all=True, none=True),
    )
    beams: int = opt(0, "beams of the search; 0: as many as the translator is used to", min=0)
    cache: bool = opt(True, "remember translations on this machine, across runs", tuning=True)
    batch_size: int = opt(256, "samples translated together", min=1, tuning=True)
    base_url: str = opt("", "address of the service, for libretranslate and deepl", metavar="URL", tuning=True)
    concurrency: int = opt(16, "requests to the service at once", min=1, tuning=True)
    replace: bool = opt(False, "leave out the captions that were translated")

    def check(self) -> None:
        registry.check("translators", self.translator)
        if self.source in self.targets:
            raise UsageError(f"--lang {self.from_}: the captions are translated from it; see --from")
        if self.package and self.translator != "argos":
            raise UsageError("--package is for --translator argos")
        if self.only not in ONLY:
            raise UsageError(f"--only {self.only}: one of {', '.join(ONLY)}")

    @property
    def source(self) -> str | None:
        """The code of ``--from``; None for ``auto``: each caption has its own."""
        return next(iter(parsed(self, "from_")), None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The codes of ``--lang``."""
        return parsed(self, "lang")


@stage("translate", Options)
def translate(samples: Stream, options: Options, env: Env) -> Stream:
    """Append a translation of every caption in ``--from`` to every language of ``--lang``.

    A translation carries ``of`` (the text it was made from) and ``by`` (who made it), so one that is there already is
    not made again. What is empty, in another script or language, a copy, repeating itself or junk is left out and
    counted. Raises ``CapivaraError`` at the end when no sample had a caption to translate.
    """
    options.check()
    seen: dict[str, None] = env.once(("translate", options), dict)  # languages, over all shards of this process
    work = _Work(options, env)
    empty = True
    for sample, item, made in map_texts(samples, work.item, work, size=options.batch_size, env=env):
        empty = False
        seen.update(dict.fromkeys(code_of(each.lang) for each in item.captions))
        captions = work.judged(item, made)
        yield sample if captions == item.captions else sample.with_captions(captions, item.document)
    if not empty:
        _refuse_if_nothing_to_translate(options, seen)


def _refuse_if_nothing_to_translate(options: Options, seen: dict[str, None]) -> None:
    source = options.source
    wanted = {source} if source else seen.keys() - set(options.targets)
    if wanted & seen.keys() or all(target in seen for target in options.targets):
        return
    name = f"{languages.get(source).name} ({source})" if source else "a language to translate from"
    raise CapivaraError(
        f"translate: no caption is in {name}; the captions are in {', '.join(seen) or 'no language: there are none'}",
        f"--from {next(iter(seen))} translates those" if seen else "capivara caption makes English ones",
    )


class _Item(NamedTuple):
    """A sample, its json parsed once: what is to be translated, as (language, text), each once, and what was.

    ``there`` is what was made of other captions: (of, by, language).
    """

    key: str
    document: dict[str, Any]
    captions: list[Caption]
    wanted: list[tuple[str, str]]
    there: set[tuple[str, str, str]]


@dataclass(frozen=True)
class _Way:
    """The translators from one language to another, and back. ``there`` is None where nothing goes."""

    source: str
    target: str
    there: CachedTranslator | None
    back: CachedTranslator | None

    @property
    def back_by(self) -> str:
        return _whole_way(self.there.by, self.back.by) if self.there and self.back else ""

    def is_there(self, text: str, there: set[tuple[str, str, str]]) -> bool:
        """Whether a sample has all that this way would make of a text."""
        return (
            self.there is not None
            and (text, self.there.by, self.target) in there
            and (not self.back or (text, self.back_by, self.source) in there)
        )

    def walk(self, texts: list[str]) -> list[Translation]:
        if self.there is None:
            return [Translation(self.source, self.target, "", text, "", "", "", False) for text in texts]
        translations = self.there(texts) if texts else []
        returned = self.back(translations) if self.back and texts else [""] * len(texts)
        return [
            Translation(
                self.source, self.target, self.there.by, text, translation, self.back_by, back, self.there.guarded
            )
            for text, translation, back in zip(texts, translations, returned, strict=True)
        ]


class _Work:
    """Translates the captions of a batch of samples; judges later, as what is kept in the journal is not judged."""

    def __init__(self, options: Options, env: Env) -> None:
        self.options = options
        self.env = env
        self.source = options.source
        self.targets = options.targets
        self.guards = parsed(options, "guards")
        self.memory: TranslationMemory | None = (
            env.once("translation memory", TranslationMemory) if options.cache else None
        )

    def item(self, sample: Sample) -> _Item:
        document = sample.document
        captions = captions_in(document)
        wanted = {
            (code, each.text): None
            for each in captions
            if self._is_source(each) and (code := self._language(each)) and each.text.strip()
        }
        there = {(each.of, each.by, code_of(each.lang)) for each in captions if each.of is not None}
        return _Item(sample.key, document, captions, list(wanted), there)

    def __call__(self, batch: list[_Item]) -> list[list[Translation]]:
        """What is to be added to each sample, target by target, in the order of its captions."""
        results: list[list[Translation]] = [[] for _ in batch]
        for target in self.targets:
            sources = dict.fromkeys(source for item in batch for source, _ in item.wanted)
            ways = {source: self._way(source, target) for source in sources}
            lacking = [
                [wish for wish in item.wanted if (way := ways[wish[0]]) and not way.is_there(wish[1], item.there)]
                for item in batch
            ]
            made: dict[tuple[str, str], Translation] = {}
            for source, way in ways.items():
                texts = dict.fromkeys(text for wishes in lacking for code, text in wishes if code == source)
                made |= {(source, each.text): each for each in way.walk(list(texts))} if way else {}
            for result, wishes in zip(results, lacking, strict=True):
                result += [made[wish] for wish in wishes]
        return results

    def _is_source(self, caption: Caption) -> bool:
        rewritten = caption.by.startswith("rewrite:")
        if _is_round_trip(caption) or (self.source is None and caption.of is not None and not rewritten):
            return False
        synthetic = caption.prefix is not None or rewritten
        return self.options.only == "all" or (self.options.only == "synthetic") == synthetic

    def _language(self, caption: Caption) -> str | None:
        """The language a caption is translated from; None when it is not the one asked for, or nobody can tell."""
        code = code_of(caption.lang)
        if self.source is not None:
            return code if code == self.source else None
        if languages.knows(code):
            return code
        from capivara_cli.languages import identify

        return identify.language_of(caption.text)

    def _way(self, source: str, target: str) -> _Way | None:
        """From one language to another, and back if that is asked for; None from a language to itself.

        With ``--from auto`` a stray caption in a language that nobody translates must not end the run.
        """
        if source == target:
            return None
        try:
            there = self._translator(source, target)
        except CapivaraError as error:
            if self.source is not None:
                raise
            why = f"translate: {error.message}"
            self.env.once(("no way", source, target), lambda: console.warn(why))
            return _Way(source, target, None, None)
        return _Way(source, target, there, self._translator(target, source) if self.options.back_translate else None)

    def _translator(self, source: str, target: str) -> CachedTranslator:
        options = self.options
        spec = f"argos:{options.package}" if options.package else options.translator
        # "auto" is left to the translator: resolving it here would import torch, which few of them need
        setup = Setup(self.env.settings.device, Decoding(beams=options.beams), options.base_url, options.concurrency)
        return self.env.once(
            ("translator", spec, source, target, setup),
            lambda: CachedTranslator(
                registry.load("translators", spec, source=source, target=target, setup=setup), self.memory
            ),
        )

    def judged(self, item: _Item, made: list[Translation]) -> list[Caption]:
        """The captions of a sample with what was made for it, as far as the guards let it pass."""
        captions, there = list(item.captions), set(item.there)

        def add(text: str, lang: str, by: str, of: str) -> None:
            if (of, by, lang) not in there:  # with --back-translate, one of the two may be
                there.add((of, by, lang))
                captions.append(Caption(text, lang, by, of))

        if not item.wanted:
            self.env.note(f"samples without a caption to translate from {self.source or 'any'}")
        for each in (Translation(*answer) for answer in made):
            if not each.by:
                self.env.note(f"captions left alone: no translator from {each.source} to {each.target}")
                continue
            if each.guarded and not self._passes(each.text, each.translation, each.source, each.target):
                continue
            add(each.translation, each.target, each.by, each.text)
            if each.back and each.back.casefold() == each.text.casefold():
                self.env.note("back-translations equal to the original, left out")
            elif each.back_by and self._passes(each.translation, each.back, each.target, each.source):
                add(each.back, each.source, each.back_by, each.text)
        return self._replaced(captions, item.wanted) if self.options.replace else captions

    def _passes(self, text: str, translation: str, source: str, target: str) -> bool:
        objection = guards.objection(text, translation, source, target, self.guards)
        if objection:
            self.env.note(f"translations left out: {objection}")
        elif guards.is_unchanged(text, translation):
            self.env.note("translations equal to their source, kept")
        return not objection

    def _replaced(self, captions: list[Caption], wanted: list[tuple[str, str]]) -> list[Caption]:
        """Without the captions that have a translation in every target language."""
        there = {(each.of, code_of(each.lang)) for each in captions}
        done = {
            (code, text)
            for code, text in wanted
            if all((text, target) in there for target in self.targets if target != code)
        }
        return [each for each in captions if (code_of(each.lang), each.text) not in done or each.of is not None]


def _whole_way(there: str, back: str) -> str:
    """``argos:en-pt`` and ``argos:pt-en`` -> "argos:en-pt-en"; by two translators, both are named."""
    name, _, way = there.partition(":")
    other, _, rest = back.partition(":")
    stop = way.rpartition("-")[2]
    if name == other and rest.startswith(f"{stop}-"):
        return f"{there}{rest.removeprefix(stop)}"
    return f"{there}+{back}"


def _is_round_trip(caption: Caption) -> bool:
    """Whether a caption was taken to another language and back; if it were a source there would be no end to it."""
    way = caption.by.partition(":")[2]
    if caption.of is None or "-" not in way:
        return False
    code = code_of(caption.lang)
    names = {code, *languages.get(code).argos, *languages.get(code).apertium} if languages.knows(code) else {code}
    return any(way.startswith(f"{name}-") for name in names) and any(way.endswith(f"-{name}") for name in names)
