"""Write docs/api.md and the types of keywords from the library: python docs/make_api.py. A test compares them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import capivara_cli
from capivara_cli.library import commands, stages
from capivara_cli.library._options import Keywords

ROOT = Path(__file__).parents[1]
TYPES = ROOT / "capivara_cli" / "library" / "keywords.py"
HEAD = """# Library

Generated from the docstrings by `python docs/make_api.py`. [A notebook](notebooks/library.ipynb) shows it at work.

    import capivara_cli as capivara

- A stage is a function over samples: shards, other stages, or any iterable of `Sample`. Nothing is computed before the
  samples are asked for. `write` writes what `capivara run` would write, byte for byte.
- Options are the keywords of the functions. They are checked as on the command line, when the function is called. Where
  the command line takes a list with commas, a list is possible too: `lang=["pt", "en"]`.
- Calls print nothing, unless `progress=True`, and then on standard error. They may be made in any thread. They set no
  environment variable and no signal handler (`train` delays Ctrl-C to the end of a step).
- Errors are `CapivaraError`: `str(error)` says what happened, `error.hint` what to try. `UsageError` is one for wrong
  options. Errors of the operating system, such as a full disk, are `OSError`.
- The functions have types: mypy and editors know every keyword.
"""
ORDER = (
    "read", "Shards", "Sample", "Caption", "pack", "caption", "translate", "rewrite", "filter", "dedupe", "split",
    "Pipeline", "write", "load", "Model", "train", "Run", "evaluate", "Evaluation", "adapt", "export", "search",
    "FoundImage", "footprint", "FootprintTable", "webdataset", "CapivaraError", "UsageError",
)  # fmt: skip
_INTERNAL = {
    "Shards.opened", "Shards.shards", "Pipeline.opened", "Pipeline.shards", "Pipeline.flags", "Pipeline.count",
    "Caption.from_json", "Caption.to_json", "Caption.edited_text", "FoundImage.of",
}  # fmt: skip
"""Members for capivara itself."""
TYPES_HEAD = '''"""The keywords of functions, for type checkers. Generated from the options by docs/make_api.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from capivara_cli.library.sources import StrPath
'''


def page() -> str:
    """The page of all public names."""
    return "\n".join([HEAD, *(section(name) for name in ORDER)])


def section(name: str) -> str:
    found = getattr(capivara_cli, name)
    parts = [f"## {name}\n", text_of(found)]
    if inspect.isclass(found) and not issubclass(found, Exception):
        parts += [f"### {name}.{each}{shown(member)}\n\n{text_of(member)}" for each, member in members(found)]
    elif not inspect.isclass(found):
        parts.insert(1, f"    capivara.{name}{shown_signature(found)}\n")
    return "\n".join(parts)


def members(cls: type) -> list[tuple[str, Any]]:
    """The public methods and properties of a class that have a docstring, in the order of the source."""
    found = {name: each for name, each in vars(cls).items() if not name.startswith("_")}
    found = {name: each for name, each in found.items() if f"{cls.__name__}.{name}" not in _INTERNAL}
    return [(name, each) for name, each in found.items() if callable_with_docs(each)]


def callable_with_docs(member: object) -> bool:
    member = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    return (isinstance(member, property) or inspect.isfunction(member)) and bool(member.__doc__)


def shown(member: Any) -> str:
    """The parameters of a method, "" for a property."""
    if isinstance(member, property):
        return ""
    signature = shown_signature(getattr(member, "__func__", member))
    return re.sub(r"\((self|cls)(, )?", "(", signature, count=1)


def text_of(member: Any) -> str:
    """The docstring in Markdown: examples and lists become blocks of their own."""
    text = plain(inspect.getdoc(member) or "")
    lines: list[str] = []
    example = False
    for line in text.split("\n"):
        starts = line.startswith(">>>")
        if starts and not example:
            lines.append("```python")
        if example and not line:
            lines.append("```")
        example = (example or starts) and bool(line)
        lines.append(line)
    return "\n".join([*lines, "```"] if example else lines).rstrip() + "\n"


def plain(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)


def shown_signature(function: Any) -> str:
    """The parameters of a function without their types: the options have a list of their own."""
    given: Keywords | None = getattr(function, "__keywords__", None)
    hidden = {*given.fields, "progress"} if given else set()
    names = []
    for each in inspect.signature(function).parameters.values():
        if each.name in hidden:
            continue
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            names.append(f"**{each.name}")
            continue
        if each.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(each.name if each.default is inspect.Parameter.empty else f"{each.name}={each.default!r}")
    return f"({', '.join([*names, *['**options'] * bool(given)])})"


def types() -> str:
    """The module with a ``TypedDict`` per command."""
    found = {
        id(each): each for module in (stages, commands) for each in vars(module).values() if isinstance(each, Keywords)
    }
    classes = []
    for each in found.values():
        fields = [f"    {one.name}: {one.annotation}" for one in each.parameters()]
        classes.append("\n".join([f"class {each.command.title()}Keywords(TypedDict, total=False):", *fields, ""]))
    return "\n\n".join([TYPES_HEAD, *classes])


if __name__ == "__main__":
    TYPES.write_text(types(), "utf-8")
    (ROOT / "docs" / "api.md").write_text(page(), "utf-8")
