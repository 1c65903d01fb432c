"""Options of commands as dataclass fields: each field has its default, help and bounds.

Fields that belong together form a group: a frozen dataclass of their own, which is one field of the command's
dataclass. The command line, histories and ``run.json`` have the options of all groups as one flat list. Only
``option_fields`` and the functions beside it treat groups differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeVar, get_type_hints

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.option_kinds import Devices


class OptionKind(Protocol):
    """Parses the text of an option, see ``option_kinds``. ``parse`` raises ``CapivaraError`` for an invalid text.

    ``separator`` joins the values of an option that is given several times; "" if it may be given once only.
    """

    @property
    def separator(self) -> str: ...

    def parse(self, text: str, /) -> tuple[str, ...]: ...


T = TypeVar("T")

WORK = "What it does"
MODEL = "Model"
SELECTION = "Selection"
RESULTS = "Where results go"
SPEED = "Speed and memory"
SERVICES = "Services"
MACHINES = "Several processes and machines"
COST = "Energy and carbon"
GENERAL = "General"
LAST_PANELS = (SPEED, SERVICES, RESULTS, MACHINES, COST, GENERAL)
"""The panels that ``--help`` shows last, in this order."""


def opt(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    metavar: str = "",
    envvar: str = "",
    tuning: bool = False,
    kind: OptionKind | None = None,
    reads: Literal["", "files", "images", "model", "captioners", "rewriters", "translators"] = "",
    panel: str = "",
    short: str = "",
    completes: str = "",
) -> Any:
    """A field of an options dataclass with its default, help and bounds; its name is the flag.

    ``tuning`` marks an option that changes speed or memory, but not results: it may differ when a run is resumed.
    ``kind`` parses a text that holds a list: the field has the text, and ``parsed`` returns the list. ``reads`` marks
    an option whose value may name files, so that a run resumes only with the same contents and nothing is written over
    them: "files" is a comma-separated list of paths, globs or brace patterns, "images" the same for images whose
    contents are looked at elsewhere, "model" a path or NAME:PATH; a kind of plugin is NAME or NAME:PATH, so that a run
    resumes only with the same version of a plugin of another package.

    ``panel`` is the title under which ``--help`` shows it; "" for the panel of its group, or ``WORK``. ``short`` is a
    letter for a short flag. ``completes`` says what the shell completes, see ``cli.completion``; "" for what ``reads``
    and ``kind`` say.
    """
    metadata = {
        "help": help, "min": min, "max": max, "metavar": metavar, "envvar": envvar, "tuning": tuning, "kind": kind,
        "reads": reads, "panel": panel, "short": short, "completes": completes,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


def output(
    default: str, help: str, *, envvar: str = "", kind: OptionKind | None = None, panel: str = RESULTS
) -> Any:  # fmt: skip
    """A field of an options dataclass that names files which the command writes, see ``cli.outputs``."""
    option = opt(default, help, envvar=envvar, kind=kind, metavar="FILE", panel=panel)
    return field(default=default, metadata={**option.metadata, "output": True})


def group(kind: type, title: str = "") -> Any:
    """A field for a group of options, an instance of the dataclass ``kind``; each field of that is a flag.

    ``title`` is the panel of ``--help`` for those that name no other.
    """
    return field(default_factory=kind, metadata={"group": kind, "panel": title})


def option_fields(options: Any) -> Iterator[Field[Any]]:
    """Yield the fields of an options dataclass or of an instance, in order; a group is replaced by its fields."""
    for each in fields(options):
        if kind := each.metadata.get("group"):
            yield from option_fields(kind)
        else:
            yield each


def option_types(options: type) -> dict[str, Any]:
    """The type of each option by its field's name, in the order of ``option_fields``."""
    found: dict[str, Any] = {}
    hints = get_type_hints(options)
    for each in fields(options):
        kind = each.metadata.get("group")
        found |= option_types(kind) if kind else {each.name: hints[each.name]}
    return found


def option_panels(options: type, title: str = WORK) -> dict[str, str]:
    """The panel of ``--help`` of each option by its field's name; ``title`` for those that name none."""
    found: dict[str, str] = {}
    for each in fields(options):
        panel = each.metadata.get("panel") or title
        kind = each.metadata.get("group")
        found |= option_panels(kind, panel) if kind else {each.name: panel}
    return found


def option_values(options: Any) -> dict[str, Any]:
    """The value of each option by its field's name, in the order of ``option_fields``."""
    found: dict[str, Any] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        found |= option_values(value) if each.metadata.get("group") else {each.name: value}
    return found


def build(options: type[T], **values: Any) -> T:
    """An instance of an options dataclass from values by field name; other options get their default.

    Raises ``TypeError`` for a name that is no option.
    """
    own, inside = _by_group(options, values)
    return options(**own, **{name: build(kind, **inner) for name, (kind, inner) in inside.items()})


def changed(options: T, **values: Any) -> T:
    """A copy of the options with other values by field name, in whichever group a field is."""
    own, inside = _by_group(options, values)
    groups = {name: changed(getattr(options, name), **inner) for name, (_, inner) in inside.items() if inner}
    return replace(options, **own, **groups)  # type: ignore[type-var]


def _by_group(options: Any, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[type, dict[str, Any]]]]:
    """Split values by field name: those of the dataclass's own fields, and for each group its class and values."""
    own, inside = dict(values), {}
    for each in fields(options):
        if kind := each.metadata.get("group"):
            names = [inner.name for inner in option_fields(kind)]
            inside[each.name] = (kind, {name: own.pop(name) for name in names if name in own})
    return own, inside


def parsed(options: Any, name: str) -> tuple[str, ...]:
    """The list that an option holds, parsed by its kind; () for an empty text if that is the default.

    Raises ``UsageError``, with the flag in its message.
    """
    each = next(each for each in option_fields(options) if each.name == name)
    text = option_values(options)[name]
    if text == each.default == "":
        return ()
    try:
        return each.metadata["kind"].parse(text)  # type: ignore[no-any-return]
    except CapivaraError as error:
        raise UsageError(f"{flag_of(name)}: {error.message}", error.hint) from error


COSTS = ("energy", "country", "region", "intensity", "ledger")
"""The shared options of a command whose cost is recorded."""
SHARDING = ("rejects", "workers", "share", "engine", "address", "gpus_per_worker")
"""The shared options of a command that works on shards one by one."""
_ALWAYS = ("quiet", "verbose", "summary")


@dataclass(frozen=True)
class Settings:
    """The options that commands share; each command declares which of them it has. Only the seed changes samples."""

    out: str = opt(
        "", "folder for the result [default: <input>-<stage>/, a stream in a pipe]",
        short="o", metavar="DIR", panel=RESULTS,
    )  # fmt: skip
    device: str = opt(
        "auto", "auto, cpu, cuda, cuda:1, mps …", kind=Devices(), panel=MODEL, metavar="DEVICE", completes="devices"
    )
    seed: int = opt(0, "seed of everything random", min=0, panel=WORK)
    overwrite: bool = opt(False, "replace another result there; files of others are never deleted", panel=RESULTS)
    rejects: str = opt("", "folder for dropped samples, with the reason", metavar="DIR", panel=RESULTS)
    workers: int = opt(1, "processes on this machine that share the shards", min=1, panel=MACHINES)
    share: str = opt(
        "", "every Nth shard, from the Ith [default: RANK/WORLD_SIZE, or Slurm's]", metavar="I/N", panel=MACHINES
    )
    engine: str = opt("local", "what starts the workers: local, ray", panel=MACHINES, completes="engines")
    address: str = opt("", "the Ray cluster to join [default: one on this machine]", metavar="URL", panel=MACHINES)
    gpus_per_worker: float = opt(1.0, "share of a GPU that a Ray worker gets", min=0, panel=MACHINES)
    max_failures: int = opt(
        -1, "stop after more unusable samples than this; -1: never", min=-1, panel=WORK
    )  # fmt: skip
    energy: bool = opt(True, "measure the energy used", panel=COST)
    country: str = opt("", "for the carbon intensity: BRA, IND, ZAF … [default: the world]", metavar="ISO", panel=COST)
    region: str = opt("", "part of --country, for USA, CAN, CHN, SWE, NOR and FIN", panel=COST)
    intensity: str = opt(
        "", "g CO2e per kWh of your electricity, instead of a country's", metavar="G_PER_KWH", panel=COST
    )
    ledger: str = output("", "file to append the cost of this command to", envvar="CAPIVARA_LEDGER", panel=COST)
    quiet: bool = opt(False, "print nothing but errors", short="q", panel=GENERAL)
    verbose: bool = opt(False, "also print every reason and note, the speed and the energy", panel=GENERAL)
    dry_run: bool = opt(False, "only estimate time, memory, disk and energy; write nothing", panel=GENERAL)
    summary: str = output("", "write the summary as JSON to this file", panel=GENERAL)


@dataclass(frozen=True)
class JsonOption:
    """The option of commands that write no tar to standard output."""

    json: bool = opt(False, "print the summary as JSON to standard output", panel=GENERAL)


def offered(names: Iterable[str], *, rehearses: bool) -> frozenset[str]:
    """The names of the shared options that a command has: ``names``, and those of every command.

    ``rehearses``: it has ``--dry-run``, too. Raises ``ValueError`` for a name that is no shared option.
    """
    found = frozenset({*names, *_ALWAYS} | ({"dry_run"} if rehearses else set()))
    if unknown := found - {each.name for each in fields(Settings)}:
        raise ValueError(f"no shared options: {', '.join(sorted(unknown))}")
    return found


def check_options(options: Any) -> None:
    """Raise ``UsageError`` for a number outside its bounds, or a text that the field's kind cannot parse."""
    values = option_values(options)
    for each in option_fields(options):
        if each.metadata.get("kind"):
            parsed(options, each.name)
        value, low, high = values[each.name], each.metadata.get("min"), each.metadata.get("max")
        flag = flag_of(each.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            bounds = " and ".join(
                text for text in (f"at least {low}" * (low is not None), f"at most {high}" * (high is not None)) if text
            )
            raise UsageError(f"{flag} {value}: must be {bounds or 'a number'}")


def flag_of(name: str) -> str:
    """``batch_size`` -> "--batch-size"; ``from_`` (a Python keyword otherwise) -> "--from"."""
    return "--" + name.rstrip("_").replace("_", "-")


def default_of(each: Any) -> Any:
    """The default of a dataclass field; ``...`` if it has none."""
    return ... if each.default is MISSING else each.default
