"""Remove captions and images by CLIP score (threshold, rank, share), by diversity, and by text and image rules.

Examples:
    capivara filter shards --model toy --top-k 2 --out best
    capivara filter shards --select threshold-diversity --out good
    capivara filter shards --no-score --rules all --min-side 64 --out clean
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import MODEL, SELECTION, SPEED, opt, parsed
from capivara_cli.pipeline.stage import Arrays, CorpusFunctions, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import with_embedding
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.filtering import text_rules
from capivara_cli.stages.filtering.histogram import bin_of
from capivara_cli.stages.filtering.image_rules import ImageRules
from capivara_cli.stages.filtering.sample_facts import SampleFacts, Scoring, with_key
from capivara_cli.stages.filtering.selection import (
    CAPTION_FLOOR,
    IMAGE_FLOOR,
    NO_CAPTION_LEFT,
    RANK,
    CaptionRules,
    Selected,
    select,
)
from capivara_cli.stages.filtering.text_rules import BOILERPLATE, TextRules

if TYPE_CHECKING:
    from capivara_cli.stages.filtering.corpus import CorpusRules

_RULES = "Rules for texts and images"


@dataclass(frozen=True)
class Options:
    model: str = opt(
        DEFAULT_MODEL, "open_clip, hf-hub:ORG/NAME, local-dir:PATH, run or toy", reads="model", panel=MODEL
    )
    pretrained: str = opt("", "open_clip weights [default: laion5b_s13b_b90k, the paper's]", reads="model", panel=MODEL)
    score: bool = opt(True, "compute scores; --no-score: take those in the captions", panel=MODEL)
    precision: Literal["auto", "fp32", "bf16"] = opt(
        "auto", "fp32, bf16; auto: bf16 for texts if fast (scores ± 0.005)", panel=MODEL
    )
    select: Literal["none", "rank", "threshold", "threshold-diversity"] = opt(
        "none", "method of the paper", panel=SELECTION
    )
    min_score: float = opt(
        -1.0, "remove captions below this [default: none; threshold: 0.15, images 0.2]", min=-1, max=1, panel=SELECTION
    )
    top_k: int = opt(0, "the N best captions of an image per language; 0: all [rank: 5]", min=0, panel=SELECTION)
    k_min: int = opt(3, "threshold-diversity: keep at least N captions of a language", min=1, panel=SELECTION)
    max_alike: float = opt(0.3, "threshold-diversity: more similar ones are duplicates", min=0, max=1, panel=SELECTION)
    per_lang: bool = opt(True, "select within each language, not among all captions", panel=SELECTION)
    lang: str = opt(
        "", "only captions in these languages [default: all]", kind=Languages("all", unlisted=True), panel=SELECTION
    )
    level: Literal["caption", "image"] = opt("caption", "what a threshold or share removes", panel=SELECTION)
    on: Literal["best", "first", "mean"] = opt("best", "--level image: by best, first or mean score", panel=SELECTION)
    score_by: Literal["text", "original", "best"] = opt(
        "original", "judge a translation by its text, its original, or the best", panel=SELECTION
    )
    top_fraction: float = opt(1.0, "keep this share of the corpus, by score", min=0, max=1, panel=SELECTION)
    quantile: float = opt(0.0, "remove scores below this quantile of the corpus", min=0, max=1, panel=SELECTION)
    rules: str = opt(
        "",
        f"all, or some of {', '.join(text_rules.NAMES)}",
        kind=Names(text_rules.NAMES, "rule", all=True),
        panel=_RULES,
    )
    min_words: int = opt(2, "length: fewest words (estimated in scripts without spaces)", min=0, panel=_RULES)
    max_words: int = opt(80, "length: most words; 0: no limit", min=0, panel=_RULES)
    min_chars: int = opt(6, "length: fewest characters (wide ones count twice)", min=0, panel=_RULES)
    max_chars: int = opt(1000, "length: most characters; 0: no limit", min=0, panel=_RULES)
    max_images: int = opt(10, "boilerplate: remove captions of more than N images", min=1, panel=_RULES)
    min_side: int = opt(0, "remove images with a side of fewer pixels; 0: none", min=0, panel=_RULES)
    max_aspect: float = opt(0.0, "remove images longer than X times their width; 0: none", min=0, panel=_RULES)
    min_entropy: float = opt(0.0, "remove images of fewer bits of grey levels; 0: none", min=0, max=8, panel=_RULES)
    batch_size: int = opt(64, "images scored together with their captions", min=1, tuning=True, panel=SPEED)

    def check(self) -> None:
        """Raise ``CapivaraError`` for a model that cannot be loaded, before any shard is read."""
        if self.score:
            check_model(self.model, self.pretrained)

    @property
    def codes(self) -> frozenset[str]:
        """The codes of the languages to work on, empty for all."""
        return frozenset(parsed(self, "lang"))

    @property
    def text_rules(self) -> TextRules:
        bounds = self.min_words, self.max_words, self.min_chars, self.max_chars
        return TextRules(parsed(self, "rules"), *bounds)

    @property
    def image_rules(self) -> ImageRules:
        return ImageRules(self.min_side, self.max_aspect, self.min_entropy)

    @property
    def caption_rules(self) -> CaptionRules:
        """How captions are selected within each sample, with the constants of the paper's method."""
        default = (IMAGE_FLOOR if self.level == "image" else CAPTION_FLOOR) if "threshold" in self.select else None
        return CaptionRules(
            floor=self.min_score if self.min_score > -1 else default,
            of_images=self.level == "image",
            on=self.on,
            k=self.top_k or (RANK if self.select == "rank" else 0),
            k_min=self.k_min if self.select == "threshold-diversity" else None,
            max_alike=self.max_alike,
            per_lang=self.per_lang,
        )

    @property
    def corpus_rules(self) -> CorpusRules:
        """The rules that need the whole corpus."""
        from capivara_cli.stages.filtering.corpus import CorpusRules

        return CorpusRules(
            top=self.top_fraction,
            quantile=self.quantile,
            of_images=self.level == "image",
            on=self.on,
            per_lang=self.per_lang,
            max_images=self.max_images if BOILERPLATE in self.text_rules.names else 0,
            codes=self.codes,
        )

    @property
    def needs_corpus(self) -> bool:
        return self.top_fraction < 1 or self.quantile > 0 or BOILERPLATE in self.text_rules.names

    @property
    def scoring(self) -> Scoring:
        return Scoring(self.codes, self.score_by, self.precision)


def _survey(samples: Stream, options: Options, env: Env) -> Arrays:
    from capivara_cli.stages.filtering.survey import pack

    return pack(_examined(samples, options, env))


def _decide(surveys: Sequence[Callable[[], Arrays]], options: Options, env: Env) -> Iterator[Arrays]:
    from capivara_cli.stages.filtering.corpus import decide

    return decide(surveys, options.corpus_rules)


def _apply(samples: Stream, survey: Arrays, decision: Arrays, options: Options, env: Env) -> Stream:
    from capivara_cli.stages.filtering.survey import unpack

    return _selected(unpack(samples, survey, decision, options.scoring), options, env)


CORPUS = CorpusFunctions(needed=lambda options: options.needs_corpus, survey=_survey, decide=_decide, apply=_apply)


# `filter` is also a builtin; the stage has to have the name of its file.
@stage("filter", Options, corpus=CORPUS, settings=("device", "max_failures"))
def filter(samples: Stream, options: Options, env: Env) -> Stream:  # noqa: A001
    """Score every caption by its image-text cosine; remove captions and images with low scores or bad texts.

    Rules come first (``--rules``, ``--min-side`` …), then shares of the corpus (``--top-fraction``, ``--quantile``),
    then threshold, rank and diversity within each sample. ``--rejects`` keeps the removed captions with reasons.
    Translations are judged by the score of the text that they come from (``--score-by``).

    The image embedding is stored as ``clip.npy`` (float16, [dim]), and ``json["clip"]`` names the model. An embedding
    that the same model stored before is used instead of decoding the image. Raises ``CapivaraError`` for options that
    need all shards: the engine runs ``CORPUS`` for those.
    """
    options.check()
    if options.needs_corpus:
        raise CapivaraError("filter: --top-fraction, --quantile and --rules boilerplate need all shards")
    yield from _selected(_examined(samples, options, env), options, env)


def _examined(samples: Stream, options: Options, env: Env) -> Iterator[tuple[Sample, SampleFacts]]:
    """Every sample with its facts, in order."""
    from capivara_cli.models.clip import load_once
    from capivara_cli.stages.filtering.examiner import SampleExaminer

    clip = load_once(env, options.model, options.pretrained) if options.score else None
    examiner = SampleExaminer(clip, options.scoring, options.text_rules, options.image_rules, options.batch_size)
    return examiner.examine(samples, env)


def _selected(examined: Iterable[tuple[Sample, SampleFacts]], options: Options, env: Env) -> Stream:
    """The samples that stay. Removed samples and captions are counted, and ``--rejects`` keeps them."""
    rules = options.caption_rules
    for sample, facts in examined:
        if facts.failed:
            env.fail(sample, facts.dropped)
            continue
        result = select(facts, rules)
        _count(facts, result, options, env)
        if result.dropped:
            env.drop(_marked(sample, facts, result) if env.reject else sample, result.dropped)
            continue
        if result.removed and env.reject:
            env.reject(_removed(sample, facts, result), "captions removed")
        kept = [each for index, each in enumerate(facts.captions) if index not in result.removed]
        if facts.vector is not None and facts.tower is not None:
            sample = with_embedding(sample, facts.vector, facts.tower)
        yield sample.with_captions(kept)


def _count(facts: SampleFacts, result: Selected, options: Options, env: Env) -> None:
    """Count the scores, and the removed captions of samples that stay or that lose all their captions."""
    known = facts.scores.keys() | facts.removed.keys()
    wanted = [index for index, each in enumerate(facts.captions) if options.scoring.is_wanted(each)]
    if not options.score and (unscored := sum(index not in known for index in wanted)):
        env.note("captions without a score, which stay", unscored)
    if options.codes and not wanted:
        env.note(f"samples without a caption in {', '.join(sorted(options.codes))}")
    for score in facts.scores.values():
        env.note(bin_of(score))
    if result.dropped in ("", NO_CAPTION_LEFT):
        for reason in result.removed.values():
            env.note(f"captions {reason}")


def _marked(sample: Sample, facts: SampleFacts, result: Selected) -> Sample:
    """The sample with all its captions and their scores; removed captions have a reason under ``dropped``."""
    removed = result.removed
    captions = [
        with_key(each, "dropped", removed[index]) if index in removed else each
        for index, each in enumerate(facts.captions)
    ]
    return sample.with_captions(captions)


def _removed(sample: Sample, facts: SampleFacts, result: Selected) -> Sample:
    """The reject of a sample that stays: only its json, with only the removed captions."""
    marked = _marked(sample, facts, result)
    captions = marked.captions
    kept = marked.with_captions([captions[index] for index in sorted(result.removed)])
    return Sample(sample.key, {"json": kept.members["json"]})
