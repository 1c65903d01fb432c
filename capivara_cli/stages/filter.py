"""Leave out captions and images: by CLIP score, by rules for texts and images, by rank, threshold, diversity, share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import DEFAULT_MODEL, load_clip
from capivara_cli.models.clip_files import check_model
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import opt
from capivara_cli.pipeline.stage import Arrays, Corpus, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import with_embedding
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.filtering import text_rules
from capivara_cli.stages.filtering.histogram import bin_of
from capivara_cli.stages.filtering.image_rules import ImageRules
from capivara_cli.stages.filtering.sample_facts import Looker
from capivara_cli.stages.filtering.scoring import Looked, Scoring, with_key
from capivara_cli.stages.filtering.selection import (
    CAPTION_FLOOR,
    IMAGE_FLOOR,
    NO_CAPTION_LEFT,
    RANK,
    Selected,
    Selection,
    select,
)
from capivara_cli.stages.filtering.text_rules import BOILERPLATE, TextRules

if TYPE_CHECKING:
    from capivara_cli.stages.filtering.corpus import Shares


@dataclass(frozen=True)
class Options:
    model: str = opt(DEFAULT_MODEL, "open_clip model, hf-hub:ORG/NAME, local-dir:PATH, a run folder, or toy")
    pretrained: str = opt("", "open_clip weights [default: the paper's, laion5b_s13b_b90k, for its model]")
    score: bool = opt(True, "score with the model; without: no model, select by the scores that are there")
    precision: Literal["auto", "fp32", "bf16"] = opt(
        "auto", "of texts, images are fp32; auto: bf16, scores within 0.005, where the device multiplies in it"
    )
    select: Literal["none", "rank", "threshold", "threshold-diversity"] = opt(
        "none", "a method of the paper, with its constants where --top-k and --min-score are not set"
    )
    min_score: float = opt(
        -1.0, "leave out what scores below [default: nothing; threshold: 0.15, images 0.2]", min=-1, max=1
    )
    top_k: int = opt(0, "keep the best captions of an image, this many per language; 0: all [rank: 5]", min=0)
    k_min: int = opt(3, "threshold-diversity: never thin out below this many captions of a language", min=1)
    max_alike: float = opt(0.3, "threshold-diversity: captions more alike than this are near-duplicates", min=0, max=1)
    per_lang: bool = opt(True, "select within each language, or among all captions of an image")
    lang: str = opt("", "only score and select captions in these languages, comma-separated [default: all]")
    level: Literal["caption", "image"] = opt(
        "caption", "what a threshold or share leaves out: captions, or whole samples"
    )
    on: Literal["best", "first", "mean"] = opt("best", "with --level image: the score that decides for a sample")
    score_by: Literal["own", "original", "best"] = opt(
        "own", "judge a caption by its score, by that of the text it is translated or rewritten from, or the better"
    )
    top_fraction: float = opt(1.0, "keep this share of all scores in the corpus, the best", min=0, max=1)
    quantile: float = opt(0.0, "leave out what scores below this quantile of the corpus", min=0, max=1)
    rules: str = opt("", "rules for captions: all, or some of length,script,junk,language,boilerplate")
    min_words: int = opt(2, "length: fewest words (estimated where a script does not set them apart)", min=0)
    max_words: int = opt(80, "length: most words; 0: any number", min=0)
    min_chars: int = opt(6, "length: fewest characters (wide ones, as in Chinese, count twice)", min=0)
    max_chars: int = opt(1000, "length: most characters; 0: any number", min=0)
    max_images: int = opt(10, "boilerplate: a caption said of more images of the corpus than this", min=1)
    min_side: int = opt(0, "leave out images with a side of fewer pixels; 0: none", min=0)
    max_aspect: float = opt(0.0, "leave out images so many times as long as wide; 0: none", min=0)
    min_entropy: float = opt(0.0, "leave out images whose grey levels hold fewer bits, of 8; 0: none", min=0, max=8)
    batch_size: int = opt(64, "images embedded together", min=1)

    def check(self) -> None:
        _ = self.codes, self.text_rules
        if self.score:
            check_model(self.model, self.pretrained)

    @property
    def codes(self) -> frozenset[str]:
        """The languages to work on, empty for all."""
        return frozenset(languages.get(part.strip()).code for part in self.lang.split(",") if part.strip())

    @property
    def text_rules(self) -> TextRules:
        bounds = self.min_words, self.max_words, self.min_chars, self.max_chars
        return TextRules(text_rules.parse(self.rules), *bounds)

    @property
    def selection(self) -> Selection:
        """What leaves out captions and samples within each sample, with the constants of the method."""
        default = (IMAGE_FLOOR if self.level == "image" else CAPTION_FLOOR) if "threshold" in self.select else None
        return Selection(
            floor=self.min_score if self.min_score > -1 else default,
            of_images=self.level == "image",
            on=self.on,
            k=self.top_k or (RANK if self.select == "rank" else 0),
            k_min=self.k_min if self.select == "threshold-diversity" else None,
            max_alike=self.max_alike,
            per_lang=self.per_lang,
        )

    @property
    def shares(self) -> Shares:
        """What only the whole corpus can tell."""
        from capivara_cli.stages.filtering.corpus import Shares

        return Shares(
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

    return pack(_looker(options, env).over(samples, env))


def _decide(surveys: Sequence[Callable[[], Arrays]], options: Options, env: Env) -> Iterator[Arrays]:
    from capivara_cli.stages.filtering.corpus import decide

    return decide(surveys, options.shares)


def _apply(samples: Stream, survey: Arrays, decision: Arrays, options: Options, env: Env) -> Stream:
    from capivara_cli.stages.filtering.survey import unpack

    return _selected(unpack(samples, survey, decision, options.scoring), options, env)


CORPUS = Corpus(wanted=lambda options: options.needs_corpus, survey=_survey, decide=_decide, apply=_apply)


# `filter` is also a builtin; the stage has to have the name of its file.
@stage("filter", Options, corpus=CORPUS)
def filter(samples: Stream, options: Options, env: Env) -> Stream:  # noqa: A001
    """Write ``score``, the image-text cosine, into every caption, and leave out what scores or reads badly.

    Rules come first (``--rules``, ``--min-side`` …), then shares of the corpus (``--top-fraction``, ``--quantile``),
    then threshold, rank and diversity within each sample. ``--rejects`` keeps the captions left out, too, each with
    its reason.

    The image embedding is kept as ``clip.npy`` (float16, [dim]) with ``json["clip"]`` naming the model; where they
    are there already and the model is the same, the image is not even decoded.
    """
    options.check()
    if options.needs_corpus:
        raise CapivaraError("filter: --top-fraction, --quantile and boilerplate need all shards to be seen before one")
    yield from _selected(_looker(options, env).over(samples, env), options, env)


def _looker(options: Options, env: Env) -> Looker:
    clip = None
    if options.score:
        key = ("clip", options.model, options.pretrained, env.device)
        clip = env.once(key, lambda: load_clip(options.model, options.pretrained, env.device))
    images = ImageRules(options.min_side, options.max_aspect, options.min_entropy)
    return Looker(clip, options.scoring, options.text_rules, images, options.batch_size)


def _selected(found: Iterable[tuple[Sample, Looked]], options: Options, env: Env) -> Stream:
    """What stays of the samples; whatever does not is counted, and kept by ``--rejects``."""
    rule = options.selection
    for sample, looked in found:
        if looked.failed:
            env.fail(sample, looked.dropped)
            continue
        result = select(looked, rule)
        _count(looked, result, options, env)
        if result.dropped:
            env.drop(_marked(sample, looked, result) if env.reject else sample, result.dropped)
            continue
        if result.left_out and env.reject:
            env.reject(_left_out(sample, looked, result), "captions left out")
        kept = [each for place, each in enumerate(looked.captions) if place not in result.left_out]
        if looked.vector is not None and looked.clip is not None:
            sample = with_embedding(sample, looked.vector, looked.clip)
        yield sample.with_captions(kept)


def _count(looked: Looked, result: Selected, options: Options, env: Env) -> None:
    """Note the scores, and what was left out of a sample that was not dropped before its captions were selected."""
    known = looked.judged.keys() | looked.left_out.keys()
    unknown = [place for place, each in enumerate(looked.captions) if options.scoring.is_wanted(each)]
    if not options.score and (unscored := sum(place not in known for place in unknown)):
        env.note("captions without a score, which stay", unscored)
    for score in looked.judged.values():
        env.note(bin_of(score))
    if result.dropped in ("", NO_CAPTION_LEFT):
        for why in result.left_out.values():
            env.note(f"captions {why}")


def _marked(sample: Sample, looked: Looked, result: Selected) -> Sample:
    """The sample with its captions as scored, those that were left out with the reason as ``dropped``."""
    gone = result.left_out
    captions = [
        with_key(each, "dropped", gone[place]) if place in gone else each for place, each in enumerate(looked.captions)
    ]
    return sample.with_captions(captions)


def _left_out(sample: Sample, looked: Looked, result: Selected) -> Sample:
    """What the rejects keep of a sample that stays: its json alone, with the captions that were left out of it."""
    marked = _marked(sample, looked, result)
    captions = marked.captions
    kept = marked.with_captions([captions[place] for place in sorted(result.left_out)])
    return Sample(sample.key, {"json": kept.members["json"]})
