"""The contracts of plugins that make or change samples: importers, eval sets, stages."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from capivara_cli import languages, plugin_errors, registry
from capivara_cli.commands.checking.points import Subject
from capivara_cli.errors import BadSample
from capivara_cli.evaluation import catalogue
from capivara_cli.evaluation.evalset import EvalSet, check_names, check_templates
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Sample

_TOY = "toy:8"
_MOST = 50


def toy_samples() -> list[Sample]:
    """Eight samples of the toy world."""
    return list(registry.module("importers", "toy").read(Path(_TOY), None, Env(Settings(), "pack")))


def check_importer(subject: Subject, plugin: Any) -> None:
    """An importer: what it recognises, and the samples of an example."""

    def recognise(path: Path) -> str:
        found = plugin.recognise(path)
        if not isinstance(found, bool):
            raise subject.objects(f"recognise returned {plugin_errors.shown(found)}, not True or False")
        return "yes" if found else "no"

    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.txt")
        empty.touch()
        subject.holds("recognise: a missing file", lambda: recognise(Path(folder, "missing")))
        subject.holds("recognise: an empty file", lambda: recognise(empty))
        subject.holds("recognise: a folder", lambda: recognise(Path(folder)))
    subject.holds("read", lambda: _callable(subject, plugin, "read"))
    if not subject.example:
        subject.skips("samples", "name a source with --example")
        return

    def recognised() -> str:
        if recognise(Path(subject.example)) != "yes":
            raise subject.objects(f"does not recognise {subject.example}")
        return subject.example

    subject.holds("recognise: the example", recognised)
    subject.holds("samples", lambda: _packed(subject))


def _packed(subject: Subject) -> str:
    """Pack the example: the stage compares what is read, yielded and dropped."""
    pack, env = registry.load_command("pack"), Env(Settings(), "pack")
    env.inputs = [subject.example]
    options = build(pack.options, format=subject.name)
    pack.check(options)
    keys = [sample.key for sample in itertools.islice(pack.run(iter(()), options, env), _MOST)]
    if not keys:
        raise subject.objects(f"no samples; dropped: {', '.join(env.tally.dropped) or 'none'}")
    if len(set(keys)) < len(keys):
        raise subject.objects(f"the key {max(keys, key=keys.count)!r} is not that of one sample")
    return f"{len(keys)}, dropped {env.tally.dropped.total()}"


def _callable(subject: Subject, plugin: Any, name: str) -> str:
    if not callable(getattr(plugin, name, None)):
        raise subject.objects(f"has no function {name!r}")
    return ""


def check_evalset(subject: Subject, plugin: Any) -> None:
    """An eval set: its languages, and their samples."""
    codes = subject.needs("languages", lambda: _codes(subject), ", ".join)
    keys: dict[str, list[str]] = {}
    for code in [subject.lang] if subject.lang else codes[:3]:
        found = subject.needs(f"load {code}", lambda code=code: _loaded(subject, code))  # type: ignore[misc]
        subject.holds(f"classes in {code}", lambda found=found: _classes(found))  # type: ignore[misc]
        subject.holds(f"samples in {code}", lambda found=found: _samples(subject, found, keys))  # type: ignore[misc]


def _codes(subject: Subject) -> list[str]:
    found = list(catalogue.languages(subject.spec))
    for code in found:
        languages.get(code)
    return found


def _loaded(subject: Subject, code: str) -> EvalSet:
    env = Env(Settings(), "eval")
    return catalogue.load(subject.spec, lang=code, data=subject.example, split="test", env=env)


def _classes(found: EvalSet) -> str:
    if found.classes:
        check_names(found.classes, found.name)
        check_templates(found.templates, found.name)
    return f"{len(found.classes)}"


def _samples(subject: Subject, found: EvalSet, keys: dict[str, list[str]]) -> str:
    samples = list(itertools.islice(found.samples, _MOST))
    if not samples:
        raise subject.objects("no samples")
    for sample in samples:
        try:
            decode_image(sample)
            _check_answer(subject, sample, found)
        except BadSample as error:
            raise subject.objects(f"sample {sample.key!r}: {error.reason}") from error
    keys[found.lang] = [sample.key for sample in samples]
    first = next(iter(keys))
    if keys[found.lang] != keys[first]:
        raise subject.objects(f"other images than in {first}, or in another order")
    return f"{len(samples)}" + " or more" * (len(samples) == _MOST)


def _check_answer(subject: Subject, sample: Sample, found: EvalSet) -> None:
    """Raise an error for a sample without a caption in the language and without a class."""
    has_caption = any(languages.code_of(each.lang) == found.lang for each in sample.captions)
    number = sample.members.get("cls", b"").decode("ascii", "replace").strip()
    count = len(found.classes) + found.unnamed
    if number and found.classes and not (number.isdecimal() and (found.class_ids or int(number) < count)):
        raise subject.objects(f"sample {sample.key!r}: class {number} of {count}")
    if not has_caption and not number and "classes" not in sample.document:
        raise subject.objects(f"sample {sample.key!r} has neither a caption in {found.lang} nor a class")


def check_stage(subject: Subject, plugin: Any) -> None:
    """A stage: its options and help, and what it does with samples."""
    from capivara_cli.cli.parameters import parse_step

    stage = subject.needs("options", lambda: registry.load_command(subject.name), lambda _: "")
    subject.holds("--help", lambda: help_page(subject))
    step = subject.needs("in a plan", lambda: parse_step([subject.name, *subject.words], subject.name))
    subject.holds("check of its options", lambda: stage.check(step.options))
    if stage.begins:
        subject.skips("samples", "it begins a stream")
        return
    samples = toy_samples()
    yielded = subject.needs("8 samples", lambda: _run(step, samples), lambda found: f"{len(found)} yielded")

    def again() -> str:
        if _run(step, samples) != yielded:
            raise subject.objects("other samples when it ran again")
        return "the same samples"

    def damaged() -> str:
        env = Env(Settings(), subject.name)
        _run(step, [samples[0], Sample("damaged", {"json": b"{"})], env)
        return next(iter(env.tally.dropped), "yielded")

    subject.holds("run again", again)
    subject.holds("no samples", lambda: f"{len(_run(step, []))} yielded")
    subject.holds("a damaged sample", damaged)


def _run(step: Step, samples: list[Sample], env: Env | None = None) -> list[Sample]:
    return list(step.stage.run(iter(samples), step.options, env or Env(Settings(), step.name)))


def help_page(subject: Subject) -> str:
    """Make the help of a stage or command; returns its first line."""
    from capivara_cli.cli import command_help

    page = command_help.page(subject.name, registry.load_command(subject.name))
    return page.strip().splitlines()[0]
