"""Translate captions into other languages and keep the originals, unless --replace is given.

Examples:
    capivara translate shards --lang pt --out translated
    capivara translate shards --lang pt,hi,xh --translator toy --out translated
    capivara translate shards --from auto --lang en --translator nllb --out english
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from capivara_cli import console, languages, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import code_of, translation_checks, translators
from capivara_cli.languages.folding import folded
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.batches import map_texts
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import MODEL, SELECTION, SERVICES, SPEED, opt, parsed
from capivara_cli.pipeline.stage import stage
from capivara_cli.plugin_errors import PluginError
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample, captions_in
from capivara_cli.toy import outsiders

AUTO = "auto"
ONLY = ("all", "original", "synthetic")

Source = tuple[str, str]
"""A text to translate: (language, text)."""


class TranslationResult(NamedTuple):
    """A translation of ``text`` by ``by``, and its back-translation by ``back_by``.

    ``by`` is "" if no translator has the language pair, ``back_by`` is "" without a back-translation. ``guarded`` says
    whether the translation is checked.
    """

    source: str
    target: str
    by: str
    text: str
    translation: str
    back_by: str
    back_translation: str
    guarded: bool


_INSTEAD_OF_TOY = "use a real one: --translator argos (the default), or another one of capivara list translators"


@dataclass(frozen=True)
class Options:
    lang: str = opt("pt", "languages to translate into: pt,hi,xh", kind=Languages())
    from_: str = opt("en", "language to translate from; auto: that of each caption", kind=Languages(AUTO, one=True))
    translator: str = opt(
        "argos",
        "auto, argos, nllb, opus, apertium … or NAME:VARIANT",
        reads="translators",
        panel=MODEL,
        metavar="NAME",
    )
    package: str = opt(
        "", "Argos packages, files or folders [default: the installed ones]", kind=Names(), reads="files",
        panel=MODEL, metavar="FILES",
    )  # fmt: skip
    only: str = opt(
        "all",
        "all, original or synthetic (captioner, rewriter) captions",
        panel=SELECTION,
        completes="all,original,synthetic",
    )
    back_translate: bool = opt(False, "also translate each translation back, as one more caption")
    guards: str = opt(
        "all",
        f"drop translations by all, none, or some of: {', '.join(translation_checks.NAMES)}",
        kind=Names(translation_checks.NAMES, "guard", all=True, none=True),
        panel=SELECTION,
    )
    beams: int = opt(0, "beams of beam search; 0: the translator's default", min=0, panel=MODEL)
    cache: bool = opt(True, "cache translations on this machine, across runs", tuning=True, panel=SPEED)
    batch_size: int = opt(256, "samples translated together", min=1, tuning=True, panel=SPEED)
    base_url: str = opt(
        "", "URL of the service, for libretranslate and deepl", metavar="URL", tuning=True, panel=SERVICES
    )
    concurrency: int = opt(16, "simultaneous requests to the service", min=1, tuning=True, panel=SERVICES)
    replace: bool = opt(False, "drop the captions that were translated")

    def check(self) -> None:
        if self.source in self.targets:
            raise UsageError(f"--lang {self.from_}: this is the source language; see --from")
        if self.package and self.translator != "argos":
            raise UsageError("--package is for --translator argos")
        name, _, variant = self.translator.partition(":")
        packages = self.package or (variant if name == "argos" else "")
        for name in Names().parse(packages) if packages else ():
            if not Path(name).expanduser().exists():
                raise CapivaraError(f"argos: no such package: {name}", "name a file .argosmodel, or its folder")
        if self.only not in ONLY:
            raise UsageError(f"--only {self.only}: one of {', '.join(ONLY)}")
        translators.check(self.translator, self.pairs)

    @property
    def source(self) -> str | None:
        """The code of ``--from``; None for ``auto``."""
        return next(iter(parsed(self, "from_")), None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The codes of ``--lang``."""
        return parsed(self, "lang")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of languages to translate; [] for ``--from auto``, which reads them off the captions."""
        there = [(self.source, target) for target in self.targets] if self.source else []
        return [*there, *((target, source) for source, target in there)] if self.back_translate else there

    def identities(self) -> list[str | None]:
        """The versions of the translators, see ``fingerprint``."""
        pairs: Sequence[tuple[str | None, str]] = self.pairs or [(None, target) for target in self.targets]
        spec = f"argos:{self.package}" if self.package else self.translator
        return [
            registry.identity("translators", spec, source=source, target=target, base_url=self.base_url)
            for source, target in pairs
        ]


@stage("translate", Options, settings=("device", "max_failures"))
def translate(samples: Stream, options: Options, env: Env) -> Stream:
    """Append a translation of every caption in ``--from`` to every language of ``--lang``.

    A translation records its source text (``of``) and its translator (``by``); one that a sample already has is not
    made again. Translations that fail a check of ``--guards``, such as copies and repetitions, are dropped and counted.
    Raises ``CapivaraError`` at the end if no sample had a caption to translate.
    """
    options.check()
    found: dict[str, None] = env.once(("translate", options), dict)  # languages, over all shards of this process
    batches = _BatchTranslator(options, env)
    empty = True
    for sample, texts, results in map_texts(samples, batches.read, batches, size=options.batch_size, env=env):
        empty = False
        found.update(dict.fromkeys(code_of(each.lang) for each in texts.captions))
        captions = batches.with_translations(texts, [TranslationResult(*each) for each in results])
        yield sample if captions == texts.captions else sample.with_captions(captions, texts.document)
    if not empty:
        _check_languages(options, found)


def _check_languages(options: Options, found: dict[str, None]) -> None:
    """Raise ``CapivaraError`` if no caption was in a source language, unless the targets are there already."""
    source = options.source
    sources = {source} if source else found.keys() - set(options.targets)
    if sources & found.keys() or all(target in found for target in options.targets):
        return
    name = f"{languages.get(source).name} ({source})" if source else "a language to translate from"
    raise CapivaraError(
        f"translate: no caption is in {name}; "
        + (f"the captions are in {', '.join(found)}" if found else "there are no captions"),
        f"--from {next(iter(found))} translates those" if found else "capivara caption makes English ones",
    )


class _SampleTexts(NamedTuple):
    """A sample with its JSON parsed once: the texts to translate, each once, and the translations that it has.

    ``existing`` has an (of, by, language) for each caption that was made from another text.
    """

    key: str
    document: dict[str, Any]
    captions: list[Caption]
    sources: list[Source]
    existing: set[tuple[str, str, str]]


@dataclass(frozen=True)
class _TranslatorPair:
    """The translator from one language to another, and back. ``forward`` is None if there is no translator."""

    source: str
    target: str
    forward: CachedTranslator | None
    back: CachedTranslator | None

    @property
    def back_by(self) -> str:
        return _round_trip_by(self.forward.by, self.back.by) if self.forward and self.back else ""

    def has_all(self, text: str, existing: set[tuple[str, str, str]]) -> bool:
        """Whether a sample already has every caption that this pair would add for a text."""
        return (
            self.forward is not None
            and (text, self.forward.by, self.target) in existing
            and (not self.back or (text, self.back_by, self.source) in existing)
        )

    def translate(self, texts: list[str]) -> list[TranslationResult]:
        source, target, forward = self.source, self.target, self.forward
        if forward is None:
            return [TranslationResult(source, target, "", text, "", "", "", False) for text in texts]
        if forward.by.startswith("toy:"):
            outsiders.warn_of_texts(texts, source, "the translator toy", _INSTEAD_OF_TOY)
        translations = forward(texts) if texts else []
        returned = self.back(translations) if self.back and texts else [""] * len(texts)
        return [
            TranslationResult(source, target, forward.by, text, translation, self.back_by, back, forward.guarded)
            for text, translation, back in zip(texts, translations, returned, strict=True)
        ]


class _BatchTranslator:
    """Translates the captions of a batch of samples. The journal keeps its results, so they are checked afterwards."""

    def __init__(self, options: Options, env: Env) -> None:
        self.options = options
        self.env = env
        self.source = options.source
        self.targets = options.targets
        self.guards = parsed(options, "guards")
        self.memory: TranslationMemory | None = (
            env.once("translation memory", TranslationMemory) if options.cache else None
        )

    def read(self, sample: Sample) -> _SampleTexts:
        document = sample.document
        captions = captions_in(document)
        sources = {
            (code, each.text): None
            for each in captions
            if self._is_source(each) and (code := self._language(each)) and each.text.strip()
        }
        existing = {(each.of, each.by, code_of(each.lang)) for each in captions if each.of is not None}
        return _SampleTexts(sample.key, document, captions, list(sources), existing)

    def __call__(self, batch: list[_SampleTexts]) -> list[list[TranslationResult]]:
        """The new translations of each sample, target by target, in the order of its captions."""
        results: list[list[TranslationResult]] = [[] for _ in batch]
        for target in self.targets:
            languages_in_batch = dict.fromkeys(language for texts in batch for language, _ in texts.sources)
            pairs = {language: self._pair(language, target) for language in languages_in_batch}
            missing = [
                [
                    (language, text)
                    for language, text in texts.sources
                    if (pair := pairs[language]) and not pair.has_all(text, texts.existing)
                ]
                for texts in batch
            ]
            translated: dict[Source, TranslationResult] = {}
            for language, pair in pairs.items():
                distinct = dict.fromkeys(text for sources in missing for code, text in sources if code == language)
                new = pair.translate(list(distinct)) if pair else []
                translated |= {(language, each.text): each for each in new}
            for result, sources in zip(results, missing, strict=True):
                result += [translated[source] for source in sources]
        return results

    def _is_source(self, caption: Caption) -> bool:
        rewritten = caption.by.startswith("rewrite:")
        if _is_round_trip(caption) or (self.source is None and caption.of is not None and not rewritten):
            return False
        synthetic = caption.prefix is not None or rewritten
        return self.options.only == "all" or (self.options.only == "synthetic") == synthetic

    def _language(self, caption: Caption) -> str | None:
        """The language to translate a caption from; None if it is another one than ``--from``, or unknown."""
        code = code_of(caption.lang)
        if self.source is not None:
            return code if code == self.source else None
        if languages.knows(code):
            return code
        from capivara_cli.languages import identify

        return identify.language_of(caption.text)

    def _pair(self, source: str, target: str) -> _TranslatorPair | None:
        """The translators of a language pair; None from a language to itself.

        With ``--from auto``, a caption in a language that has no translator must not end the run.
        """
        if source == target:
            return None
        try:
            forward = self._translator(source, target)
        except CapivaraError as error:
            if self.source is not None or isinstance(error, PluginError):
                raise
            why = f"translate: {error.message}"
            self.env.once(("no translator", source, target), lambda: console.warn(why))
            return _TranslatorPair(source, target, None, None)
        back = self._translator(target, source) if self.options.back_translate else None
        return _TranslatorPair(source, target, forward, back)

    def _translator(self, source: str, target: str) -> CachedTranslator:
        options = self.options
        spec = f"argos:{options.package}" if options.package else options.translator
        # the translator resolves the device "auto": doing it here would import torch, which few translators need
        setup = Setup(self.env.settings.device, Decoding(beams=options.beams), options.base_url, options.concurrency)
        return self.env.once(
            ("translator", spec, source, target, setup),
            lambda: CachedTranslator(
                translators.load(spec, source=source, target=target, setup=setup),
                self.memory,
                target,
                f"{spec} {source}>{target}",
            ),
        )

    def with_translations(self, texts: _SampleTexts, results: list[TranslationResult]) -> list[Caption]:
        """The captions of a sample and the translations that pass the checks; everything else is counted."""
        captions, existing = list(texts.captions), set(texts.existing)

        def add(text: str, lang: str, by: str, of: str) -> None:
            if (of, by, lang) not in existing:  # with --back-translate, a sample may have one of the two
                existing.add((of, by, lang))
                captions.append(Caption(text, lang, by, of))

        if not texts.sources:
            self.env.note(f"samples without a caption to translate from {self.source or 'any'}")
        for each in results:
            back = each.back_translation
            if not each.by:
                self.env.note(f"captions not translated: no translator from {each.source} to {each.target}")
                continue
            if each.guarded and not self._passes(each.text, each.translation, each.source, each.target):
                continue
            add(each.translation, each.target, each.by, each.text)
            if back and folded(back) == folded(each.text):
                self.env.note("back-translations dropped: equal to the original")
            elif each.back_by and self._passes(each.translation, back, each.target, each.source):
                add(back, each.source, each.back_by, each.text)
        return self._without_sources(captions, texts.sources) if self.options.replace else captions

    def _passes(self, text: str, translation: str, source: str, target: str) -> bool:
        objection = translation_checks.objection(text, translation, source, target, self.guards)
        if objection:
            self.env.note(f"translations dropped: {objection}")
        elif translation_checks.is_unchanged(text, translation):
            self.env.note("translations equal to their source, kept")
        return not objection

    def _without_sources(self, captions: list[Caption], sources: list[Source]) -> list[Caption]:
        """The captions without the sources that have a translation in every target language."""
        translated = {(each.of, code_of(each.lang)) for each in captions}
        done = {
            (code, text)
            for code, text in sources
            if all((text, target) in translated for target in self.targets if target != code)
        }
        return [each for each in captions if (code_of(each.lang), each.text) not in done or each.of is not None]


def _round_trip_by(forward: str, back: str) -> str:
    """``argos:en-pt`` and ``argos:pt-en`` -> "argos:en-pt-en"; two different translators are both named."""
    name, _, route = forward.partition(":")
    other, _, rest = back.partition(":")
    target = route.rpartition("-")[2]
    if name == other and rest.startswith(f"{target}-"):
        return f"{forward}{rest.removeprefix(target)}"
    return f"{forward}+{back}"


def _is_round_trip(caption: Caption) -> bool:
    """Whether a caption is a back-translation. It is never a source, or every run would add more captions."""
    route = caption.by.partition(":")[2]
    if caption.of is None or "-" not in route:
        return False
    code = code_of(caption.lang)
    names = {code, *languages.get(code).argos, *languages.get(code).apertium} if languages.knows(code) else {code}
    return any(route.startswith(f"{name}-") for name in names) and any(route.endswith(f"-{name}") for name in names)
