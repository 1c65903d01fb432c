"""The contracts of commands, exporters and engines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from capivara_cli import console, plugin_errors, registry
from capivara_cli.commands.checking.points import Subject
from capivara_cli.commands.checking.samples import help_page, toy_samples
from capivara_cli.models.run_folder import open_run
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.archive import ShardWriter


def check_command(subject: Subject, plugin: Any) -> None:
    """A command: its options and help. It is not run, because it may do anything."""
    subject.needs("options", lambda: registry.load_command(subject.name))
    subject.holds("--help", lambda: help_page(subject))
    subject.skips("its function", "it may do anything")


def check_exporter(subject: Subject, plugin: Any) -> None:
    """An exporter: what it writes of a run."""

    def write() -> str:
        if not callable(plugin.write):
            raise subject.objects("'write' is not a function")
        return ""

    if not subject.holds("write", write):
        return
    if not subject.example:
        subject.skips("an export", "name a run with --example")
        return

    def export() -> str:
        with tempfile.TemporaryDirectory() as place:
            folder, final = Path(place, "partial"), Path(place, "final")
            folder.mkdir()
            line = plugin.write(open_run(Path(subject.example)), folder, final)
            if not isinstance(line, str) or not line.strip():
                raise subject.objects(f"write returned {plugin_errors.shown(line)}, not how to load the export")
            count = sum(path.is_file() for path in folder.rglob("*"))
            if not count or final.exists():
                raise subject.objects("write did not fill the folder that it was given")
            return f"{count} files"

    subject.holds("an export", export)


def check_engine(subject: Subject, plugin: Any) -> None:
    """An engine: whether it writes the same shards as this process."""
    loaded = subject.needs("load", lambda: subject.guarded(plugin.load(subject.variant)))

    def has_run() -> str:
        if not callable(loaded.run):
            raise subject.objects("'run' is not a function")
        return ""

    if subject.holds("run", has_run):
        subject.holds("2 shards", lambda: _same_shards(subject))


def _same_shards(subject: Subject) -> str:
    """Split two shards of toy samples, by the engine and in this process."""
    split = registry.load_command("split")
    samples = toy_samples()
    with tempfile.TemporaryDirectory() as place, console.quiet():
        shards = Path(place, "shards")
        shards.mkdir()
        for number, part in enumerate((samples[:4], samples[4:])):
            with open(shards / f"{number:05d}.tar", "wb") as file:
                writer = ShardWriter(file, [])
                for sample in part:
                    writer.write(sample)
                writer.finish()
        written: list[dict[str, bytes]] = []
        for name in ("local", subject.spec):
            settings = Settings(out=f"{place}/{len(written)}", engine=name, energy=False, quiet=True)
            engine.run([Step(split, split.options())], [str(shards)], settings, None)
            written.append({path.name: path.read_bytes() for path in Path(settings.out).glob("*.tar")})
    if written[0] != written[1]:
        raise subject.objects(f"wrote {len(written[1])} shards, not the {len(written[0])} that this process writes")
    return "the same as in this process"
