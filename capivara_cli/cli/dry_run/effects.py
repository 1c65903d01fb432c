"""What each stage makes of samples and captions, by its options: how a plan's counts go on from step to step.

What only the data can tell (near-duplicates, thresholds, captions that are no captions) is taken to leave all there;
a trial says better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from capivara_cli import languages
from capivara_cli.cli.dry_run.census import Census, Kind
from capivara_cli.pipeline.stage import Step

Captions = Mapping[Kind, float]
_EMBEDDING_BYTES = 1664
"""A ``clip.npy`` of 512 float16 numbers as a member of a tar."""


@dataclass(frozen=True)
class Effect:
    """Samples before and after a step, and the captions it makes (or scores), in all."""

    before: Census
    after: Census
    captions: float


def effect_of(step: Step, census: Census) -> Effect:
    """By the rules of the stage; one that nobody here knows changes nothing."""
    rule = _RULES.get(step.name)
    return rule(step.options, census) if rule else Effect(census, census, 0.0)


def with_captions(census: Census, captions: Captions, more_bytes: float = 0.0) -> Census:
    """The same samples with other captions, which change their size, too."""
    added = sum(captions.values()) - sum(census.captions.values())
    size = census.sample_bytes + added * census.caption_bytes + more_bytes
    return replace(census, captions=dict(captions), sample_bytes=max(0.0, size), how="planned")


def _caption(options: Any, census: Census) -> Effect:
    """``--n`` more for each image."""
    kind = Kind(languages.get(options.lang).code, "captioner")
    captions = {**census.captions, kind: census.captions.get(kind, 0.0) + options.n}
    return Effect(census, with_captions(census, captions), options.n * census.samples)


def _translate(options: Any, census: Census) -> Effect:
    """One more for each caption that is translated and each language, two where it is translated back."""
    captions, made = dict(census.captions), 0.0
    sources = {kind: count for kind, count in captions.items() if _is_translated(kind, options)}
    for target in options.targets:
        wanted = {kind: count for kind, count in sources.items() if kind.lang != target.code}
        total, there = sum(wanted.values()), Kind(target.code, "translation")
        lacking = max(0.0, total - census.captions.get(there, 0.0))
        captions[there] = captions.get(there, 0.0) + lacking
        for kind, count in wanted.items() if options.back_translate and total else ():
            back = Kind(kind.lang, "translation")
            captions[back] = captions.get(back, 0.0) + lacking * count / total
        made += lacking * (1 + options.back_translate)
    if options.replace:
        captions = {kind: count for kind, count in captions.items() if kind not in sources}
    return Effect(census, with_captions(census, captions), made * census.samples)


def _is_translated(kind: Kind, options: Any) -> bool:
    source = options.source
    if source is not None and kind.lang != source.code:
        return False
    if source is None and kind.made == "translation":
        return False
    return options.only == "all" or (options.only == "synthetic") == (kind.made in ("captioner", "rewrite"))


def _rewrite(options: Any, census: Census) -> Effect:
    """``--n`` more for each caption in the language that is neither translated nor rewritten."""
    code = languages.get(options.lang).code
    captions = dict(census.captions)
    sources = sum(count for kind, count in captions.items() if kind.lang == code and kind.made in ("", "captioner"))
    there = Kind(code, "rewrite")
    made = max(0.0, sources * options.n - captions.get(there, 0.0))
    captions[there] = captions.get(there, 0.0) + made
    return Effect(census, with_captions(census, captions), made * census.samples)


def _filter(options: Any, census: Census) -> Effect:
    """At most ``--top-k`` of a language, or of all; a share of the whole samples. All that stays is scored."""
    wanted = {kind: count for kind, count in census.captions.items() if not options.codes or kind.lang in options.codes}
    k = options.selection.k
    captions = dict(census.captions)
    groups = [[kind for kind in wanted if kind.lang == lang] for lang in dict.fromkeys(kind.lang for kind in wanted)]
    for group in (groups if options.per_lang else [list(wanted)]) if k else []:
        total = sum(wanted[kind] for kind in group)
        for kind in group:
            captions[kind] = wanted[kind] * min(1.0, k / total) if total else 0.0
    share = options.top_fraction * (1 - options.quantile)
    embedded = options.score and not census.embedded
    if options.level == "caption":
        captions = {kind: count * (share if kind in wanted else 1.0) for kind, count in captions.items()}
    after = with_captions(census, captions, _EMBEDDING_BYTES if embedded else 0.0)
    if options.level == "image":
        after = replace(after, shards=tuple(count * share for count in after.shards))
    if options.score:
        after = replace(after, embedded={**census.embedded, options.model: 1.0})
    return Effect(census, after, sum(wanted.values()) * census.samples)


def _split(options: Any, census: Census) -> Effect:
    """``--fraction`` of the samples, or the rest."""
    share = options.fraction if options.part == "heldout" else 1 - options.fraction
    return Effect(census, replace(census, shards=tuple(count * share for count in census.shards), how="planned"), 0.0)


_RULES: dict[str, Callable[[Any, Census], Effect]] = {
    "caption": _caption,
    "translate": _translate,
    "rewrite": _rewrite,
    "filter": _filter,
    "split": _split,
}
