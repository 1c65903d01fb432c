"""From a target to something to evaluate on: shards with captions, or an eval set, translated where it has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from capivara_cli import engine, plugins
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.evaluation.compare import Classes, Contender, Subject
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.gallery import Gallery, code_of, collect
from capivara_cli.evaluation.translations import Translation
from capivara_cli.evaluation.zeroshot import check_names
from capivara_cli.shards import reading
from capivara_cli.stage import Env

KIND = "evalsets"


class ShardSet:
    """Any shards with captions. What they lack is said before a model is loaded, where they can be read twice."""

    def __init__(self, inputs: Sequence[str], langs: Sequence[str], classes: Mapping[str, Classes], env: Env) -> None:
        self._source = engine.Source(inputs, env)
        self._langs = langs
        self._classes = dict(classes)
        self._env = env
        self.name = _name(self._source.shards, engine.default_inputs(inputs))
        if langs and all(_readable_twice(shard) for shard in self._source.shards):
            self._check(_count_languages(self._source.shards))

    def subject(self, contenders: Sequence[Contender], batch_size: int) -> Subject:
        """Read and embed everything. The error for a language without captions lists those there are."""
        gallery = collect(self._source, [each.clip for each in contenders], self._env, batch_size)
        self._check(Counter({lang: len(each.texts) for lang, each in gallery.captions.items()}))
        _check_labels(gallery, self._classes, self.name)
        provenance = {
            lang: Provenance(self.name, "", "", each.n_translated > 0, ", ".join(each.by))
            for lang, each in gallery.captions.items()
        }
        return Subject(self.name, gallery, provenance, self._classes)

    def _check(self, present: Counter[str]) -> None:
        if not present and self._classes:
            return
        missing = [lang for lang in self._langs if lang not in present]
        if not present or missing:
            there = ", ".join(f"{lang} ({count} captions)" for lang, count in present.most_common()) or "none at all"
            wanted = missing[0] if missing else "LANG"
            where = "-" if self.name == "standard input" else self.name
            made = f"capivara translate {where} --lang {wanted} | capivara eval - --lang {wanted}"
            make = made if present else f"capivara caption {where} | capivara eval -"
            raise CapivaraError(
                f"{self.name}: no captions in {', '.join(missing) or 'any language'}; there are {there}", make
            )


@dataclass(frozen=True)
class Request:
    """What is asked of an eval set. No ``langs`` means all that it has."""

    langs: Sequence[str]
    data: str
    split: str
    translator: str
    classes: Mapping[str, Classes]


class NamedSet:
    """An eval set by name. Data and translators that cannot be had are said before a model is loaded."""

    def __init__(self, spec: str, request: Request, env: Env) -> None:
        own = tuple(plugins.module(KIND, spec.partition(":")[0]).LANGUAGES)
        self._env = env
        self._wanted = list(request.langs) or list(own)
        self._asked_classes = dict(request.classes)
        native = [lang for lang in self._wanted if lang in own] or ["en" if "en" in own else own[0]]
        self._sets: list[EvalSet] = [
            plugins.load(KIND, spec, lang=lang, data=request.data, split=request.split, env=env) for lang in native
        ]
        self._translations = [
            Translation(request.translator, native[0], lang, env) for lang in self._wanted if lang not in own
        ]

    def subject(self, contenders: Sequence[Contender], batch_size: int) -> Subject:
        """Images are read and embedded with the first language; a language that is only translated from goes again."""
        first, *others = self._sets
        gallery = collect(_counted(first.samples, self._env), [each.clip for each in contenders], self._env, batch_size)
        for other in others:
            gallery.read_captions(other.samples, self._env)
        for each in self._sets:
            if each.lang not in gallery.captions:
                raise CapivaraError(f"{each.name}: the split {each.provenance.split} has no captions in {each.lang}")
        provenance = {each.lang: each.provenance for each in self._sets}
        for translation in self._translations:
            made = translation.of(gallery.captions[first.lang])
            gallery.captions[translation.target] = made
            origin = first.provenance
            provenance[translation.target] = Provenance(
                origin.source, origin.licence, origin.split, True, ", ".join(made.by)
            )
        gallery.captions = {lang: gallery.captions[lang] for lang in self._wanted}
        _check_labels(gallery, self._asked_classes, first.name)
        return Subject(first.name, gallery, provenance, self._asked_classes or self._classes())

    def _classes(self) -> dict[str, Classes]:
        found = {
            each.lang: Classes(each.classes, each.templates or ("{}",))
            for each in self._sets
            if each.classes and each.lang in self._wanted
        }
        for lang, classes in found.items():
            check_names(classes.names, f"{self._sets[0].name} ({lang})")
        return found


def _counted(samples: Iterable, env: Env) -> Iterable:
    for sample in samples:
        env.tally.read += 1
        yield sample


def _check_labels(gallery: Gallery, classes: Mapping[str, Classes], name: str) -> None:
    """``--classes`` asks for classification: refuse images without classes, and classes without a name."""
    if not classes:
        return
    labels = [label for label in gallery.labels if label is not None]
    if not labels:
        raise CapivaraError(
            f"{name}: no image has a class", 'a class is a whole number in a .cls member, or in json under "class"'
        )
    count = len(next(iter(classes.values())).names)
    for key, label in zip(gallery.keys, gallery.labels, strict=True):
        if label is not None and not 0 <= label < count:
            raise CapivaraError(
                f"{name}: sample {key!r} has class {label}, and there are {count} class names (0 to {count - 1})",
                "a name is missing in --classes, or the list belongs to other data",
            )


def _name(shards: Sequence[str], inputs: Sequence[str]) -> str:
    if list(inputs) == ["-"]:
        return "standard input"
    return inputs[0] if len(inputs) == 1 else f"{inputs[0]} and {len(shards) - 1} more shards"


def _readable_twice(shard: str) -> bool:
    return shard != "-" and "://" not in shard


def _count_languages(shards: Sequence[str]) -> Counter[str]:
    """Captions by language, from the text alone: seconds, where embedding the images takes minutes."""
    counts: Counter[str] = Counter()
    for shard in shards:
        with reading(shard) as reader:
            for sample in reader:
                try:
                    counts.update(code_of(caption.lang) for caption in sample.captions if caption.text.strip())
                except BadSample:  # counted when it is read in earnest
                    continue
    return counts
