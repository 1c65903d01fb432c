"""Look at this machine: versions, devices, memory, caches, and what is ready without a network.

It downloads nothing and loads no weights. What is broken is named, and the rest is shown.

Examples:
    capivara doctor
    capivara doctor --json
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from capivara_cli import console
from capivara_cli.commands.doctoring import caches, extras, machine
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import COSTS
from capivara_cli.reports.tables import fitted

_SOME = 6


@dataclass(frozen=True)
class Options:
    """No options."""


@command("doctor", Options, "", settings=COSTS)
def doctor(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Print what is known of this machine."""
    from capivara_cli.commands.doctoring import ready

    sets, not_seen = _asked("eval sets", ready.evalsets, ([], []))
    found = {
        "versions": machine.versions(),
        "devices": _asked("devices", machine.devices, []),
        "memory": _asked("memory", machine.memory, {}),
        "disks": machine.disks(),
        "caches": caches.caches(),
        "ready": {
            "models": _asked("models", ready.models, []),
            "captioners": _asked("captioners", ready.captioners, []),
            "translators": _asked("translators", ready.translators, {}),
            "evalsets": sets,
            "evalsets_not_looked_at": not_seen,
        },
        "extras": extras.extras(),
    }
    if not env.json:
        console.print_result("\n".join(_page(found)))
    return found


def _asked(what: str, question: Callable[[], Any], default: Any) -> Any:
    """An answer; ``default``, with a warning, if anything is broken, because the rest must be shown."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001  broken libraries, plugins and caches may raise anything
        console.warn(f"{what}: {' '.join(f'{type(error).__name__}: {error}'.split())}")
        return default


def _page(found: dict[str, Any]) -> Iterator[str]:
    versions = found["versions"]
    yield f"capivara {versions['capivara']}, Python {versions['python']}, {versions['system']}"
    shown = {name: version or "not installed" for name, version in versions.items() if name in machine.LIBRARIES}
    yield _section("versions", ("library", "version"), shown.items())
    yield _section(
        "devices, the first is --device auto",
        ("device", "what it is", "free", "--precision auto"),
        ((each["device"], each["what"], console.size(each["free"]), each["precision"]) for each in found["devices"]),
    )
    memory = found["memory"]
    rows = [("memory", "", console.size(memory["free"]), console.size(memory["total"]))] if memory else []
    rows += [
        (each["what"], each["folder"], *map(console.size, (each["free"], each["total"]))) for each in found["disks"]
    ]
    yield _section("memory and disk", ("what", "folder", "free", "of"), rows)
    yield _section("caches", ("cache", "folder", "size", "what is in it"), map(_cache_row, found["caches"]))
    yield _section("ready without a network", ("what", "names"), _ready_rows(found["ready"]))
    yield _section(
        "extras, such as: pip install 'capivara[parquet]'",
        ("extra", "installed", "what it is for"),
        ((each["extra"], "yes" if each["installed"] else "no", each["what"]) for each in found["extras"]),
    )


def _section(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    listed = [*rows]
    return f"\n{title}\n{fitted.table(listed, header) if listed else 'unknown'}\n"


def _cache_row(each: caches.Cache) -> Sequence[str]:
    size = console.size(each["bytes"]) if each["complete"] else f"over {console.size(each['bytes'])}"
    parts = [f"{name} {console.size(amount)}" for name, amount in each["parts"].items()]
    return each["cache"], each["folder"], "" if each["problem"] else size, each["problem"] or _some(parts) or "nothing"


def _ready_rows(ready: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("models", "captioners"):
        yield f"--{kind[:-1]}", ", ".join(ready[kind])
    for name, pairs in ready["translators"].items():
        yield f"--translator {name}", _some(pairs, 12)
    yield "eval sets", ", ".join(ready["evalsets"])
    if ready["evalsets_not_looked_at"]:
        yield "not looked at", _some(ready["evalsets_not_looked_at"])


def _some(names: Sequence[str], most: int = _SOME) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
