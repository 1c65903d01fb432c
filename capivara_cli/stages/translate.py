"""Translate captions into other languages; the originals stay unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from capivara_cli import languages, plugins
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import Language, code_of
from capivara_cli.sample import Caption
from capivara_cli.shards import Stream
from capivara_cli.stage import Env, map_batched, opt, stage


class Translator(Protocol):
    """What a plugin of ``translators/`` loads: texts in, as many texts out; ``by`` is stored with each."""

    by: str

    def __call__(self, texts: list[str], /) -> list[str]: ...


@dataclass(frozen=True)
class Options:
    lang: str = opt("pt", "target languages, comma-separated: pt,hi,xh")
    from_: str = opt("en", "source language: the captions in it are translated")
    translator: str = opt("argos", "argos, apertium or toy; apertium:MODE picks a variety")
    package: str = opt("", "Argos packages to use instead of the installed ones: files or folders")
    batch_size: int = opt(64, "samples translated together", min=1)
    replace: bool = opt(False, "leave out the captions that were translated")

    def check(self) -> None:
        plugins.check("translators", self.translator)
        targets = self.targets
        if not targets:
            raise UsageError("--lang: name at least one language")
        if self.source in targets:
            raise UsageError(f"--lang {self.source.code}: the captions are translated from it; see --from")
        if self.package and self.translator != "argos":
            raise UsageError("--package is for --translator argos")

    @property
    def source(self) -> Language:
        return languages.get(self.from_)

    @property
    def targets(self) -> list[Language]:
        named = filter(None, (part.strip() for part in self.lang.split(",")))
        return list(dict.fromkeys(languages.get(name) for name in named))


@stage("translate", Options)
def translate(samples: Stream, options: Options, env: Env) -> Stream:
    """Append a translation of every caption in ``--from`` to every language of ``--lang``.

    A translation carries ``of`` (the text it was made from) and ``by`` (who made it), so one that is there already is
    not made again. Raises ``CapivaraError`` at the end when no sample had a caption to translate.
    """
    options.check()
    seen: dict[str, None] = env.once(("translate", options), dict)  # over all shards of this process
    work = _Work(options, env, seen)
    source, empty = options.source, True
    for sample, captions in map_batched(
        samples, lambda sample: sample.captions, work, size=options.batch_size, env=env
    ):
        empty = False
        yield sample.with_captions(captions)
    if not empty and source.code not in seen and not all(target.code in seen for target in options.targets):
        raise CapivaraError(
            f"translate: no caption is in {source.name} ({source.code}); "
            f"the captions are in {', '.join(seen) or 'no language: there are none'}",
            f"--from {next(iter(seen))} translates those" if seen else "capivara caption makes English ones",
        )


class _Work:
    """Translates the captions of a batch of samples."""

    def __init__(self, options: Options, env: Env, seen: dict[str, None]) -> None:
        self.options = options
        self.env = env
        self.seen = seen

    def __call__(self, batch: list[list[Caption]]) -> list[list[Caption]]:
        """The captions of each sample -> the same and their translations."""
        source = self.options.source
        sources = [_in_language(captions, source.code) for captions in batch]
        self.seen.update(dict.fromkeys(code_of(each.lang) for captions in batch for each in captions))
        if (without := sum(not each for each in sources)) > 0:
            self.env.note(f"samples without a caption in {source.code}", without)
        results = [list(captions) for captions in batch]
        for target in self.options.targets:
            for result, made in zip(results, self._into(target, batch, sources), strict=True):
                result += made
        if self.options.replace:
            return [self._replaced(result, originals) for result, originals in zip(results, sources, strict=True)]
        return results

    def _into(
        self, target: Language, batch: list[list[Caption]], sources: list[list[Caption]]
    ) -> Iterable[list[Caption]]:
        """The translations each sample lacks, in the order of its source captions."""
        if not any(sources):
            return [[] for _ in batch]
        translator = self._translator(target)
        wanted: list[list[str]] = []
        for captions, originals in zip(batch, sources, strict=True):
            there = {each.of for each in captions if each.by == translator.by and code_of(each.lang) == target.code}
            texts = dict.fromkeys(each.text for each in originals if each.text.strip())
            wanted.append([text for text in texts if text not in there])
        distinct = list(dict.fromkeys(text for texts in wanted for text in texts))
        translated = dict(zip(distinct, translator(distinct), strict=True)) if distinct else {}
        usable = {text: result for text, result in translated.items() if self._usable(text, result, target)}
        return [
            [Caption(usable[text], target.code, translator.by, of=text) for text in texts if text in usable]
            for texts in wanted
        ]

    def _translator(self, target: Language) -> Translator:
        options = self.options
        spec = f"argos:{options.package}" if options.package else options.translator
        # "auto" is left to the translator: resolving it here would import torch, which none of them needs
        context = {"source": options.source.code, "target": target.code, "device": self.env.settings.device}
        return self.env.once(
            ("translator", spec, *context.values()), lambda: plugins.load("translators", spec, **context)
        )

    def _usable(self, text: str, translation: str, target: Language) -> bool:
        """Whether a translation says anything in the target language; what does not is noted and left out."""
        if not translation.strip():
            self.env.note("translation empty")
        elif not languages.written_in(translation, target):
            self.env.note(f"translation has no letter of the script of {target.code}")
        else:
            if translation.casefold() == text.casefold():  # may be right: names, loan words
                self.env.note("translation equals its source, kept")
            return True
        return False

    def _replaced(self, captions: list[Caption], originals: list[Caption]) -> list[Caption]:
        """Without the originals that have a translation in every target language."""
        targets = {target.code for target in self.options.targets}
        there = {(each.of, code_of(each.lang)) for each in captions}
        done = {each for each in originals if all((each.text, target) in there for target in targets)}
        return [each for each in captions if each not in done]


def _in_language(captions: list[Caption], code: str) -> list[Caption]:
    return [each for each in captions if code_of(each.lang) == code]
