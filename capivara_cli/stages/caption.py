"""Describe every image: N synthetic captions, each continuing one of the paper's ten prefixes, or drawn by chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from capivara_cli import languages, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import Language
from capivara_cli.languages.caption_cleaning import Cleaner
from capivara_cli.models.generation import Decoding, Draw, Setup, seed_of
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import opt
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample

ROUNDS = 8
"""How often ``--distinct`` asks again for what was said before: some images allow few sentences."""

Tell = Callable[[Sequence[Sequence[Draw]]], list[list[str]]]
Said = list[tuple[str, str]]
"""What a captioner said of one image: (prompt, text)."""


class Captioner(Protocol):
    """What a plugin of ``captioners/`` loads. ``by`` is stored with each caption.

    It is called with the images of a batch, each through ``prepare`` before (in a thread), looks at them once, and
    returns a function that tells of each image the texts of its draws and may be asked more than once.
    """

    by: str
    batch_size: int

    def prompts(self, language: Language, /) -> Sequence[str]: ...

    def prepare(self, image: Any, /) -> Any: ...

    def __call__(self, prepared: Sequence[Any], /) -> Tell: ...


@dataclass(frozen=True)
class Options:
    n: int = opt(10, "captions per image: one per prefix; more than there are prefixes are sampled", min=1)
    captioner: str = opt("blip2", "blip2, blip2:MODEL, hf:MODEL, openai:MODEL or toy; MODEL is ORG/NAME or a folder")
    lang: str = opt("en", "language of the captions, for a captioner that writes it", kind=Languages(one=True))
    prefixes: str = opt(
        "", "file with a prefix (or a request) per line, instead of the captioner's own", metavar="FILE"
    )
    temperature: float = opt(0.0, "sample with this temperature; 0 takes the likeliest words, as the paper", min=0)
    top_p: float = opt(0.9, "sample from the likeliest words that together have this probability", min=0.01, max=1)
    beams: int = opt(1, "beams of the search for the likeliest caption", min=1)
    max_tokens: int = opt(50, "tokens of a caption after its prefix", min=1)
    repetition_penalty: float = opt(1.0, "above 1: words that were said become less likely", min=1)
    no_repeat_ngram: int = opt(0, "no run of so many tokens twice in a caption; 0: allowed", min=0)
    distinct: bool = opt(False, "sample on until an image has N different captions after cleaning")
    clean: bool = opt(
        True, "mend stock-photo tails, doubled words and echoes; leave out what is empty or goes in circles"
    )
    batch_size: int = opt(0, "images captioned together; 0: as the captioner likes", min=0, tuning=True)
    base_url: str = opt("", "address of the service, for openai:MODEL", metavar="URL", tuning=True)
    concurrency: int = opt(16, "requests to the service at once", min=1, tuning=True)
    bits: int = opt(0, "load the weights in 8 or 4 bits (bitsandbytes, CUDA); 0: as they are", min=0, max=8)
    compile: bool = opt(False, "torch.compile the model: slower to start, faster for many images", tuning=True)

    def check(self) -> None:
        registry.check("captioners", self.captioner)
        if self.bits not in (0, 4, 8):
            raise UsageError(f"--bits {self.bits}: 8 or 4, or 0 for the weights as they are")
        if self.beams > 1 and self.temperature:
            raise UsageError("--beams and --temperature: a search has no temperature; give one of them")
        if self.prefixes:
            read_prefixes(self.prefixes)

    @property
    def decoding(self) -> Decoding:
        return Decoding(
            self.max_tokens, self.beams, self.temperature, self.top_p, self.repetition_penalty, self.no_repeat_ngram
        )

    def setup(self, device: str) -> Setup:
        return Setup(device, self.decoding, self.base_url, self.concurrency, self.bits, self.compile)


@stage("caption", Options)
def caption(samples: Stream, options: Options, env: Env) -> Stream:
    """Append ``--n`` captions to every image, cleaned of stock-photo tails, stuttering and echoes.

    Captions that the same model wrote from the same prefixes are replaced, so a second run changes nothing. What is
    sampled depends on the seed, the key of the sample, the prefix and the number of the caption, not on what is
    captioned with it. Each caption says which model wrote it (``by``) and what it continues (``prefix``).
    """
    options.check()
    setup = options.setup(env.settings.device)
    describe: Captioner = env.once(
        ("captioner", options.captioner, setup), lambda: registry.load("captioners", options.captioner, setup=setup)
    )
    language = languages.get(options.lang)
    prompts = read_prefixes(options.prefixes) if options.prefixes else tuple(describe.prompts(language))
    work = _Work(options, env.seed, describe, prompts, Cleaner(language, options.clean))

    def prepare(sample: Sample) -> tuple[str, Any]:
        _ = sample.captions  # malformed ones are found before the model runs
        return sample.key, describe.prepare(decode_image(sample))

    size = options.batch_size or describe.batch_size
    for sample, said in map_batched(samples, prepare, work, size=size, env=env, keep=True):
        kept = work.distinct([(prompt, text) for prompt, text in said], env.note)
        if options.distinct and len(kept) < options.n:
            env.note("images with fewer different captions than --n")
        made = [Caption(text, language.code, describe.by, prefix=prompt) for prompt, text in kept]
        yield sample.with_captions(replaced(sample.captions, made, prompts, describe.by, language.code))


def read_prefixes(file: str) -> tuple[str, ...]:
    """The prefixes in a file, one per line; empty lines and lines that begin with # are passed over."""
    try:
        lines = [line.strip() for line in Path(file).read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(
            f"--prefixes {file}: cannot be read: {error}", "a text file, one prefix per line"
        ) from error
    prefixes = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prefixes:
        raise CapivaraError(f"--prefixes {file}: holds no prefix", "write one per line")
    return prefixes


class _Work:
    """Captions a batch of images. It counts nothing, so that what is kept in the journal is all there is to it."""

    def __init__(
        self, options: Options, seed: int, describe: Captioner, prompts: Sequence[str], cleaner: Cleaner
    ) -> None:
        self.options = options
        self.seed = seed
        self.describe = describe
        self.prompts = prompts
        self.cleaner = cleaner

    def __call__(self, batch: list[tuple[str, Any]]) -> list[Said]:
        """(key, prepared image) -> everything that was said of each, as it was said."""
        tell = self.describe([prepared for _, prepared in batch])
        said: list[Said] = [[] for _ in batch]
        wanted = [self.options.n] * len(batch)
        for _ in range(ROUNDS if self.options.distinct else 1):
            draws = [
                [self._draw(key, len(known) + extra) for extra in range(count)]
                for (key, _), known, count in zip(batch, said, wanted, strict=True)
            ]
            for known, drawn, texts in zip(said, draws, tell(draws), strict=True):
                known += [(draw.prompt, text) for draw, text in zip(drawn, texts, strict=True)]
            wanted = [self.options.n - len(self.distinct(known)) for known in said]
            if not any(wanted):
                break
        return said

    def _draw(self, key: str, number: int) -> Draw:
        """The ``number``-th caption of an image: every prompt once without chance, further ones by it."""
        prompt = self.prompts[number % len(self.prompts)]
        by_chance = self.options.temperature > 0 or number >= len(self.prompts)
        return Draw(prompt, seed_of(self.seed, key, prompt, number) if by_chance else None)

    def distinct(self, said: Said, note: Callable[[str], None] = lambda _: None) -> Said:
        """What remains after cleaning, every text once; each rule that was used is noted."""
        kept: dict[str, tuple[str, str]] = {}
        for prompt, text in said:
            cleaned = self.cleaner(text, prompt, note)
            if not cleaned:
                continue
            if cleaned.casefold() in kept:
                note("captions dropped: same as another")
            else:
                kept[cleaned.casefold()] = (prompt, cleaned)
        return list(kept.values())


def replaced(captions: list[Caption], made: list[Caption], prompts: Sequence[str], by: str, lang: str) -> list[Caption]:
    """``captions`` with those that ``by`` wrote from ``prompts`` replaced, where the first of them was; else appended.

    A caption that was made before in the same words stays as it is, with its score.
    """
    before = [
        each
        for each in captions
        if each.by == by and each.lang == lang and each.of is None and (each.prefix is None or each.prefix in prompts)
    ]
    if not before:
        return captions + made
    same = {each.text: each for each in reversed(before)}
    place = captions.index(before[0])
    rest = [each for each in captions[place:] if each not in before]
    return captions[:place] + [same.get(each.text, each) for each in made] + rest
