"""The points of every kind: how the plugin is installed, what it is called, and what its import costs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from capivara_cli import registry
from capivara_cli.commands.checking.points import Subject

HEAVY = (
    "torch", "transformers", "open_clip", "peft", "tensorflow", "jax", "argostranslate", "ctranslate2", "numpy", "PIL",
    "pandas", "scipy", "sklearn", "huggingface_hub", "datasets",
)  # fmt: skip
ASKED_EARLY = ("stages", "commands", "translators", "importers", "evalsets")
"""Kinds that are imported before there is work for them: for ``--help``, ``list`` or to recognise a source."""
_LONGEST = 120
_IMPORT = "import sys, importlib, capivara_cli.plugins; importlib.import_module(sys.argv[1]); print(*sys.modules)"


def check_installed(subject: Subject) -> Any:
    """Try the points of every kind, and return the plugin's module. Raises ``Stopped`` if it cannot be imported."""
    module = registry.source_of(subject.kind, subject.name)
    if subject.origin.package:
        subject.passes("installed", f"{subject.origin.package}, {module}")
    else:
        subject.fails("installed", f"{module}: the package has no metadata with its name and version")
    _check_name(subject)
    about = registry.describe(subject.kind, subject.name)
    if about == f"from {module}":
        subject.fails("docstring", "none: its first line is the listing in capivara list")
    elif len(about) > _LONGEST:
        subject.fails("docstring", f"the first line has {len(about)} characters, more than {_LONGEST}")
    else:
        subject.passes("docstring", about)
    plugin = subject.needs("import", lambda: registry.module(subject.kind, subject.name))
    if subject.kind in ASKED_EARLY:
        _check_import(subject, module.partition(":")[0])
    return subject.guarded(plugin)


def _check_name(subject: Subject) -> None:
    if clash := registry.clash(subject.kind, subject.name):
        subject.fails("name", clash)
    elif not subject.name.replace("-", "").replace("_", "").isalnum() or subject.name[0] in "-_":
        subject.fails("name", f"{subject.name!r} has other characters than letters, digits, - and _")
    else:
        subject.passes("name", "is free")


def _check_import(subject: Subject, module: str) -> None:
    """Import the module in a process of its own, and look for slow modules that came with it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", _IMPORT, module], capture_output=True, text=True, env=environment)
    slow = [name for name in HEAVY if name in done.stdout.split()]
    if done.returncode:
        subject.fails("import alone", (done.stderr.strip().splitlines() or ["failed"])[-1])
    elif slow:
        subject.fails("import alone", f"imports {', '.join(slow)}: do so in the function that needs it")
    else:
        subject.passes("import alone", "nothing slow")
