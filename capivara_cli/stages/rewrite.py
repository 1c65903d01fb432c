"""Rewrite captions: with a language model as in LaCLIP, by small edits (EDA), or by back-translation.

Examples:
    capivara rewrite shards --rewriter toy --out rewritten
    capivara rewrite shards --rewriter eda --n 2 --out rewritten
    capivara rewrite shards --rewriter back-translation --via de,fr --out rewritten
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from capivara_cli import languages, plugin_errors, registry
from capivara_cli.errors import UsageError
from capivara_cli.languages import Language, code_of, scripts, translators
from capivara_cli.languages.folding import folded
from capivara_cli.models.generation import Decoding, RewriteRequest, Setup, seed_of
from capivara_cli.pipeline.batches import map_texts
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import MODEL, SERVICES, SPEED, opt, parsed
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample, captions_in
from capivara_cli.stages.rewriters._exemplars import exemplars
from capivara_cli.stages.rewriters._synonyms import synonyms
from capivara_cli.toy import outsiders

if TYPE_CHECKING:
    from capivara_cli.plugins import Rewriter

_LLM, _OTHERS = "Language models", "Back-translation and EDA"
LENGTH_RATIO = 3.0
"""A rewrite this many times longer or shorter than its source has invented or omitted something."""
LENGTH_SLACK = 3
"""A difference of this many words (characters in scripts without spaces) is always accepted."""
TOO_LONG = "caption too long to rewrite"
EXEMPLARS_NEEDED = ("llm", "openai")


_INSTEAD_OF_TOY = "use a real one: --rewriter llm (the default), or another one of capivara list rewriters"


@dataclass(frozen=True)
class Options:
    n: int = opt(1, "rewrites per caption (LaCLIP: 4)", min=1)
    rewriter: str = opt(
        "llm",
        "llm[:MODEL], openai:MODEL, eda, back-translation or toy",
        reads="rewriters",
        panel=MODEL,
        metavar="NAME",
    )
    lang: str = opt("en", "language of the captions to rewrite", kind=Languages(one=True))
    tries: int = opt(3, "attempts; after the last one the caption gets no rewrite", min=1)
    exemplars: str = opt(
        "",
        "example pairs: JSON, JSON-lines or TSV, or built-in sets [default: all]",
        metavar="FILE|SETS",
        kind=Names(),
        reads="files",
        panel=_LLM,
    )
    shots: int = opt(3, "random pairs shown for each rewrite", min=0, panel=_LLM)
    temperature: float = opt(0.9, "sampling temperature (LaCLIP's)", min=0.01, panel=_LLM)
    top_p: float = opt(0.95, "sample from the likeliest words that add up to this", min=0.01, max=1, panel=_LLM)
    max_tokens: int = opt(77, "the most tokens of a rewrite (LaCLIP's)", min=1, panel=_LLM)
    via: str = opt("de,fr,es,it", "pivot languages, one per rewrite, in turn", kind=Languages(), panel=_OTHERS)
    translator: str = opt(
        "argos", "back-translation: the translator", reads="translators", panel=_OTHERS, metavar="NAME"
    )
    synonyms: str = opt(
        "", "eda: lines of WORD<tab>SYNONYM,SYNONYM [default: WordNet]", metavar="FILE", reads="files", panel=_OTHERS
    )
    batch_size: int = opt(64, "samples rewritten together", min=1, tuning=True, panel=SPEED)
    base_url: str = opt("", "URL of the service, for openai:MODEL", metavar="URL", tuning=True, panel=SERVICES)
    concurrency: int = opt(16, "simultaneous requests to the service", min=1, tuning=True, panel=SERVICES)
    bits: int = opt(0, "weights in 8 or 4 bits (bitsandbytes, CUDA); 0: as they are", min=0, max=8, panel=SPEED)
    compile: bool = opt(False, "torch.compile: slower to start, faster for many captions", tuning=True, panel=SPEED)
    cache: bool = opt(True, "back-translation: cache on this machine, across runs", tuning=True, panel=_OTHERS)

    def check(self) -> None:
        registry.check("rewriters", self.rewriter)
        language, name = languages.get(self.lang), self.rewriter.partition(":")[0]
        if self.exemplars or name in EXEMPLARS_NEEDED:
            exemplars(self.exemplars, language)
        if self.synonyms:
            synonyms(self.synonyms, language)
        if name == "back-translation":
            if language in self.pivots:
                raise UsageError(f"--via {self.via}: the captions are in {language.name} already; see --lang")
            translators.check(self.rewriter.partition(":")[2] or self.translator, self.pairs)
        if self.bits not in (0, 4, 8):
            raise UsageError(f"--bits {self.bits}: 8 or 4, or 0 for the weights as they are")

    @property
    def pivots(self) -> list[Language]:
        """The languages of ``--via``."""
        return [languages.get(code) for code in parsed(self, "via")]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of languages that ``back-translation`` translates."""
        language = languages.get(self.lang).code
        return [pair for each in self.pivots for pair in ((language, each.code), (each.code, language))]

    def identities(self) -> list[str | None]:
        """The revision of the rewriter's model, or the versions of its translators, see ``fingerprint``."""
        name, _, variant = self.rewriter.partition(":")
        if name != "back-translation":
            return [registry.identity("rewriters", self.rewriter)]
        return [
            registry.identity(
                "translators", variant or self.translator, source=source, target=target, base_url=self.base_url
            )
            for source, target in self.pairs
        ]


@stage("rewrite", Options)
def rewrite(samples: Stream, options: Options, env: Env) -> Stream:
    """Append ``--n`` rewrites of every caption in ``--lang``; each records its source text (``of``).

    Rewrites and translations are not rewritten. Randomness depends on the seed, the key of the sample and the caption,
    not on the batch. A rewrite that is empty, unchanged, far longer or shorter, in another script or not a caption is
    retried; after ``--tries`` attempts the caption gets none, and that is counted.
    """
    options.check()
    batches = _BatchRewriter(options, env)
    for sample, texts, results in map_texts(samples, batches.read, batches, size=options.batch_size, env=env):
        captions = batches.with_rewrites(texts, [RewriteResult(*each) for each in results])
        yield sample if captions == texts.captions else sample.with_captions(captions, texts.document)


class RewriteResult(NamedTuple):
    """The rewrite of ``text`` by ``by`` after ``tries`` attempts; ``objection`` is why the last one was rejected."""

    text: str
    by: str
    rewrite: str
    objection: str
    tries: int


class _SampleTexts(NamedTuple):
    """A sample with its JSON parsed once, and the texts to rewrite."""

    key: str
    document: dict[str, Any]
    captions: list[Caption]
    texts: list[str]


class Candidate(NamedTuple):
    """A possible rewrite of ``text``, and what it must differ from.

    ``exemplars`` are the texts that the rewriter was shown, ``others`` the other rewrites of the text, all
    ``normalised``.
    """

    text: str
    rewrite: str
    language: Language
    exemplars: Collection[str] = ()
    others: Collection[str] = ()


@dataclass
class _PendingRewrite:
    """One rewrite of one text of sample ``place`` in the batch; the rewrites of a text share ``others``."""

    place: int
    text: str
    number: int
    others: set[str]
    rewrite: str = ""
    objection: str = "not attempted"
    tries: int = 0

    @property
    def is_open(self) -> bool:
        return self.objection not in ("", TOO_LONG)


class _BatchRewriter:
    """Rewrites the captions of a batch of samples. The journal keeps its results, so they are counted afterwards."""

    def __init__(self, options: Options, env: Env) -> None:
        self.options = options
        self.env = env
        self.language = languages.get(options.lang)

    def read(self, sample: Sample) -> _SampleTexts:
        document = sample.document
        captions = captions_in(document)
        texts = [each.text for each in captions if each.of is None and self._in_language(each) and each.text.strip()]
        return _SampleTexts(sample.key, document, captions, list(dict.fromkeys(texts)))

    def _in_language(self, caption: Caption) -> bool:
        return code_of(caption.lang) == self.language.code

    def _rewrites(self, captions: list[Caption], text: str) -> list[Caption]:
        """The captions that were made from a text in its own language."""
        return [each for each in captions if each.of == text and self._in_language(each)]

    def __call__(self, batch: list[_SampleTexts]) -> list[list[RewriteResult]]:
        """The rewrites of each sample, accepted or not. If a text lacks any rewrite, all its rewrites are made again,
        so that a second run gives the same ones."""
        results: list[list[RewriteResult]] = [[] for _ in batch]
        if not any(texts.texts for texts in batch):
            return results
        rewriter = self._rewriter()
        by = plugin_errors.attribute(rewriter, "by", str)
        rewrites = [each for place, texts in enumerate(batch) for each in self._pending(place, texts, rewriter)]
        given = getattr(rewriter, "exemplars", ())
        texts_shown = plugin_errors.texts(rewriter, [*given] if isinstance(given, Set) else given, what="exemplars")
        shown = frozenset(map(normalised, texts_shown))
        if by == "rewrite:toy":
            originals = [each.text for each in rewrites]
            outsiders.warn_of_texts(originals, self.language.code, "the rewriter toy", _INSTEAD_OF_TOY)
        for attempt in range(self.options.tries):
            waiting = [each for each in rewrites if each.is_open]
            requests = [self._request(batch[each.place].key, each, attempt) for each in waiting]
            answers = plugin_errors.texts(rewriter, rewriter(requests), len(requests)) if requests else []
            for pending, answer in zip(waiting, answers, strict=True):
                self._record(pending, answer, shown)
        for each in rewrites:
            results[each.place].append(RewriteResult(each.text, by, each.rewrite, each.objection, each.tries))
        return results

    def _pending(self, place: int, texts: _SampleTexts, rewriter: Rewriter) -> Iterator[_PendingRewrite]:
        is_too_long: Callable[[str], bool] = getattr(rewriter, "is_too_long", lambda text: False)
        for text in texts.texts:
            existing = self._rewrites(texts.captions, text)
            if sum(each.by == rewriter.by for each in existing) >= self.options.n:
                continue
            others = {normalised(each.text) for each in existing if each.by != rewriter.by}
            if is_too_long(text):
                yield _PendingRewrite(place, text, 0, others, objection=TOO_LONG)
                continue
            yield from (_PendingRewrite(place, text, number, others) for number in range(self.options.n))

    def _request(self, key: str, pending: _PendingRewrite, attempt: int) -> RewriteRequest:
        """Another attempt has the next number, and so another pivot language or another set of exemplars."""
        seed = seed_of(self.env.seed, key, pending.text, pending.number, attempt)
        return RewriteRequest(pending.text, seed, pending.number + attempt)

    def _record(self, pending: _PendingRewrite, answer: str, shown: Collection[str]) -> None:
        pending.rewrite = " ".join(answer.split())
        pending.tries += 1
        pending.objection = objection(Candidate(pending.text, pending.rewrite, self.language, shown, pending.others))
        if not pending.objection:
            pending.others.add(normalised(pending.rewrite))

    def _rewriter(self) -> Rewriter:
        options = self.options
        decoding = Decoding(options.max_tokens, 1, options.temperature, options.top_p)
        device = self.env.settings.device
        setup = Setup(device, decoding, options.base_url, options.concurrency, options.bits, options.compile)
        return self.env.once(
            rewriter_key(options),
            lambda: registry.load("rewriters", options.rewriter, language=self.language, setup=setup, options=options),
        )

    def with_rewrites(self, texts: _SampleTexts, results: list[RewriteResult]) -> list[Caption]:
        """The captions of a sample and the rewrites that it lacks; everything else is counted."""
        captions = list(texts.captions)
        for each in results:
            if each.tries > 1:
                self.env.note("rewrites retried", each.tries - 1)
            if each.objection:
                self.env.note(f"rewrites dropped: {each.objection}")
                continue
            existing = [known.text for known in self._rewrites(captions, each.text) if known.by == each.by]
            if each.rewrite not in existing and len(existing) < self.options.n:
                captions.append(Caption(each.rewrite, self.language.code, each.by, of=each.text))
        return captions


def rewriter_key(options: Options) -> tuple[str, Options]:
    """The key of a loaded rewriter; steps that differ in ``--n``, ``--tries`` or ``--batch-size`` only share one."""
    return "rewriter", replace(options, n=1, tries=1, batch_size=1)


def normalised(text: str) -> str:
    """A text for comparison: folded, and without the full stop."""
    return folded(text).rstrip(" .!。।")


def length(text: str, language: Language) -> int:
    """The number of words, or of characters in a script without spaces: "一只狗" is not one word."""
    return len("".join(text.split())) if scripts.is_unspaced(language.script) else len(text.split())


def _is_empty(candidate: Candidate) -> bool:
    return not any(char.isalnum() for char in candidate.rewrite)


def _is_unchanged(candidate: Candidate) -> bool:
    return normalised(candidate.rewrite) == normalised(candidate.text)


def _continues_list(candidate: Candidate) -> bool:
    return "=>" in candidate.rewrite


def _differs_in_length(candidate: Candidate) -> bool:
    before, after = length(candidate.text, candidate.language), length(candidate.rewrite, candidate.language)
    in_ratio = 1 / LENGTH_RATIO <= after / max(before, 1) <= LENGTH_RATIO
    return abs(before - after) > LENGTH_SLACK and not in_ratio


def _is_in_another_script(candidate: Candidate) -> bool:
    return not scripts.mostly_written_in(candidate.rewrite, candidate.language.script)


def _is_exemplar(candidate: Candidate) -> bool:
    return normalised(candidate.rewrite) in candidate.exemplars


def _is_duplicate(candidate: Candidate) -> bool:
    return normalised(candidate.rewrite) in candidate.others


_OBJECTIONS: dict[str, Callable[[Candidate], bool]] = {
    "empty": _is_empty,
    "unchanged": _is_unchanged,
    "continues the list of pairs": _continues_list,
    "far longer or shorter": _differs_in_length,
    "in another script": _is_in_another_script,
    "copy of an exemplar": _is_exemplar,
    "duplicate": _is_duplicate,
}


def objection(candidate: Candidate) -> str:
    """Why a rewrite is rejected, in words for a count; "" if it is accepted.

    >>> objection(Candidate("a cat sits here", "A cat sits here.", languages.get("en")))
    'unchanged'
    """
    return next((words for words, is_wrong in _OBJECTIONS.items() if is_wrong(candidate)), "")
