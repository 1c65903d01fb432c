"""The package of docs/extending.md, installed as pip would: its files, and metadata with the entry points."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from support.made import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")


def files() -> dict[str, str]:
    """Every Python file of the page by its path."""
    return dict(re.findall(r"`(my_plugins/\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))


def project() -> dict[str, dict[str, str]]:
    """The group of each kind without "capivara.", with its entry points, as pyproject.toml on the page has them."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    groups = tomllib.loads(text)["project"]["entry-points"]
    return {group.removeprefix("capivara."): entries for group, entries in groups.items()}


def install(site: Path) -> None:
    """Write the package and its metadata into a folder for the import path."""
    (site / "my_plugins").mkdir(parents=True)
    (site / "my_plugins" / "__init__.py").touch()
    for path, code in files().items():
        (site / path).write_text(code, "utf-8")
    metadata = site / "my_plugins-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugins\nVersion: 0.1.0\n")
    lines = []
    for kind, entries in project().items():
        lines += [f"[capivara.{kind}]", *(f"{name} = {module}" for name, module in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
