"""Say every caption differently: by a language model as LaCLIP, by small edits (EDA), or there and back again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from capivara_cli import languages, plugins
from capivara_cli.errors import UsageError
from capivara_cli.generation import Ask, Decoding, Setup, seed_of
from capivara_cli.languages import Language, code_of
from capivara_cli.sample import Caption, Sample, captions_in
from capivara_cli.shards import Stream
from capivara_cli.stage import Env, map_texts, opt, stage

LONGEST = 3.0
"""A rewrite this many times longer or shorter than its source has left something out or made something up."""
SLACK = 3
"""So many words (characters, where there are no spaces) more or less are never too many."""


class Rewriter(Protocol):
    """What a plugin of ``rewriters/`` loads: as many texts out as asked for, "" where there is no answer."""

    by: str

    def __call__(self, asks: list[Ask], /) -> list[str]: ...


@dataclass(frozen=True)
class Options:
    n: int = opt(1, "rewrites per caption (LaCLIP: 4)", min=1)
    rewriter: str = opt("llm", "llm, llm:MODEL, openai:MODEL, eda, back-translation or toy")
    lang: str = opt("en", "language of the captions that are rewritten")
    tries: int = opt(3, "how often to ask before a caption stays without this rewrite", min=1)
    exemplars: str = opt("", "pairs to show the model: a JSON, JSON-lines or TSV file", metavar="FILE")
    shots: int = opt(3, "pairs shown with each caption, drawn anew", min=0)
    temperature: float = opt(0.9, "of the sampling (LaCLIP's)", min=0.01)
    top_p: float = opt(0.95, "of the sampling (LaCLIP's)", min=0.01, max=1)
    max_tokens: int = opt(77, "tokens of a rewrite (LaCLIP's)", min=1)
    via: str = opt("de,fr,es,it", "back-translation: the languages to go through, one per rewrite, in turn")
    translator: str = opt("argos", "back-translation: who translates")
    synonyms: str = opt(
        "", "eda: a file with lines WORD<tab>SYNONYM,SYNONYM [default: WordNet, if found]", metavar="FILE"
    )
    batch_size: int = opt(64, "samples rewritten together", min=1, tuning=True)
    base_url: str = opt("", "address of the service, for openai:MODEL", metavar="URL", tuning=True)
    concurrency: int = opt(16, "requests to the service at once", min=1, tuning=True)
    bits: int = opt(0, "load the weights in 8 or 4 bits (bitsandbytes, CUDA); 0: as they are", min=0, max=8)
    compile: bool = opt(False, "torch.compile the model: slower to start, faster for many captions", tuning=True)

    def check(self) -> None:
        plugins.check("rewriters", self.rewriter)
        languages.get(self.lang)
        if self.rewriter.partition(":")[0] == "back-translation":
            plugins.check("translators", self.translator)
            for name in self.ways:
                languages.get(name)
        if self.bits not in (0, 4, 8):
            raise UsageError(f"--bits {self.bits}: 8 or 4, or 0 for the weights as they are")

    @property
    def ways(self) -> list[str]:
        """The languages of ``--via``."""
        return [part.strip() for part in self.via.split(",") if part.strip()]


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
        captions = work.judged(item, [Made(*each) for each in made])
        yield sample if captions == item.captions else sample.with_captions(captions, item.document)


class Made(NamedTuple):
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


@dataclass
class _Wish:
    """One rewrite of one text of one sample of the batch."""

    place: int
    text: str
    number: int
    rewrite: str = ""
    objection: str = ""
    tries: int = 0


class _Work:
    """Rewrites the captions of a batch of samples; counts afterwards, as what is kept in the journal is not counted."""

    def __init__(self, options: Options, env: Env) -> None:
        self.options = options
        self.env = env
        self.language = languages.get(options.lang)

    def item(self, sample: Sample) -> _Item:
        document = sample.document
        captions = captions_in(document)
        texts = [
            each.text
            for each in captions
            if each.of is None and code_of(each.lang) == self.language.code and each.text.strip()
        ]
        return _Item(sample.key, document, captions, list(dict.fromkeys(texts)))

    def __call__(self, batch: list[_Item]) -> list[list[Made]]:
        """How every wish ended. The wishes of a text are always all made, so that a second run ends as the first."""
        results: list[list[Made]] = [[] for _ in batch]
        if not any(item.texts for item in batch):
            return results
        rewriter = self._rewriter()
        wishes = [
            _Wish(place, text, number)
            for place, item in enumerate(batch)
            for text in item.texts
            if sum(each.of == text and each.by == rewriter.by for each in item.captions) < self.options.n
            for number in range(self.options.n)
        ]
        open_wishes = wishes
        for attempt in range(self.options.tries):
            asks = [self._ask(batch[wish.place].key, wish, attempt) for wish in open_wishes]
            for wish, answer in zip(open_wishes, rewriter(asks) if asks else (), strict=True):
                wish.rewrite, wish.tries = " ".join(answer.split()), attempt + 1
            self._object(wishes)
            open_wishes = [wish for wish in wishes if wish.objection]
        for wish in wishes:
            results[wish.place].append(Made(wish.text, rewriter.by, wish.rewrite, wish.objection, wish.tries))
        return results

    def _ask(self, key: str, wish: _Wish, attempt: int) -> Ask:
        return Ask(wish.text, seed_of(self.env.seed, key, wish.text, wish.number, attempt), wish.number)

    def _object(self, wishes: Sequence[_Wish]) -> None:
        """Say of every rewrite what is wrong with it; of two equal ones the first is right."""
        accepted: set[tuple[int, str, str]] = set()
        for wish in wishes:
            known = (wish.place, wish.text, folded(wish.rewrite))
            wish.objection = objection(wish.text, wish.rewrite, self.language)
            if not wish.objection and known in accepted:
                wish.objection = "equal to another"
            if not wish.objection:
                accepted.add(known)

    def _rewriter(self) -> Rewriter:
        options = self.options
        decoding = Decoding(options.max_tokens, 1, options.temperature, options.top_p)
        device = self.env.settings.device
        setup = Setup(device, decoding, options.base_url, options.concurrency, options.bits, options.compile)
        return self.env.once(
            ("rewriter", options),
            lambda: plugins.load("rewriters", options.rewriter, language=self.language, setup=setup, options=options),
        )

    def judged(self, item: _Item, made: list[Made]) -> list[Caption]:
        """The captions of a sample and the rewrites that it lacks."""
        captions = list(item.captions)
        there = {(each.text, each.by, each.of) for each in captions}
        for each in made:
            if each.tries > 1:
                self.env.note("rewrites asked for again", each.tries - 1)
            if each.objection:
                self.env.note(f"rewrites left out: {each.objection}")
            elif (each.rewrite, each.by, each.text) not in there:
                captions.append(Caption(each.rewrite, self.language.code, each.by, of=each.text))
        return captions


def objection(text: str, rewritten: str, language: Language) -> str:
    """What is wrong with a rewrite, in words for a count; "" when nothing is."""
    return next((words for words, is_wrong in _OBJECTIONS if is_wrong(text, rewritten, language)), "")


def folded(text: str) -> str:
    """A text without what makes no other caption of it: case, white space, the stop at its end."""
    return " ".join(text.casefold().split()).rstrip(" .!。।")


def length(text: str, language: Language) -> int:
    """Words, or characters in a script that has no spaces between them: "一只狗" is not one word."""
    return len("".join(text.split())) if languages.is_unspaced(language.script) else len(text.split())


def _is_of_another_length(text: str, rewritten: str, language: Language) -> bool:
    before, after = length(text, language), length(rewritten, language)
    return abs(before - after) > SLACK and not 1 / LONGEST <= after / max(before, 1) <= LONGEST


_OBJECTIONS: tuple[tuple[str, Callable[[str, str, Language], bool]], ...] = (
    ("empty", lambda text, rewritten, language: not any(char.isalnum() for char in rewritten)),
    ("unchanged", lambda text, rewritten, language: folded(rewritten) == folded(text)),
    ("goes on with a list", lambda text, rewritten, language: "=>" in rewritten),
    ("of another length", _is_of_another_length),
    ("in another script", lambda text, rewritten, language: not languages.mostly_written_in(rewritten, language)),
)
