"""Score captions against their image with CLIP, and keep what scores well; the image embedding is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from capivara_cli import languages
from capivara_cli.clip import DEFAULT_MODEL, load_clip
from capivara_cli.embedding import stored_embedding, unit, with_embedding
from capivara_cli.sample import Caption, Sample
from capivara_cli.shards import Stream
from capivara_cli.stage import Env, map_batched, opt, stage
from capivara_cli.weights import check_model

if TYPE_CHECKING:
    import numpy as np

    from capivara_cli.clip import Clip

DECIMALS = 4
_NOISE = 0.6 * 10**-DECIMALS  # a stored score is at most 0.5 of the last digit away; the rest is float noise


@dataclass(frozen=True)
class Options:
    model: str = opt(DEFAULT_MODEL, "open_clip model, hf-hub:ORG/NAME, local-dir:PATH, a run folder, or toy")
    pretrained: str = opt("", "open_clip weights [default: the paper's, laion5b_s13b_b90k, for its model]")
    min_score: float = opt(-1.0, "leave out what scores below; -1: nothing (the paper: 0.15 and 0.2)", min=-1, max=1)
    top_k: int = opt(0, "keep the best captions of an image, this many per language; 0: all", min=0)
    lang: str = opt("", "only score and select captions in these languages, comma-separated [default: all]")
    level: Literal["caption", "image"] = opt("caption", "what --min-score leaves out: captions, or whole samples")
    on: Literal["best", "first", "mean"] = opt("best", "with --level image: the score that decides for a sample")
    batch_size: int = opt(64, "images embedded together", min=1)

    def check(self) -> None:
        _ = self.codes
        check_model(self.model, self.pretrained)

    @property
    def codes(self) -> frozenset[str]:
        """The languages to work on, empty for all."""
        return frozenset(languages.get(part.strip()).code for part in self.lang.split(",") if part.strip())


# `filter` is also a builtin; the stage has to have the name of its file.
@stage("filter", Options)
def filter(samples: Stream, options: Options, env: Env) -> Stream:  # noqa: A001
    """Write ``score``, the image-text cosine, into every caption, and leave out what is below ``--min-score``.

    The image embedding is kept as ``clip.npy`` (float16, [dim]) with ``json["clip"]`` naming the model; where they
    are there already and the model is the same, the image is not even decoded.
    """
    options.check()
    key = ("clip", options.model, options.pretrained, env.device)
    clip: Clip = env.once(key, lambda: load_clip(options.model, options.pretrained, env.device))
    scorer = _Scorer(clip, options)
    for sample, (vector, captions) in map_batched(samples, scorer.prepare, scorer, size=options.batch_size, env=env):
        if (selected := _selected(sample, captions, options, env)) is not None:
            yield with_embedding(sample, vector, clip.identity).with_captions(selected)


class _Scorer:
    """Embeds the images and captions of a batch and scores them."""

    def __init__(self, clip: Clip, options: Options) -> None:
        self.clip = clip
        self.codes = options.codes

    def prepare(self, sample: Sample) -> tuple[Any, list[Caption]]:
        """The stored embedding (a vector) or else the preprocessed image (a tensor), and the captions."""
        from capivara_cli.images import decode_image

        captions = sample.captions
        vector = stored_embedding(sample, self.clip.identity, self.clip.dim)
        if vector is not None:
            return vector, captions
        return self.clip.preprocess(decode_image(sample)), captions

    def __call__(self, batch: list[tuple[Any, list[Caption]]]) -> list[tuple[np.ndarray, list[Caption]]]:
        """[(image or float16 vector [dim], captions)] -> [(float16 vector [dim], captions with scores)]."""
        import numpy as np

        places = [place for place, (image, _) in enumerate(batch) if not isinstance(image, np.ndarray)]
        embedded = self.clip.embed_images([batch[place][0] for place in places]).astype(np.float16)
        vectors = [image for image, _ in batch]
        for place, vector in zip(places, embedded, strict=True):
            vectors[place] = vector
        wanted = [_said(each) for _, captions in batch for each in captions if self._is_wanted(each)]
        distinct = list(dict.fromkeys(wanted))
        row = {said: index for index, said in enumerate(distinct)}
        texts = self.clip.embed_texts([text for text, _ in distinct], [lang for _, lang in distinct])
        return [
            (vector, self._scored(captions, unit(vector), texts, row))
            for vector, (_, captions) in zip(vectors, batch, strict=True)
        ]

    def _is_wanted(self, caption: Caption) -> bool:
        return not self.codes or languages.code_of(caption.lang) in self.codes

    def _scored(
        self, captions: list[Caption], image: np.ndarray, texts: np.ndarray, row: dict[tuple[str, str], int]
    ) -> list[Caption]:
        scored = []
        for each in captions:
            if self._is_wanted(each):
                score = _steady(each.score, float(texts[row[_said(each)]] @ image))
                each = replace(each, score=score)
            scored.append(each)
        return scored


def _said(caption: Caption) -> tuple[str, str]:
    return caption.text, caption.lang


def _steady(before: Any, score: float) -> float:
    """The score, rounded; the one before if it differs only by float noise.

    How a text is batched changes its embedding in the seventh digit. Without this, now and then a second run over the
    output would round a score the other way and give other bytes.
    """
    if isinstance(before, float) and abs(before - score) < _NOISE and round(before, DECIMALS) == before:
        return before
    return round(score, DECIMALS)


def _selected(sample: Sample, captions: list[Caption], options: Options, env: Env) -> list[Caption] | None:
    """The captions that stay, in order; None when the sample was dropped."""
    codes, floor = options.codes, options.min_score
    judged = [place for place, each in enumerate(captions) if not codes or languages.code_of(each.lang) in codes]
    scores = {place: captions[place].score or 0.0 for place in judged}
    gone: set[int] = set()
    if options.level == "image" and floor > -1:
        if not judged:
            env.drop(sample, "no caption to judge it by")
            return None
        values = list(scores.values())
        verdict = {"best": max(values), "first": values[0], "mean": sum(values) / len(values)}[options.on]
        if verdict < floor:
            env.drop(
                sample, f"{options.on} caption below {floor:g}" if options.on != "mean" else f"mean below {floor:g}"
            )
            return None
    elif floor > -1:
        gone = {place for place in judged if scores[place] < floor}
        if gone:
            env.note(f"captions below {floor:g}", len(gone))
    if options.top_k:
        worse = _beyond_top_k(captions, [place for place in judged if place not in gone], options.top_k)
        if worse:
            env.note(f"captions beyond the best {options.top_k}", len(worse))
        gone |= worse
    kept = [each for place, each in enumerate(captions) if place not in gone]
    if not kept and (options.top_k or floor > -1):
        env.drop(sample, "no caption left")
        return None
    return kept


def _beyond_top_k(captions: list[Caption], places: list[int], k: int) -> set[int]:
    """Of each language all but the ``k`` best; of equal scores the earlier stays."""
    groups: dict[str, list[int]] = {}
    for place in places:
        groups.setdefault(languages.code_of(captions[place].lang), []).append(place)
    worse: set[int] = set()
    for group in groups.values():
        worse.update(sorted(group, key=lambda place: -(captions[place].score or 0.0))[k:])
    return worse
