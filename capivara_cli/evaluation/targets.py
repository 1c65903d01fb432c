"""Load the data of a target: shards with captions, or an eval set, whose missing languages are translated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from capivara_cli.errors import BadSample, CapivaraError, UsageError
from capivara_cli.evaluation import catalogue
from capivara_cli.evaluation.evalset import Classes, EvalSet, Provenance
from capivara_cli.evaluation.gallery import Gallery, collect
from capivara_cli.evaluation.measure import Contender, EvalData
from capivara_cli.evaluation.set_translator import SetTranslator
from capivara_cli.languages import code_of
from capivara_cli.pipeline import source
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.sample import Sample
from capivara_cli.urls import public_url

PLAIN = ("{}",)
TRAIN = "train"


@dataclass(frozen=True)
class EvalDataRequest:
    """The languages and other data wanted of a set, from the options of ``eval``.

    ``langs``: () for all languages of the set. ``probes``: load training images too, from the shards ``train`` or the
    set's own training split.
    """

    langs: Sequence[str]
    data: str
    split: str
    translator: str
    classes: Mapping[str, Classes]
    templates: Mapping[str, tuple[str, ...]]
    probes: bool = False
    train: Sequence[str] = ()


class ShardSet:
    """Shards with captions. If they can be read twice, a missing language is found before a model is loaded."""

    def __init__(self, inputs: Sequence[str], request: EvalDataRequest, env: Env) -> None:
        self._source = source.Source(inputs, env, captions=not request.classes)
        self._request = request
        self._env = env
        self.name = _name(self._source.shards, source.default_inputs(inputs))
        self._train = _train_source(self.name, request, env)
        if request.templates and not request.classes:
            raise UsageError(f"{self.name}: --templates needs --classes: prompts are built from class names")
        if request.langs and all(_readable_twice(shard) for shard in self._source.shards):
            self._check(_count_languages(self._source.shards))

    def samples(self) -> Iterable[Sample] | None:
        """The samples once more; None for a stream, which can be read once only."""
        shards = self._source.shards
        if not all(map(_readable_twice, shards)):
            return None
        return source.Source(shards, Env(self._env.settings, "eval"), captions=not self._request.classes)

    def read(self, contenders: Sequence[Contender], batch_size: int) -> EvalData:
        """Read the shards and embed their images. Raises ``CapivaraError`` for a language without captions."""
        clips = [each.clip for each in contenders]
        gallery = collect(self.name, self._source, clips, self._env, batch_size)
        self._check(Counter({lang: len(each.texts) for lang, each in gallery.captions.items()}))
        classes = dict(self._request.classes)
        _check_labels(gallery, classes, self.name)
        provenance = {
            lang: Provenance(self.name, "", "", each.n_translated > 0, ", ".join(each.by))
            for lang, each in gallery.captions.items()
        }
        train = None
        if self._train is not None:
            train = collect(f"{self.name} train", self._train, clips, self._env, batch_size)
            _check_labels(train, classes, self.name)
        return EvalData(self.name, gallery, provenance, classes, train=train)

    def _check(self, present: Counter[str]) -> None:
        if not present and self._request.classes:
            return
        missing = [lang for lang in self._request.langs if lang not in present]
        if not present or missing:
            found = ", ".join(f"{lang} ({count} captions)" for lang, count in present.most_common()) or "none at all"
            wanted = missing[0] if missing else "LANG"
            where = "-" if self.name == "standard input" else self.name
            translate = f"capivara translate {where} --lang {wanted} | capivara eval - --lang {wanted}"
            hint = translate if present else f"capivara caption {where} | capivara eval -"
            raise CapivaraError(
                f"{self.name}: no captions in {', '.join(missing) or 'any language'}; there are {found}", hint
            )


class NamedSet:
    """An eval set by name. Missing data and translators are found before a model is loaded."""

    def __init__(self, spec: str, request: EvalDataRequest, env: Env) -> None:
        own = tuple(catalogue.languages(spec))
        self._spec, self._request, self._env = spec, request, env
        self._wanted = list(request.langs) or list(own)
        self._pivot = "en" if "en" in own else own[0]
        native = [lang for lang in self._wanted if lang in own]
        foreign = [lang for lang in self._wanted if lang not in own]
        self._sets: dict[str, EvalSet] = {lang: self._load(lang) for lang in native or [self._pivot]}
        self._translations = {lang: self._translation(next(iter(self._sets)), lang) for lang in foreign}
        self._templates = self._prompt_languages()
        self.name = next(iter(self._sets.values())).name
        self._train: Iterable[Sample] | None = _train_source(spec, request, env)
        if request.probes and self._train is None:
            self._train = self._load(next(iter(self._sets)), TRAIN).samples

    def samples(self) -> Iterable[Sample]:
        """The samples once more."""
        return self._load(next(iter(self._sets))).samples

    def read(self, contenders: Sequence[Contender], batch_size: int) -> EvalData:
        """Read and embed the images with the first language, then read the captions of the other languages.

        Raises ``CapivaraError`` for a split without captions in a language, and for class names that do not fit.
        """
        first, *others = self._sets.values()
        clips = [each.clip for each in contenders]
        gallery = collect(f"{self.name} {self._request.split}", _counted(first.samples, self._env), clips, self._env,
                          batch_size)  # fmt: skip
        for other in others if gallery.captions else ():
            gallery.read_captions(other.samples, self._env)
        provenance = {lang: each.provenance for lang, each in self._sets.items()}
        for each in self._sets.values():
            if not (each.classes or self._request.classes or each.lang in gallery.captions):
                raise CapivaraError(f"{each.name}: the split {each.provenance.split} has no captions in {each.lang}")
        for lang, translation in self._translations.items():
            captions = gallery.captions.get(first.lang)
            by = translation.by
            if captions is not None:
                gallery.captions[lang] = translated = translation.of(captions)
                by = ", ".join(translated.by)
            provenance[lang] = replace(first.provenance, machine_translated=True, by=by)
        gallery.captions = {lang: gallery.captions[lang] for lang in self._wanted if lang in gallery.captions}
        _check_labels(gallery, dict(self._request.classes), self.name)
        train = None
        if self._train is not None:
            train = collect(f"{self.name} {TRAIN}", self._train, clips, Env(self._env.settings, "eval"), batch_size)
        return EvalData(
            self.name, gallery, provenance, dict(self._request.classes) or self._classes(), first.metric,
            {lang: each.junk for lang, each in self._sets.items() if each.junk}, train,
        )  # fmt: skip

    def _load(self, lang: str, split: str = "") -> EvalSet:
        request = self._request
        return catalogue.load(self._spec, lang=lang, data=request.data, split=split or request.split, env=self._env)

    def _translation(self, source: str, target: str) -> SetTranslator:
        return SetTranslator(self._request.translator, source, target, self._env)

    def _prompt_languages(self) -> dict[str, EvalSet]:
        """Language with class names but without templates -> the set whose templates are translated for it."""
        given = self._request.templates
        bare = [lang for lang, each in self._sets.items() if each.classes and not each.templates and lang not in given]
        if not bare or self._request.classes:
            return {}
        pivot = self._sets.get(self._pivot) or self._load(self._pivot)
        return {lang: pivot for lang in bare if pivot.templates and lang != self._pivot}

    def _classes(self) -> dict[str, Classes]:
        """The class names and templates of each language: the set's own, or translations of its first language."""
        found: dict[str, Classes] = {}
        for lang in self._wanted:
            own = self._sets.get(lang)
            if own is not None and own.classes:
                found[lang] = self._native(own)
            elif own is None and (source := next(iter(self._sets.values()))).classes:
                given = self._request.templates.get(lang)
                new = self._translations[lang].of_classes(self._native(source), translate_templates=given is None)
                found[lang] = new if given is None else replace(new, templates=given, templates_by="--templates")
        return found

    def _native(self, own: EvalSet) -> Classes:
        classes = Classes(own.classes, own.templates or PLAIN, own.class_ids, own.names_by, unnamed=own.unnamed)
        if (given := self._request.templates.get(own.lang)) is not None:
            classes = replace(classes, templates=given, templates_by="--templates")
        elif (pivot := self._templates.get(own.lang)) is not None:
            templates, by = self._translation(pivot.lang, own.lang).of_templates(pivot.templates)
            classes = replace(classes, templates=templates, templates_by=by, machine_translated=True)
        return classes


def _train_source(name: str, request: EvalDataRequest, env: Env) -> source.Source | None:
    """The shards of ``--train``, None without the option. Raises ``CapivaraError`` if it is given without a probe."""
    if not request.train:
        return None
    if not request.probes:
        raise CapivaraError(f"{name}: --train is for probes", "--mode linear-probe")
    return source.Source(request.train, Env(env.settings, "eval"), captions=False)


def _counted(samples: Iterable[Sample], env: Env) -> Iterable[Sample]:
    for sample in samples:
        env.tally.read += 1
        yield sample


def _check_labels(gallery: Gallery, classes: Mapping[str, Classes], name: str) -> None:
    """Raise ``CapivaraError`` if class names are given but no image has a class, or if one of a class has no name."""
    if not classes:
        return
    if not any(gallery.labels):
        raise CapivaraError(
            f"{name}: no image has a class", 'a class is a whole number in a .cls member, or in json under "class"'
        )
    count = len(next(iter(classes.values())).names)
    for key, labels in zip(gallery.keys, gallery.labels, strict=True):
        if wrong := [label for label in labels or () if label >= count]:
            raise CapivaraError(
                f"{name}: sample {key!r} has class {wrong[0]}, and there are {count} class names (0 to {count - 1})",
                "--classes lacks a name, or belongs to other data",
            )


def _name(shards: Sequence[str], inputs: Sequence[str]) -> str:
    if list(inputs) == ["-"]:
        return "standard input"
    first = public_url(inputs[0])
    return first if len(inputs) == 1 else f"{first} and {len(shards) - 1} more shards"


def _readable_twice(shard: str) -> bool:
    return shard != "-" and "://" not in shard


def _count_languages(shards: Sequence[str]) -> Counter[str]:
    """The number of captions by language. Reading them takes seconds, embedding the images takes minutes."""
    counts: Counter[str] = Counter()
    for shard in shards:
        with open_shard(shard) as reader:
            for sample in reader:
                try:
                    counts.update(code_of(caption.lang) for caption in sample.captions if caption.text.strip())
                except BadSample:  # counted as dropped when it is evaluated
                    continue
    return counts
