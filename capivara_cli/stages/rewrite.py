"""Say every caption differently with a language model, as LaCLIP: more texts for the same image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from capivara_cli import languages, plugins
from capivara_cli.languages import code_of
from capivara_cli.sample import Caption, Sample
from capivara_cli.shards import Stream
from capivara_cli.stage import Env, map_batched, opt, stage

LONGEST = 3.0
"""A rewrite this many times longer or shorter than its source has left something out or made something up."""


class Rewriter(Protocol):
    """What a plugin of ``rewriters/`` loads: texts and seeds in, as many texts out, "" where there is no answer."""

    by: str

    def __call__(self, texts: list[str], seeds: list[int], /) -> list[str]: ...


@dataclass(frozen=True)
class Options:
    n: int = opt(1, "rewrites per caption (LaCLIP: 4)", min=1)
    rewriter: str = opt("llm", "llm, llm:MODEL (ORG/NAME or a folder) or toy")
    lang: str = opt("en", "language of the captions that are rewritten")
    batch_size: int = opt(16, "samples rewritten together", min=1)

    def check(self) -> None:
        plugins.check("rewriters", self.rewriter)
        languages.get(self.lang)


@stage("rewrite", Options)
def rewrite(samples: Stream, options: Options, env: Env) -> Stream:
    """Append ``--n`` rewrites of every caption in ``--lang``, with ``of`` naming the caption they say again.

    Rewrites are not rewritten. What is drawn depends on the seed, the key of the sample and the caption, not on what
    is processed with it. A rewrite that is empty, unchanged or of another length altogether is left out and noted.
    """
    options.check()
    work = _Work(options, env)
    for sample, captions in map_batched(
        samples, lambda sample: (sample, sample.captions), work, size=options.batch_size, env=env
    ):
        yield sample.with_captions(captions)


@dataclass(frozen=True)
class _Wish:
    """One rewrite to be made: for which sample of the batch, of which text, with which seed."""

    place: int
    text: str
    seed: int


class _Work:
    """Rewrites the captions of a batch of samples."""

    def __init__(self, options: Options, env: Env) -> None:
        self.options = options
        self.env = env
        self.code = languages.get(options.lang).code

    def __call__(self, batch: list[tuple[Sample, list[Caption]]]) -> list[list[Caption]]:
        """The captions of each sample -> the same and their rewrites."""
        results = [list(captions) for _, captions in batch]
        if not any(code_of(each.lang) == self.code for captions in results for each in captions):
            return results
        rewriter = self._rewriter()
        wishes = [
            wish
            for place, (sample, captions) in enumerate(batch)
            for wish in self._wishes(place, sample.key, captions, rewriter.by)
        ]
        texts = rewriter([wish.text for wish in wishes], [wish.seed for wish in wishes]) if wishes else []
        for wish, text in zip(wishes, texts, strict=True):
            made = Caption(text, self.code, rewriter.by, of=wish.text)
            same = [each for each in results[wish.place] if (each.text, each.by, each.of) == (text, made.by, made.of)]
            if self._usable(wish.text, text) and not same:
                results[wish.place].append(made)
        return results

    def _rewriter(self) -> Rewriter:
        name, device = self.options.rewriter, self.env.device
        return self.env.once(("rewriter", name, device), lambda: plugins.load("rewriters", name, device=device))

    def _wishes(self, place: int, key: str, captions: list[Caption], by: str) -> list[_Wish]:
        """``n`` for every text that does not have as many rewrites by this rewriter yet."""
        sources = dict.fromkeys(
            each.text
            for each in captions
            if code_of(each.lang) == self.code and not each.by.startswith("rewrite:") and each.text.strip()
        )
        short = [
            text for text in sources if sum(each.of == text and each.by == by for each in captions) < self.options.n
        ]
        return [
            _Wish(place, text, _seed(self.env.seed, key, text, number))
            for text in short
            for number in range(self.options.n)
        ]

    def _usable(self, text: str, rewritten: str) -> bool:
        """Whether a rewrite may stay; what may not is noted."""
        if not rewritten.strip():
            self.env.note("rewrites empty, left out")
        elif _plain(rewritten) == _plain(text):
            self.env.note("rewrites unchanged, left out")
        elif "=>" in rewritten or not 1 / LONGEST <= len(rewritten) / len(text) <= LONGEST:
            self.env.note("rewrites of another length or form, left out")
        else:
            return True
        return False


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .!")


def _seed(seed: int, key: str, text: str, number: int) -> int:
    """A seed of 48 bits from everything that identifies one rewrite."""
    identity = f"{seed}\0{key}\0{text}\0{number}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(identity).digest()[:6], "big")
