"""Measure retrieval and zero-shot classification per language: capivara eval toy --model toy --lang pt,hi

TARGETs are eval sets (capivara list evalsets), shards with captions, folders in clip_benchmark's form or with a folder
per class, and run folders: the models that were trained, next to --model. Each model is compared with the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import console, registry
from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.models.clip_files import DEFAULT_MODEL
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import opt, parsed
from capivara_cli.pipeline.source import default_inputs

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal
    from capivara_cli.evaluation.measure import Contender, EvalData
    from capivara_cli.evaluation.targets import NamedSet, ShardSet


@dataclass(frozen=True)
class Options:
    model: str = opt("", "model to evaluate [default: xlm-roberta-base-ViT-B-32, or the run folders among the targets]")
    pretrained: str = opt("", "its weights, for an open_clip architecture")
    lang: str = opt("all", "languages, separated by commas; all: those there are captions in", kind=Languages("all"))
    data: str = opt("", "folder of an eval set that you have a copy of")
    split: str = opt("test", "split of an eval set")
    k: str = opt("1,5,10", "ranks of recall at k, separated by commas")
    mode: str = opt(
        "zero-shot",
        "classification: zero-shot, linear-probe, few-shot (of 5 classes by 5 images), by commas",
        kind=Names(("zero-shot", "linear-probe", "few-shot"), "mode"),
    )
    train: str = opt(
        "", "shards with classes to fit a linear probe on [default: the train split of the eval set]", kind=Names()
    )
    classes: str = opt("", "file of class names: one per line, or JSON {lang: [names]}")
    templates: str = opt("", "file of prompts with {} or {c} for the name: one per line, or JSON {lang: [prompts]}")
    labels: str = opt(
        "", "paper: the Portuguese class names and prompts as CAPIVARA's authors used them, mistakes included"
    )
    prompt: str = opt("", "hard prompt: a text with {} where each caption goes, such as 'a photo of {}'")
    translate_queries: bool = opt(False, "translate captions and prompts into English before they are embedded")
    translator: str = opt("auto", "for what a set lacks in a language, and for translated queries; auto: argos")
    table: str = opt("", "write the results to these files too, separated by commas: .csv, .md or .tex", kind=Names())
    batch_size: int = opt(64, "images embedded at a time", min=1)

    def check(self) -> None:
        """Raise ``UsageError`` for wrong options before a model is loaded."""
        from capivara_cli.reports.tables import files as table_files

        if self.translator != "auto":
            registry.check("translators", self.translator)
        if self.prompt and self.prompt.count("{}") != 1:
            raise UsageError(f"--prompt {self.prompt!r}: one {{}} says where the caption goes", "'a photo of {}'")
        for path in self.table_files:
            table_files.check(path)

    @property
    def table_files(self) -> list[Path]:
        return [Path(name) for name in parsed(self, "table")]


@dataclass(frozen=True)
class _Targets:
    sets: list[str]
    shards: list[str]
    runs: list[str]


def _eval(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Recall both ways, its mean, classification, and the disparity between languages, with their intervals."""
    targets, ks, langs = sort_targets(inputs, options.labels), ranks(options.k), list(parsed(options, "lang"))
    modes = parsed(options, "mode")
    options.check()

    from capivara_cli.evaluation import compare
    from capivara_cli.evaluation.queries import Queries
    from capivara_cli.evaluation.results import EvalResults
    from capivara_cli.evaluation.set_translator import SetTranslator
    from capivara_cli.reports import eval_results
    from capivara_cli.reports.tables import files as table_files
    from capivara_cli.reports.tables import terminal

    for run in [*targets.runs, *filter(None, [options.model])]:
        eval_results.read(Path(run))  # a damaged file is an error now, and not after hours of evaluation
    opened = _opened(targets, options, langs, modes, env)
    contenders = _contenders(targets.runs, options, env)
    # What the evaluation cost is recorded in the first run folder.
    owner: dict[str, Any] = {"run": targets.runs[0]} if targets.runs else {}
    if targets.runs:
        env.costs.record_result_at(run=targets.runs[0])

    def translate(source: str, target: str) -> SetTranslator:
        return SetTranslator(options.translator, source, target, env)

    queries = Queries(translate, options.translate_queries, options.prompt)
    results = EvalResults()
    for each in opened:
        data = each.read(contenders, options.batch_size)
        _warn_small(data, ks)
        writer = eval_results.ResultsWriter(data, contenders)
        protocol = compare.EvalProtocol(ks, queries, modes, env.seed, writer.watch)
        of_set = compare.compare(data, contenders, langs or list(data.gallery.captions), protocol)
        results += of_set
        writer.write(of_set, each)
    for path in options.table_files:
        table_files.write(path, results)
    console.say(terminal.tables(results))
    tally = env.tally
    owner["cards"] = [each.folder for each in contenders if each.folder]
    return {
        **results.to_json(),
        **owner,
        "read": tally.read,
        "dropped": dict(tally.dropped),
        "notes": dict(tally.notes),
    }


def _estimate(inputs: list[str], options: Options, env: Env, rehearsal: Rehearsal) -> dict[str, Any]:
    from capivara_cli.cli.dry_run import evaluating

    there = [text for text in inputs if text not in rehearsal.runs and text not in rehearsal.made]
    planned = [text for text in inputs if text in rehearsal.runs]
    targets, langs = sort_targets(there, options.labels), list(parsed(options, "lang"))
    ranks(options.k)
    options.check()
    shards = targets.shards + [text for text in inputs if text in rehearsal.made]
    runs = [*targets.runs, *planned]
    model = options.model or next((evaluating.base_of(run) for run in targets.runs), "") or DEFAULT_MODEL
    models = len(runs) + (bool(options.model) or not runs)
    if not shards and not targets.sets:
        shards = default_inputs([])
    evaluating.rehearse(
        evaluating.Asked(targets.sets, shards, langs, model, models, options.data, options.split), env, rehearsal
    )
    return {}


eval = command("eval", Options, "TARGET", estimate=_estimate)(_eval)  # noqa: A001  a subcommand's object has the subcommand's name


def _opened(
    targets: _Targets, options: Options, langs: list[str], modes: Sequence[str], env: Env
) -> Iterable[NamedSet | ShardSet]:
    """Every set. Raises ``CapivaraError`` for missing data before a model is loaded."""
    from capivara_cli.evaluation import classnames
    from capivara_cli.evaluation.targets import NamedSet, Request, ShardSet

    classes, templates = classnames.read(options.classes, options.templates, langs)
    train = list(parsed(options, "train"))
    probes = any(mode != "zero-shot" for mode in modes)
    request = Request(langs, options.data, options.split, options.translator, classes, templates, probes, train)
    opened: list[NamedSet | ShardSet] = [NamedSet(spec, request, env) for spec in targets.sets]
    if targets.shards or not targets.sets:
        opened.insert(0, ShardSet(targets.shards, request, env))
    return opened


def sort_targets(inputs: Sequence[str], labels: str = "") -> _Targets:
    """Tell eval sets, shards and run folders apart. For an unknown name, raises an error that lists the sets."""
    from capivara_cli.evaluation import catalogue

    targets = _Targets([], [], [])
    known = [*catalogue.names(), *catalogue.groups()]
    for text in inputs:
        path = Path(text)
        if (path / "run.json").is_file():
            targets.runs.append(text.rstrip("/"))
        elif text.partition(":")[0].replace("_", "-") in known:
            targets.sets.extend(catalogue.expand(text, labels))
        elif (spec := catalogue.recognise(path)) is not None:
            targets.sets.append(spec)
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


def _contenders(runs: Sequence[str], options: Options, env: Env) -> list[Contender]:
    """The models, first ``--model``, with which the others are compared."""
    from capivara_cli.evaluation.measure import Contender
    from capivara_cli.models.clip import load_once
    from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model

    named = [options.model] if options.model else [] if runs else [DEFAULT_MODEL]
    contenders = []
    for name in named:
        check_model(name, options.pretrained)
    for name in dict.fromkeys([*named, *runs]):
        pretrained = options.pretrained if name in named else ""
        clip = load_once(env, name, pretrained)
        folder = name if (Path(name) / "run.json").is_file() else ""
        contenders.append(Contender(f"{name}/{pretrained}" if pretrained else name, clip, folder))
    return contenders


def _warn_small(data: EvalData, ks: Sequence[int]) -> None:
    images = len(data.gallery.keys)
    if not data.gallery.captions:
        return
    if images < 2:
        raise CapivaraError(f"{data.name}: one image cannot be told from others", "evaluate on more images")
    if images <= max(ks):
        console.warn(f"{data.name}: only {images} images: R@{max(ks)} is meaningless, since every image is found")
