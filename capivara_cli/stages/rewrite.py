"""Say every caption differently: by a language model as LaCLIP, by small edits (EDA), or there and back again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from capivara_cli import languages, registry
from capivara_cli.errors import UsageError
from capivara_cli.languages import Language, code_of, scripts
from capivara_cli.models.generation import Ask, Decoding, Setup, seed_of
from capivara_cli.pipeline.batches import map_texts
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import opt, parsed
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample, captions_in
from capivara_cli.stages.rewriters._exemplars import exemplars
from capivara_cli.stages.rewriters._synonyms import synonyms

LONGEST = 3.0
"""A rewrite this many times longer or shorter than its source has left something out or made something up."""
SLACK = 3
"""So many words (characters, where there are no spaces) more or less are never too many."""
TOO_LONG = "caption too long to rewrite"
EXEMPLARS_NEEDED = ("llm", "openai")


class Rewriter(Protocol):
    """What a plugin of ``rewriters/`` loads: as many texts out as asked for, "" where there is no answer.

    ``by`` begins with ``rewrite:``. It may also have ``exemplars``, the texts it shows a model, none of which is a
    rewrite, and ``is_too_long(text)``, which is True of a text that it need not be asked for.
    """

    by: str

    def __call__(self, asks: list[Ask], /) -> list[str]: ...


@dataclass(frozen=True)
class Options:
    """What a plugin of ``rewriters/`` is loaded with, too: it takes what concerns it (``exemplars``, ``ways`` …)."""

    n: int = opt(1, "rewrites per caption (LaCLIP: 4)", min=1)
    rewriter: str = opt("llm", "llm, llm:MODEL, openai:MODEL, eda, back-translation or toy")
    lang: str = opt("en", "language of the captions that are rewritten", kind=Languages(one=True))
    tries: int = opt(3, "how often to ask before a caption stays without this rewrite", min=1)
    exemplars: str = opt(
        "",
        "pairs to show the model: a JSON, JSON-lines or TSV file, or sets of our own by name, in turn [default: all]",
        metavar="FILE|SETS",
    )
    shots: int = opt(3, "pairs shown with each caption, drawn anew", min=0)
    temperature: float = opt(0.9, "of the sampling (LaCLIP's)", min=0.01)
    top_p: float = opt(0.95, "of the sampling (LaCLIP's)", min=0.01, max=1)
    max_tokens: int = opt(77, "tokens of a rewrite (LaCLIP's)", min=1)
    via: str = opt(
        "de,fr,es,it", "back-translation: the languages to go through, one per rewrite, in turn", kind=Languages()
    )
    translator: str = opt("argos", "back-translation: who translates")
    synonyms: str = opt(
        "", "eda: a file with lines WORD<tab>SYNONYM,SYNONYM [default: WordNet, if found]", metavar="FILE"
    )
    batch_size: int = opt(64, "samples rewritten together", min=1, tuning=True)
    base_url: str = opt("", "address of the service, for openai:MODEL", metavar="URL", tuning=True)
    concurrency: int = opt(16, "requests to the service at once", min=1, tuning=True)
    bits: int = opt(0, "load the weights in 8 or 4 bits (bitsandbytes, CUDA); 0: as they are", min=0, max=8)
    compile: bool = opt(False, "torch.compile the model: slower to start, faster for many captions", tuning=True)
    cache: bool = opt(True, "back-translation: remember translations on this machine, across runs", tuning=True)

    def check(self) -> None:
        registry.check("rewriters", self.rewriter)
        language, name = languages.get(self.lang), self.rewriter.partition(":")[0]
        if self.exemplars or name in EXEMPLARS_NEEDED:
            exemplars(self.exemplars, language)
        if self.synonyms:
            synonyms(self.synonyms, language)
        if name == "back-translation":
            registry.check("translators", self.rewriter.partition(":")[2] or self.translator)
            if language in self.ways:
                raise UsageError(f"--via {self.via}: the captions are in {language.name} already; see --lang")
        if self.bits not in (0, 4, 8):
            raise UsageError(f"--bits {self.bits}: 8 or 4, or 0 for the weights as they are")

    @property
    def ways(self) -> list[Language]:
        """The languages of ``--via``, in turn."""
        return [languages.get(code) for code in parsed(self, "via")]


@stage("rewrite", Options)
def rewrite(samples: Stream, options: Options, env: Env) -> Stream:
    """Append ``--n`` rewrites of every caption in ``--lang``, with ``of`` naming the caption they say again.

    Rewrites and translations are not rewritten. What is drawn depends on the seed, the key of the sample and the
    caption, not on what is processed with it. What is empty, unchanged, of another length or script or no caption at
    all is asked for again; after ``--tries`` the caption stays without it, counted.
    """
    options.check()
    work = _Work(options, env)
    for sample, item, made in map_texts(samples, work.item, work, size=options.batch_size, env=env):
        captions = work.judged(item, [Rewrite(*each) for each in made])
        yield sample if captions == item.captions else sample.with_captions(captions, item.document)


class Rewrite(NamedTuple):
    """One wish and how it ended: the rewrite, or why the last answer was none; ``tries`` answers were heard."""

    text: str
    by: str
    rewrite: str
    objection: str
    tries: int


class _Item(NamedTuple):
    """A sample, its json parsed once, and the texts that are to be rewritten."""

    key: str
    document: dict[str, Any]
    captions: list[Caption]
    texts: list[str]


class Answer(NamedTuple):
    """What a rewriter made of a text, and what it must not be.

    ``exemplars`` is what the rewriter was shown, ``others`` what else is said of the text, both ``folded``.
    """

    text: str
    rewrite: str
    language: Language
    exemplars: Collection[str] = ()
    others: Collection[str] = ()


@dataclass
class _Wish:
    """One rewrite of one text of one sample of the batch; the wishes of a text share ``others``."""

    place: int
    text: str
    number: int
    others: set[str]
    rewrite: str = ""
    objection: str = "never asked for"
    tries: int = 0

    @property
    def is_open(self) -> bool:
        return self.objection not in ("", TOO_LONG)


class _Work:
    """Rewrites the captions of a batch of samples; counts afterwards, as what is kept in the journal is not counted."""

    def __init__(self, options: Options, env: Env) -> None:
        self.options = options
        self.env = env
        self.language = languages.get(options.lang)

    def item(self, sample: Sample) -> _Item:
        document = sample.document
        captions = captions_in(document)
        texts = [each.text for each in captions if each.of is None and self._is_ours(each) and each.text.strip()]
        return _Item(sample.key, document, captions, list(dict.fromkeys(texts)))

    def _is_ours(self, caption: Caption) -> bool:
        return code_of(caption.lang) == self.language.code

    def _rewrites(self, captions: list[Caption], text: str) -> list[Caption]:
        """What is said of a text in its own language."""
        return [each for each in captions if each.of == text and self._is_ours(each)]

    def __call__(self, batch: list[_Item]) -> list[list[Rewrite]]:
        """How every wish ended. The wishes of a text are always all made, so that a second run ends as the first."""
        results: list[list[Rewrite]] = [[] for _ in batch]
        if not any(item.texts for item in batch):
            return results
        rewriter = self._rewriter()
        wishes = [wish for place, item in enumerate(batch) for wish in self._wishes(place, item, rewriter)]
        shown = frozenset(map(folded, getattr(rewriter, "exemplars", ())))
        for attempt in range(self.options.tries):
            waiting = [wish for wish in wishes if wish.is_open]
            asks = [self._ask(batch[wish.place].key, wish, attempt) for wish in waiting]
            for wish, answer in zip(waiting, rewriter(asks) if asks else (), strict=True):
                self._hear(wish, answer, shown)
        for wish in wishes:
            results[wish.place].append(Rewrite(wish.text, rewriter.by, wish.rewrite, wish.objection, wish.tries))
        return results

    def _wishes(self, place: int, item: _Item, rewriter: Rewriter) -> Iterator[_Wish]:
        is_too_long: Callable[[str], bool] = getattr(rewriter, "is_too_long", lambda text: False)
        for text in item.texts:
            known = self._rewrites(item.captions, text)
            if sum(each.by == rewriter.by for each in known) >= self.options.n:
                continue
            others = {folded(each.text) for each in known if each.by != rewriter.by}
            if is_too_long(text):
                yield _Wish(place, text, 0, others, objection=TOO_LONG)
                continue
            yield from (_Wish(place, text, number, others) for number in range(self.options.n))

    def _ask(self, key: str, wish: _Wish, attempt: int) -> Ask:
        """Asked again, a wish is the next one: in another language, or after exemplars of another set."""
        return Ask(wish.text, seed_of(self.env.seed, key, wish.text, wish.number, attempt), wish.number + attempt)

    def _hear(self, wish: _Wish, answer: str, shown: Collection[str]) -> None:
        wish.rewrite = " ".join(answer.split())
        wish.tries += 1
        wish.objection = objection(Answer(wish.text, wish.rewrite, self.language, shown, wish.others))
        if not wish.objection:
            wish.others.add(folded(wish.rewrite))

    def _rewriter(self) -> Rewriter:
        options = self.options
        decoding = Decoding(options.max_tokens, 1, options.temperature, options.top_p)
        device = self.env.settings.device
        setup = Setup(device, decoding, options.base_url, options.concurrency, options.bits, options.compile)
        return self.env.once(
            loaded_as(options),
            lambda: registry.load("rewriters", options.rewriter, language=self.language, setup=setup, options=options),
        )

    def judged(self, item: _Item, made: list[Rewrite]) -> list[Caption]:
        """The captions of a sample and the rewrites that it lacks."""
        captions = list(item.captions)
        for each in made:
            if each.tries > 1:
                self.env.note("rewrites asked for again", each.tries - 1)
            if each.objection:
                self.env.note(f"rewrites left out: {each.objection}")
                continue
            there = [known.text for known in self._rewrites(captions, each.text) if known.by == each.by]
            if each.rewrite not in there and len(there) < self.options.n:
                captions.append(Caption(each.rewrite, self.language.code, each.by, of=each.text))
        return captions


def loaded_as(options: Options) -> tuple[str, Options]:
    """The key of a loaded rewriter: steps that differ in how often they ask share one."""
    return "rewriter", replace(options, n=1, tries=1, batch_size=1)


def folded(text: str) -> str:
    """A text without what makes no other caption of it: case, white space, the stop at its end."""
    return " ".join(text.casefold().split()).rstrip(" .!。।")


def length(text: str, language: Language) -> int:
    """Words, or characters in a script that has no spaces between them: "一只狗" is not one word."""
    return len("".join(text.split())) if scripts.is_unspaced(language.script) else len(text.split())


def _is_empty(answer: Answer) -> bool:
    return not any(char.isalnum() for char in answer.rewrite)


def _is_unchanged(answer: Answer) -> bool:
    return folded(answer.rewrite) == folded(answer.text)


def _goes_on(answer: Answer) -> bool:
    return "=>" in answer.rewrite


def _is_of_another_length(answer: Answer) -> bool:
    before, after = length(answer.text, answer.language), length(answer.rewrite, answer.language)
    return abs(before - after) > SLACK and not 1 / LONGEST <= after / max(before, 1) <= LONGEST


def _is_in_another_script(answer: Answer) -> bool:
    return not scripts.mostly_written_in(answer.rewrite, answer.language.script)


def _is_an_exemplar(answer: Answer) -> bool:
    return folded(answer.rewrite) in answer.exemplars


def _is_another(answer: Answer) -> bool:
    return folded(answer.rewrite) in answer.others


_OBJECTIONS: dict[str, Callable[[Answer], bool]] = {
    "empty": _is_empty,
    "unchanged": _is_unchanged,
    "goes on with a list": _goes_on,
    "of another length": _is_of_another_length,
    "in another script": _is_in_another_script,
    "an exemplar said again": _is_an_exemplar,
    "equal to another": _is_another,
}


def objection(answer: Answer) -> str:
    """What is wrong with a rewrite, in words for a count; "" when nothing is.

    >>> objection(Answer("a cat sits here", "A cat sits here.", languages.get("en")))
    'unchanged'
    """
    return next((words for words, is_wrong in _OBJECTIONS.items() if is_wrong(answer)), "")
