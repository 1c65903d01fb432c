"""Options of commands as dataclass fields: each field has its default, help and bounds.

Fields that belong together form a group: a frozen dataclass of their own, which is one field of the command's
dataclass. The command line, histories and ``run.json`` have the options of all groups as one flat list. Only
``option_fields`` and the functions beside it treat groups differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeVar, get_type_hints

from capivara_cli.errors import CapivaraError, UsageError


class OptionKind(Protocol):
    """Parses the text of an option, see ``option_kinds``. ``parse`` raises ``CapivaraError`` for an invalid text.

    ``separator`` joins the values of an option that is given several times; "" if it may be given once only.
    """

    @property
    def separator(self) -> str: ...

    def parse(self, text: str, /) -> tuple[str, ...]: ...


T = TypeVar("T")


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
) -> Any:
    """A field of an options dataclass with its default, help and bounds; its name is the flag.

    ``tuning`` marks an option that changes speed or memory, but not results: it may differ when a run is resumed.
    ``kind`` parses a text that holds a list: the field has the text, and ``parsed`` returns the list. ``reads`` marks
    an option whose value may name files, so that a run resumes only with the same contents and nothing is written over
    them: "files" is a comma-separated list of paths, globs or brace patterns, "images" the same for images whose
    contents are looked at elsewhere, "model" a path or NAME:PATH; a kind of plugin is NAME or NAME:PATH, so that a run
    resumes only with the same version of a plugin of another package.
    """
    metadata = {
        "help": help, "min": min, "max": max, "metavar": metavar, "envvar": envvar, "tuning": tuning, "kind": kind,
        "reads": reads,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


def output(default: str, help: str, *, envvar: str = "", kind: OptionKind | None = None) -> Any:
    """A field of an options dataclass that names files which the command writes, see ``cli.outputs``."""
    return field(default=default, metadata={**opt(default, help, envvar=envvar, kind=kind).metadata, "output": True})


def group(kind: type) -> Any:
    """A field for a group of options, an instance of the dataclass ``kind``; each field of that is a flag."""
    return field(default_factory=kind, metadata={"group": kind})


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


@dataclass(frozen=True)
class Settings:
    """The options that every stage and command has. Of these only the seed is meant to change samples."""

    out: str = opt("", "folder for the result [default: standard output, or <input>-<stage>/ on a terminal]")
    device: str = opt("auto", "auto, cpu, cuda, cuda:1, mps …")
    seed: int = opt(0, "seed of everything random", min=0)
    overwrite: bool = opt(
        False, "replace another result in the folder to be written; files that capivara did not write are never deleted"
    )
    rejects: str = opt("", "folder for every dropped sample, with the reason as dropped.json")
    workers: int = opt(1, "processes on this machine that share the shards", min=1)
    share: str = opt(
        "", "I/N: only every Nth shard, from the Ith [default: RANK of WORLD_SIZE, or what Slurm says, if they are set]"
    )
    engine: str = opt("local", "what starts the workers: local, ray")
    address: str = opt("", "the Ray cluster to join [default: one on this machine]")
    gpus_per_worker: float = opt(1.0, "share of a GPU that a worker gets from Ray, where there are GPUs", min=0)
    max_failures: int = opt(-1, "stop after more than this many unusable samples; -1: never", min=-1)
    energy: bool = opt(True, "measure the energy used")
    country: str = opt("", "ISO country code (BRA, IND, ZAF …) for the carbon intensity [default: world average]")
    region: str = opt("", "state, province or zone of --country, for USA, CAN, CHN, SWE, NOR and FIN")
    intensity: str = opt(
        "", "carbon intensity of your electricity in g CO2e per kWh, instead of a country's", metavar="G_PER_KWH"
    )
    ledger: str = output("", "file to append the cost of this command to", envvar="CAPIVARA_LEDGER")
    quiet: bool = opt(False, "print nothing but errors")
    verbose: bool = opt(False, "also print every reason and note, the speed and the energy")
    dry_run: bool = opt(False, "only estimate the time, memory, disk and energy; write nothing")
    summary: str = output("", "write the summary as JSON to this file")


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
