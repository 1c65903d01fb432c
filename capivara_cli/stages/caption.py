"""Write N captions per image: one for each of the paper's ten prefixes, and further ones by sampling.

Examples:
    capivara caption shards --captioner toy --n 2 --out captioned
    capivara caption shards --captioner hf:HuggingFaceTB/SmolVLM-256M-Instruct --out captioned
    capivara pack toy:4 | capivara caption --captioner toy | capivara show
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import languages, plugin_errors, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import Language
from capivara_cli.languages.caption_cleaning import Cleaner
from capivara_cli.languages.folding import folded
from capivara_cli.models import hub
from capivara_cli.models.generation import Decoding, Draw, Setup, seed_of
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import MODEL, SERVICES, SPEED, opt
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.toy import outsiders

if TYPE_CHECKING:
    from capivara_cli.plugins import Captioner

_DECODING = "How it writes"
ROUNDS = 8
"""The most rounds of sampling with ``--distinct``: for some images a model has few different captions."""

PromptedText = tuple[str, str]
"""(prompt, text): a prompt and what the captioner wrote for it."""


_INSTEAD_OF_TOY = "use a real one: --captioner blip2 (the default), or another one of capivara list captioners"


@dataclass(frozen=True)
class Options:
    n: int = opt(10, "captions per image: one per prefix, more by sampling", min=1)
    captioner: str = opt(
        "blip2",
        "blip2[:MODEL], hf:MODEL, openai:MODEL or toy; MODEL: ORG/NAME or folder",
        reads="captioners",
        panel=MODEL,
        metavar="NAME",
    )
    lang: str = opt("en", "language, if the captioner can write it", kind=Languages(one=True))
    prefixes: str = opt(
        "", "file with a prefix (or request) per line [default: the captioner's]", metavar="FILE", reads="files"
    )
    temperature: float = opt(0.0, "0 takes the likeliest words, as in the paper", min=0, panel=_DECODING)
    top_p: float = opt(0.9, "sample from the likeliest words that add up to this", min=0.01, max=1, panel=_DECODING)
    beams: int = opt(1, "beams of beam search", min=1, panel=_DECODING)
    max_tokens: int = opt(50, "the most tokens of a caption after its prefix", min=1, panel=_DECODING)
    repetition_penalty: float = opt(1.0, "above 1, earlier words become less likely", min=1, panel=_DECODING)
    no_repeat_ngram: int = opt(0, "never repeat a sequence of N tokens; 0: allowed", min=0, panel=_DECODING)
    distinct: bool = opt(False, "sample until an image has N different captions after cleaning")
    clean: bool = opt(True, "remove stock-photo tails, doubled words and echoes of the prompt")
    batch_size: int = opt(0, "images captioned together; 0: the captioner's default", min=0, tuning=True, panel=SPEED)
    base_url: str = opt("", "URL of the service, for openai:MODEL", metavar="URL", tuning=True, panel=SERVICES)
    concurrency: int = opt(16, "simultaneous requests to the service", min=1, tuning=True, panel=SERVICES)
    bits: int = opt(0, "weights in 8 or 4 bits (bitsandbytes, CUDA); 0: as they are", min=0, max=8, panel=SPEED)
    compile: bool = opt(False, "torch.compile: slower to start, faster for many images", tuning=True, panel=SPEED)

    def check(self) -> None:
        registry.check("captioners", self.captioner)
        if self.bits not in (0, 4, 8):
            raise UsageError(f"--bits {self.bits}: 8 or 4, or 0 for the weights as they are")
        if self.beams > 1 and self.temperature:
            raise UsageError("--beams and --temperature: beam search has no temperature; give one of them")
        if self.prefixes:
            read_prefixes(self.prefixes)

    @property
    def decoding(self) -> Decoding:
        return Decoding(
            self.max_tokens, self.beams, self.temperature, self.top_p, self.repetition_penalty, self.no_repeat_ngram
        )

    def identities(self) -> list[str | None]:
        """The revision of the captioner's model, see ``fingerprint``."""
        name, _, model = self.captioner.partition(":")
        if name == "hf":  # its module imports torch
            return [hub.revision(model)] if model else []
        return [registry.identity("captioners", self.captioner)]

    def setup(self, device: str) -> Setup:
        return Setup(device, self.decoding, self.base_url, self.concurrency, self.bits, self.compile)


@stage("caption", Options)
def caption(samples: Stream, options: Options, env: Env) -> Stream:
    """Append ``--n`` captions to every image, without stock-photo tails, doubled words and echoes of the prompt.

    Captions by the same model from the same prefixes are replaced, so a second run changes nothing. Sampling depends
    on the seed, the key of the sample, the prefix and the index of the caption, not on the batch. Each caption records
    its model (``by``) and its prefix (``prefix``).
    """
    options.check()
    setup = options.setup(env.settings.device)
    captioner: Captioner = env.once(
        ("captioner", options.captioner, setup), lambda: registry.load("captioners", options.captioner, setup=setup)
    )
    language = languages.get(options.lang)
    by, prompts = plugin_errors.attribute(captioner, "by", str), _prompts(captioner, options, language)
    batches = _BatchCaptioner(options, env.seed, captioner, prompts, Cleaner(language, options.clean))

    toy = options.captioner.partition(":")[0] == "toy"

    def prepare(sample: Sample) -> tuple[str, Any]:
        _ = sample.captions  # malformed ones are found before the model runs
        if toy:
            outsiders.warn_of_image(sample.image, sample.document, "the captioner toy", _INSTEAD_OF_TOY)
        return sample.key, captioner.prepare(decode_image(sample))

    size = options.batch_size or max(1, plugin_errors.attribute(captioner, "batch_size", int))
    for sample, texts in map_batched(samples, prepare, batches, size=size, env=env, keep=True):
        distinct = batches.distinct([(prompt, text) for prompt, text in texts], env.note)
        if options.distinct and len(distinct) < options.n:
            env.note("images with fewer different captions than --n")
        new = [Caption(text, language.code, by, prefix=prompt) for prompt, text in distinct]
        yield sample.with_captions(replaced(sample.captions, new, prompts, by, language.code))


def _prompts(captioner: Captioner, options: Options, language: Language) -> Sequence[str]:
    """The prompts of ``--prefixes``, otherwise those of the captioner."""
    if options.prefixes:
        return read_prefixes(options.prefixes)
    found = plugin_errors.texts(captioner, captioner.prompts(language), what="prompts")
    if not found:
        raise plugin_errors.fault(captioner, f"no prompts for {language.name}")
    return tuple(found)


def read_prefixes(file: str) -> tuple[str, ...]:
    """The prefixes in a file, one per line. Empty lines, lines that begin with # and repetitions are ignored."""
    try:
        lines = [line.strip() for line in Path(file).read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(
            f"--prefixes {file}: cannot be read: {error}", "give a text file with one prefix per line"
        ) from error
    prefixes = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prefixes:
        raise CapivaraError(f"--prefixes {file}: has no prefix", "write one per line")
    return prefixes


class _BatchCaptioner:
    """Captions a batch of images. It counts nothing: its results are kept in the journal and counted when read."""

    def __init__(
        self, options: Options, seed: int, captioner: Captioner, prompts: Sequence[str], cleaner: Cleaner
    ) -> None:
        self.options = options
        self.seed = seed
        self.captioner = captioner
        self.prompts = prompts
        self.cleaner = cleaner

    def __call__(self, batch: list[tuple[str, Any]]) -> list[list[PromptedText]]:
        """(key, prepared image) of each sample -> all its texts, before cleaning."""
        texts_of = self.captioner([prepared for _, prepared in batch])
        if not callable(texts_of):
            raise plugin_errors.fault(self.captioner, f"returned {plugin_errors.shown(texts_of)}, not a function")
        results: list[list[PromptedText]] = [[] for _ in batch]
        missing = [self.options.n] * len(batch)
        for _ in range(ROUNDS if self.options.distinct else 1):
            draws = [
                [self._draw(key, len(result) + index) for index in range(count)]
                for (key, _), result, count in zip(batch, results, missing, strict=True)
            ]
            answers = plugin_errors.as_list(self.captioner, texts_of(draws), "lists of texts", len(draws), " images")
            for result, image_draws, answer in zip(results, draws, answers, strict=True):
                texts = plugin_errors.texts(self.captioner, answer, len(image_draws))
                result += [(draw.prompt, text) for draw, text in zip(image_draws, texts, strict=True)]
            missing = [self.options.n - len(self.distinct(result)) for result in results]
            if not any(missing):
                break
        return results

    def _draw(self, key: str, number: int) -> Draw:
        """Caption ``number`` of an image: the first one of each prompt has no seed at temperature 0, all others do."""
        prompt = self.prompts[number % len(self.prompts)]
        sampled = self.options.temperature > 0 or number >= len(self.prompts)
        return Draw(prompt, seed_of(self.seed, key, prompt, number) if sampled else None)

    def distinct(
        self, texts: Sequence[PromptedText], note: Callable[[str], None] = lambda _: None
    ) -> list[PromptedText]:
        """The texts after cleaning, each once; ``note`` counts the rules that applied."""
        kept: dict[str, PromptedText] = {}
        for prompt, text in texts:
            cleaned = self.cleaner(text, prompt, note)
            if not cleaned:
                continue
            if folded(cleaned) in kept:
                note("captions dropped: duplicate")
            else:
                kept[folded(cleaned)] = (prompt, cleaned)
        return list(kept.values())


def replaced(captions: list[Caption], new: list[Caption], prompts: Sequence[str], by: str, lang: str) -> list[Caption]:
    """``captions`` with ``new`` in place of those that ``by`` wrote from ``prompts``; appended if there are none.

    An old caption with the same text as a new one stays as it is, with its score.
    """
    old = [
        each
        for each in captions
        if each.by == by
        and languages.code_of(each.lang) == lang
        and each.of is None
        and (each.prefix is None or each.prefix in prompts)
    ]
    if not old:
        return captions + new
    by_text = {each.text: each for each in reversed(old)}
    start = captions.index(old[0])
    rest = [each for each in captions[start:] if each not in old]
    return captions[:start] + [by_text.get(each.text, each) for each in new] + rest
