"""Measure retrieval and zero-shot classification per language.

Each model is compared with the first.

Arguments:
    TARGET: eval sets (capivara list evalsets), shards with captions, folders in clip_benchmark's form or with a
        folder per class; and run folders, whose models are evaluated beside that of --model

Examples:
    capivara eval toy --model toy --lang pt,hi
    capivara eval runs/pt heldout/ --k 1,5
    capivara eval runs/pt xm3600 --lang pt,en --table results.csv
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
from capivara_cli.pipeline.option_kinds import Languages, Names, Ranks
from capivara_cli.pipeline.options import COSTS, MODEL, SPEED, opt, output, parsed
from capivara_cli.pipeline.source import DEFAULT_INPUT, default_inputs
from capivara_cli.shards.names import is_shard_name

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal
    from capivara_cli.evaluation.measure import Contender, EvalData
    from capivara_cli.evaluation.targets import NamedSet, ShardSet

_CLASSES, _QUERIES = "Classification", "Captions as queries"


@dataclass(frozen=True)
class Options:
    model: str = opt(
        "", "model to evaluate [default: xlm-roberta-base-ViT-B-32, or the runs]", reads="model", panel=MODEL
    )
    pretrained: str = opt("", "open_clip weights of --model", reads="model", panel=MODEL)
    lang: str = opt("all", "languages; all: those that have captions", kind=Languages("all", unlisted=True))
    data: str = opt("", "folder with your copy of an eval set", reads="files", metavar="DIR")
    split: str = opt("test", "split of an eval set")
    k: str = opt("1,5,10", "ranks k of recall at k", kind=Ranks())
    mode: str = opt(
        "zero-shot",
        "zero-shot, linear-probe, few-shot (5 classes × 5 images)",
        kind=Names(("zero-shot", "linear-probe", "few-shot"), "mode"),
        panel=_CLASSES,
    )
    train: str = opt(
        "", "shards to fit the linear probe on [default: the set's train split]", kind=Names(), reads="files",
        panel=_CLASSES, metavar="SHARDS",
    )  # fmt: skip
    classes: str = opt("", "class names: a line each, or JSON {lang: [names]}", reads="files", panel=_CLASSES,
                       metavar="FILE")  # fmt: skip
    templates: str = opt(
        "", "prompts with {} or {c}: a line each, or JSON {lang: [prompts]}", reads="files", panel=_CLASSES,
        metavar="FILE",
    )  # fmt: skip
    labels: str = opt(
        "", "paper: the Portuguese labels of the paper [default: corrected ones]", panel=_CLASSES,
        completes="paper",
    )  # fmt: skip
    prompt: str = opt("", "text around each caption, such as 'a photo of {}'", panel=_QUERIES)
    translate_queries: bool = opt(False, "translate captions and prompts into English first", panel=_QUERIES)
    translator: str = opt(
        "auto", "of queries, and of what a set lacks; auto: Argos", reads="translators", panel=_QUERIES,
        metavar="NAME",
    )  # fmt: skip
    table: str = output("", "also write the results to .csv, .md or .tex files", kind=Names())
    batch_size: int = opt(64, "images embedded at a time", min=1, panel=SPEED)

    def check(self) -> None:
        """Raise ``UsageError`` for wrong options, before a model is loaded."""
        from capivara_cli.reports.tables import files as table_files

        if self.translator != "auto":
            registry.check("translators", self.translator)
        if self.prompt and self.prompt.count("{}") != 1:
            raise UsageError(f"--prompt {self.prompt!r}: needs one {{}} in place of the caption", "'a photo of {}'")
        for path in self.table_files:
            table_files.check(path)

    @property
    def table_files(self) -> list[Path]:
        return [Path(name) for name in parsed(self, "table")]

    @property
    def ranks(self) -> list[int]:
        """The ranks k of recall at k, ascending."""
        return sorted(map(int, parsed(self, "k")))


@dataclass(frozen=True)
class _Targets:
    sets: list[str]
    shards: list[str]
    runs: list[str]


def _eval(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Measure every model on every set, print the tables, and write the results into the run folders."""
    _check_named(inputs)
    targets, ks, modes = sort_targets(inputs, options.labels), options.ranks, parsed(options, "mode")
    langs = _languages(options, targets)
    options.check()

    from capivara_cli.evaluation import compare
    from capivara_cli.evaluation.queries import Queries
    from capivara_cli.evaluation.results import EvalResults
    from capivara_cli.evaluation.set_translator import SetTranslator
    from capivara_cli.reports import eval_results
    from capivara_cli.reports.tables import files as table_files
    from capivara_cli.reports.tables import terminal
    from capivara_cli.reports.tables.table import doubtful_sets

    for run in [*targets.runs, *filter(None, [options.model])]:
        eval_results.read(Path(run))  # a damaged file is an error now, not after hours of evaluation
    _check_models(targets.runs, options, env)
    opened = _opened(targets, options, langs, modes, env)
    contenders = _contenders(targets.runs, options, env)
    # The cost of the evaluation is recorded in the first run folder.
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
    for warning in doubtful_sets(results.scored):
        console.warn(warning)
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

    _check_named(inputs)
    existing = [text for text in inputs if text not in rehearsal.runs and text not in rehearsal.outputs]
    planned = [text for text in inputs if text in rehearsal.runs]
    targets = sort_targets(existing, options.labels)
    langs = _languages(options, targets)
    options.check()
    shards = targets.shards + [text for text in inputs if text in rehearsal.outputs]
    runs = [*targets.runs, *planned]
    model = options.model or next((evaluating.base_of(run) for run in targets.runs), "") or DEFAULT_MODEL
    models = len(runs) + (bool(options.model) or not runs)
    if not shards and not targets.sets:
        shards = default_inputs([])
    evaluating.rehearse(
        evaluating.EvalRequest(
            targets.sets, shards, langs, model, models, options.data, options.split, bool(options.classes)
        ),
        env,
        rehearsal,
    )
    return {}


_command = command("eval", Options, "TARGET", estimate=_estimate, settings=("device", "seed", "max_failures", *COSTS))
eval = _command(_eval)  # noqa: A001  a subcommand's object has the subcommand's name


def _check_named(inputs: Sequence[str]) -> None:
    """Raise ``UsageError`` if no target is named, none comes through a pipe, and there is no folder ``shards``."""
    if default_inputs(inputs) == [DEFAULT_INPUT] and not Path(DEFAULT_INPUT).exists():
        raise UsageError(
            "eval: no target is named",
            "name a set (capivara list evalsets), shards or a run: capivara eval toy --model toy --lang en,pt",
        )


def _languages(options: Options, targets: _Targets) -> list[str]:
    """The codes of ``--lang``. Raises ``UsageError`` if an eval set would have to be translated into an unknown one."""
    try:
        return list(Languages("all", unlisted=not targets.sets).parse(options.lang))
    except CapivaraError as error:
        raise UsageError(f"--lang: {error.message}", error.hint) from error


def _opened(
    targets: _Targets, options: Options, langs: list[str], modes: Sequence[str], env: Env
) -> Iterable[NamedSet | ShardSet]:
    """Open every set. Raises ``CapivaraError`` for missing data, before a model is loaded."""
    from capivara_cli.evaluation import classnames
    from capivara_cli.evaluation.targets import EvalDataRequest, NamedSet, ShardSet

    classes, templates = classnames.read(options.classes, options.templates, langs)
    train = list(parsed(options, "train"))
    probes = any(mode != "zero-shot" for mode in modes)
    request = EvalDataRequest(langs, options.data, options.split, options.translator, classes, templates, probes, train)
    opened: list[NamedSet | ShardSet] = [NamedSet(spec, request, env) for spec in targets.sets]
    if targets.shards or not targets.sets:
        opened.insert(0, ShardSet(targets.shards, request, env))
    return opened


def open_targets(inputs: Sequence[str], options: Options, env: Env) -> None:
    """Open what a later command line evaluates on. Raises ``CapivaraError`` if data or a translator is missing."""
    targets = sort_targets(inputs, options.labels)
    if targets.sets or targets.shards:
        _opened(targets, options, _languages(options, targets), parsed(options, "mode"), env)


def sort_targets(inputs: Sequence[str], labels: str = "") -> _Targets:
    """Sort the targets into eval sets, shards and run folders. Raises ``CapivaraError`` for an unknown name."""
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
        elif path.exists() or text == "-" or any(mark in text for mark in "/\\*?[{") or is_shard_name(path.name):
            targets.shards.append(text)
        else:
            raise unknown("eval set", text, known, "a target may also be a folder of shards, a .tar, or a run folder")
    return targets


def _models(runs: Sequence[str], options: Options) -> dict[str, str]:
    """The name of each model -> its ``--pretrained``. The first is that of ``--model``, if it is given."""
    named = options.model or ("" if runs else DEFAULT_MODEL)
    return {**({named: options.pretrained} if named else {}), **{run: "" for run in runs if run != named}}


def _check_models(runs: Sequence[str], options: Options, env: Env) -> None:
    """Raise ``CapivaraError`` for a model that cannot be loaded, before the data is read."""
    from capivara_cli.models.clip_files import check_name

    for name, pretrained in _models(runs, options).items():
        if not any(key[:3] == ("clip", name, pretrained) for key in env.models):
            check_name(name, pretrained)


def _contenders(runs: Sequence[str], options: Options, env: Env) -> list[Contender]:
    """The models; the others are compared with the first."""
    from capivara_cli.evaluation.measure import Contender
    from capivara_cli.models.clip import load_once
    from capivara_cli.models.clip_files import check_model

    models, contenders = _models(runs, options), []
    for name, pretrained in models.items():
        check_model(name, pretrained)
    for name, pretrained in models.items():
        clip = load_once(env, name, pretrained)
        folder = name if (Path(name) / "run.json").is_file() else ""
        contenders.append(Contender(f"{name}/{pretrained}" if pretrained else name, clip, folder))
    return contenders


def _warn_small(data: EvalData, ks: Sequence[int]) -> None:
    images = len(data.gallery.keys)
    if not data.gallery.captions:
        return
    if images < 2:
        raise CapivaraError(f"{data.name}: retrieval needs more than one image", "evaluate on more images")
    if images <= max(ks):
        console.warn(f"{data.name}: only {images} images: R@{max(ks)} is meaningless, since every image is found")
