"""Measure retrieval and zero-shot classification per language: capivara eval toy --model toy --lang pt,hi

TARGETs are eval sets, shards with captions, and run folders: the models that were trained, next to --model.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import console, languages, plugins
from capivara_cli.command import command
from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.stage import Env, opt

if TYPE_CHECKING:
    from capivara_cli.evaluation.compare import Contender, Subject

KIND = "evalsets"


@dataclass(frozen=True)
class Options:
    model: str = opt("", "model to evaluate [default: xlm-roberta-base-ViT-B-32, or the run folders among the targets]")
    pretrained: str = opt("", "its weights, for an open_clip architecture")
    lang: str = opt("all", "languages, separated by commas; all: those there are captions in")
    data: str = opt("", "folder of an eval set that you have a copy of")
    split: str = opt("test", "split of an eval set")
    k: str = opt("1,5,10", "ranks of recall at k, separated by commas")
    classes: str = opt("", "file of class names: one per line, or JSON {lang: [names]}")
    templates: str = opt("", "file of prompts with {} or {c} for the name: one per line, or JSON {lang: [prompts]}")
    translator: str = opt(
        "auto", "for captions in a language that a set lacks, and queries of --align mt-pivot; auto: argos"
    )
    batch_size: int = opt(64, "images embedded at a time", min=1)


@dataclass(frozen=True)
class _Targets:
    sets: list[str]
    shards: list[str]
    runs: list[str]


def _eval(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Recall in both directions, its mean, zero-shot accuracy, and the disparity between languages."""
    targets, ks, langs = sort_targets(inputs), ranks(options.k), wanted_languages(options.lang)
    if options.translator != "auto":
        plugins.check("translators", options.translator)

    from capivara_cli.evaluation import classnames, compare, present, subjects
    from capivara_cli.evaluation.translations import Translation

    classes = classnames.read(options.classes, options.templates, langs)
    request = subjects.Request(langs, options.data, options.split, options.translator, classes)
    opened: list[Any] = [subjects.NamedSet(spec, request, env) for spec in targets.sets]
    if targets.shards or not targets.sets:
        opened.insert(0, subjects.ShardSet(targets.shards, langs, classes, env))
    contenders = _contenders(targets.runs, options, env)
    evaluated = [each.subject(contenders, options.batch_size) for each in opened]

    def translate(source: str, target: str) -> Translation:
        return Translation(options.translator, source, target, env)

    found: dict[str, list[dict[str, Any]]] = {part: [] for part in present.PARTS}
    for subject in evaluated:
        _warn_small(subject, ks)
        wanted = langs or list(subject.gallery.captions)
        for part, rows in compare.compare(subject, contenders, wanted, ks, translate).items():
            found[part] += rows
    for contender in contenders:
        if contender.folder:
            present.save(Path(contender.folder), found, contender.name)
    console.say(present.tables(found))
    owner = {"run": targets.runs[0]} if targets.runs else {}  # what evaluating cost is kept with the run
    return {**found, **owner, "dropped": dict(env.tally.dropped), "notes": dict(env.tally.notes)}


eval = command("eval", Options, "TARGET")(_eval)  # noqa: A001  a subcommand's object has the subcommand's name


def sort_targets(inputs: Sequence[str]) -> _Targets:
    """Tell eval sets, shards and run folders apart. Raises the error that lists the sets for a name nobody knows."""
    targets = _Targets([], [], [])
    known = plugins.names(KIND)
    for text in inputs:
        path = Path(text)
        if text.partition(":")[0] in known:
            targets.sets.append(text)
        elif (path / "run.json").is_file():
            targets.runs.append(text.rstrip("/"))
        elif path.exists() or text == "-" or any(mark in text for mark in "/\\*?[{") or text.endswith(".tar"):
            targets.shards.append(text)
        else:
            raise unknown("eval set", text, known, "a target may also be a folder of shards, a .tar, or a run folder")
    return targets


def ranks(text: str) -> list[int]:
    """``1,5,10`` -> [1, 5, 10]."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts) or len(set(parts)) < len(parts):
        raise UsageError(f"--k {text}: must be different whole numbers above 0, separated by commas, such as 1,5,10")
    return sorted(int(part) for part in parts)


def wanted_languages(text: str) -> list[str]:
    """``pt,hi`` -> ["pt", "hi"]; [] for ``all``."""
    if text.strip() == "all":
        return []
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError("--lang is empty: give languages such as pt,hi, or all")
    return list(dict.fromkeys(languages.get(name).code for name in names))


def _contenders(runs: Sequence[str], options: Options, env: Env) -> list[Contender]:
    """The models, ``--model`` first: what the others are compared with."""
    from capivara_cli.clip import DEFAULT_MODEL, load_clip
    from capivara_cli.evaluation.compare import Contender
    from capivara_cli.weights import check_model

    named = [options.model] if options.model else [] if runs else [DEFAULT_MODEL]
    contenders = []
    for name in named:
        check_model(name, options.pretrained)
    for name in dict.fromkeys([*named, *runs]):
        pretrained = options.pretrained if name in named else ""
        load = functools.partial(load_clip, name, pretrained, env.device)
        clip = env.once(("clip", name, pretrained, env.device), load)
        folder = name if (Path(name) / "run.json").is_file() else ""
        contenders.append(Contender(f"{name}/{pretrained}" if pretrained else name, clip, folder))
    return contenders


def _warn_small(subject: Subject, ks: Sequence[int]) -> None:
    images = len(subject.gallery.keys)
    if not subject.gallery.captions:
        return
    if images < 2:
        raise CapivaraError(f"{subject.name}: one image cannot be told from others", "evaluate on more images")
    if images <= max(ks):
        console.warn(f"{subject.name}: only {images} images: R@{max(ks)} says nothing, every image is among the first")
