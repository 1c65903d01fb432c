"""Importing is free, and lower layers do not know higher ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "capivara_cli"

HEAVY = {
    "torch", "transformers", "open_clip", "peft", "argostranslate", "codecarbon", "numpy", "PIL", "rich", "webdataset",
    "ctranslate2", "sentencepiece", "huggingface_hub", "fsspec",
}  # fmt: skip

LAYERS = [
    {
        "errors",
        "sample",
        "languages",
        "images",
        "console",
        "tar",
        "__init__",
        "similarity",
        "embedding",
        "overview",
        "generation",
        "cleaning",
        "guards",
        "identification",
        "cache",
        "urls",
        "files",
        "translation_memory",
        "scripts",
    },
    {
        "shards",
        "remote",
        "stage",
        "journal",
        "endpoint",
        "command",
        "plugins",
        "runs",
        "energy",
        "ledger",
        "ongoing",
        "engine",
        "chain",
        "fingerprint",
        "hub",
        "weights",
        "pretrained",
        "page",
        "markdown",
        "passes",
        "shared_folder",
        "sharing",
        "shares",
        "worker",
        "jobs",
    },
    {
        "options",
        "perform",
        "recipes",
        "estimating",
        "clip",
        "precision",
        "building",
        "mclip",
        "decoding",
        "packing",
        "toy",
        "training",
        "evaluation",
        "model_card",
        "reporting",
        "searching",
        "typed",
        "pixels",
        "deduplication",
        "filtering",
    },
    {"captioners", "translators", "rewriters", "importers", "evalsets", "exporters", "engines", "stages", "commands"},
    {"cli", "__main__"},
]


def layer(module: str) -> int:
    name = module.removeprefix("capivara_cli").strip(".").split(".")[0] or "__init__"
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imports(path: Path, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "capivara_cli"}
            found |= {node.module} - {"capivara_cli"}
    return found


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "build" not in path.parts]


def test_every_module_has_a_layer() -> None:
    for path in modules():
        assert layer(".".join(path.relative_to(PACKAGE).with_suffix("").parts)) >= 0, path


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_its_own_layer_or_lower_ones(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    own = layer(".".join(parts))
    for imported in imports(path, top_level_only=False):
        if imported.startswith("capivara_cli.") and not imported.startswith("capivara_cli.__"):
            assert layer(imported) <= own, imported
            if parts[0] in {"stages", "commands"}:
                assert imported.split(".")[1] not in {"stages", "commands"}, f"sideways: {imported}"


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
