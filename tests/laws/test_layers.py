"""The packages stand in strict order, no files import each other in circles, and importing is free."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.made import ROOT

from capivara_cli.registry import command_names

PACKAGE = ROOT / "capivara_cli"
ORDER = [
    "__init__", "errors terminal urls", "console", "entry_points", "plugin_errors", "registry toy", "storage", "languages", "shards", "costs", "pipeline", "models",
    "evaluation", "training", "plugins", "stages", "reports", "cli", "commands", "library", "__main__",
]  # fmt: skip
"""A package imports only those before it. ``__main__`` starts ``cli``."""
FLOORS = {package: floor for floor, packages in enumerate(ORDER) for package in packages.split()}
IMPORTLIB = {"__init__.py", "registry.py", "entry_points.py", "pipeline/workers/job.py", "shards/images.py"}
"""The files that may import by name: public names, commands and plugins, what a job names, and Pillow's plugins."""
HEAVY = {
    "torch", "transformers", "open_clip", "peft", "argostranslate", "codecarbon", "numpy", "PIL", "rich", "webdataset",
    "ctranslate2", "sentencepiece", "huggingface_hub", "fsspec",
}  # fmt: skip
PUBLIC = "__init__"
"""The package itself hands on the names of the library: for type checkers by imports, otherwise when they are used."""
Edge = tuple[str, str]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def module_name(path: Path, root: Path) -> str:
    """``root/storage/files.py`` -> "storage.files"; of an ``__init__.py`` that of its folder."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def edges(root: Path) -> Iterator[Edge]:
    """(module, imported module) for every import in the package, those in functions and for type checkers included."""
    paths = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    prefix = "capivara_cli."
    for module, path in paths.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative import"
                named = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in (each.removeprefix(prefix) for each in named if each.startswith(prefix)):
                found = next((each for each in (name, name.rpartition(".")[0]) if each in paths), None)
                if found is not None and found != module:
                    yield module, found


def package(module: str) -> str:
    return module.partition(".")[0]


def upward(found: list[Edge]) -> list[Edge]:
    """The imports of a package that is not below the importing one."""
    between = [(one, other) for one, other in found if package(one) != package(other)]
    return [(one, other) for one, other in between if FLOORS[package(other)] >= FLOORS[package(one)] and one != PUBLIC]


def circles(found: list[Edge]) -> list[list[str]]:
    """One circle of each package that has any."""
    inside: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one, other in found:
        if package(one) == package(other):
            inside[package(one)][one].add(other)
    result = []
    for graph in inside.values():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            result.append(error.args[1])
    return result


def trespassing(found: list[Edge]) -> list[Edge]:
    """Imports of ``folder/_name`` from outside: only its folder, and the stage or command beside that, may."""
    result = []
    for one, other in found:
        folder, _, name = other.rpartition(".")
        beside = one.rpartition(".")[0] == folder.rpartition(".")[0]
        if name.startswith("_") and not one.startswith(f"{folder}.") and one != folder and not beside:
            result.append((one, other))
    return result


def sideways(found: list[Edge]) -> list[Edge]:
    """Imports between two stages, two commands, or of the folder beside another one's stage or command."""
    folders: dict[str, set[str]] = defaultdict(set)
    for one, other in found:
        if package(one) == package(other) and package(one) in {"stages", "commands"} and one.count(".") == 1:
            if other.count(".") == 1:
                return [(one, other)]
            folders[other.rpartition(".")[0]].add(one)
    return [(min(users), folder) for folder, users in folders.items() if len(users) > 1]


def test_a_package_imports_only_packages_below_it() -> None:
    assert upward(list(edges(PACKAGE))) == []


def test_no_circles_inside_a_package() -> None:
    assert circles(list(edges(PACKAGE))) == []


def test_a_private_module_stays_in_its_folder() -> None:
    assert trespassing(list(edges(PACKAGE))) == []


def test_the_folder_beside_a_stage_or_command_is_its_own() -> None:
    assert sideways(list(edges(PACKAGE))) == []


def test_modules_are_imported_by_name_in_few_places() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and node.attr in {"import_module", "__import__"}:
                found.add(str(path.relative_to(PACKAGE)))
    assert found == IMPORTLIB


@pytest.mark.parametrize(
    ("check", "planted"),
    [
        (upward, {"storage/files.py": "from capivara_cli.shards import tar"}),
        (upward, {"models/clip.py": "def f():\n    from capivara_cli.training import loop"}),
        (upward, {"stages/caption.py": "if TYPE_CHECKING:\n    from capivara_cli.cli.app import main"}),
        (circles, {"shards/tar.py": "import capivara_cli.shards.sample", "shards/sample.py": "def f():\n    from capivara_cli.shards import tar"}),
        (trespassing, {"commands/list.py": "from capivara_cli.stages.translators._package import read"}),
        (sideways, {"stages/rewrite.py": "from capivara_cli.stages import translate"}),
        (sideways, {"stages/rewrite.py": "from capivara_cli.stages.translators import argos", "stages/translate.py": "from capivara_cli.stages.translators import argos"}),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(check, planted: dict[str, str], tmp_path: Path) -> None:
    for name in ("storage/files", "shards/tar", "shards/sample", "models/clip", "training/loop", "cli/app",
                 "stages/caption", "stages/rewrite", "stages/translate", "stages/translators/_package",
                 "stages/translators/argos", "commands/list"):  # fmt: skip
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(planted.get(f"{name}.py", ""))
    assert check(list(edges(tmp_path)))


@pytest.mark.parametrize("kind", ["stages", "commands"])
def test_stages_and_commands_import_nothing_heavy_at_the_top(kind: str) -> None:
    names = [f"capivara_cli.{kind}.{path.stem}" for path in (PACKAGE / kind).glob("*.py")]
    code = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_the_program_starts_without_anything_heavy() -> None:
    code = "import sys, capivara_cli.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_the_help_of_every_command_imports_nothing_heavy() -> None:
    code = """
import contextlib, sys
from capivara_cli.cli.app import main
for name in sys.argv[1:]:
    with contextlib.suppress(SystemExit):
        main([name, "--help"])
print(*sys.modules, file=sys.stderr)"""
    names = sorted(command_names())
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    for name in names:
        assert f"Usage: capivara {name} " in done.stdout
    slow = HEAVY - {"rich"} | {"typer", "pydantic", "rich.markdown", "rich.traceback"}
    assert slow & set(done.stderr.split()) == set()
