"""Stages and commands of other packages: their options are checked when they are loaded, their samples as they come.

A stage must yield every sample that it is given, or hand it to ``Env.drop``, and leave its key and its images alone:
stored embeddings, feature stores and comparisons with eval sets rely on that.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.options import Settings, flag_of, option_fields, option_types
from capivara_cli.plugin_errors import Origin, shown
from capivara_cli.shards.sample import Sample, is_image_suffix

if TYPE_CHECKING:
    from capivara_cli.pipeline.env import Env
    from capivara_cli.shards.archive import Stream

_TAKEN = {"json", "help", "version", "inputs", *(each.name for each in dataclasses.fields(Settings))}
_TYPES = (str, int, float, bool, bool | None)
_COUNTS, _TEXTS, _LISTS = ("read", "written"), ("out", "run"), ("inputs", "cards")
_COUNTED = ("dropped", "notes")


def check_options_class(origin: Origin, options: Any) -> None:
    """Raise ``PluginError`` for a class that does not describe the options of a command line."""
    if not isinstance(options, type) or not dataclasses.is_dataclass(options):
        raise origin.fault(f"its options are {shown(options)}, not a dataclass")
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise origin.fault("its options can be changed: write @dataclass(frozen=True)")
    with origin.blamed():
        types = option_types(options)
    for each in option_fields(options):
        flag, kind = flag_of(each.name), types[each.name]
        if "help" not in each.metadata or each.default is dataclasses.MISSING:
            raise origin.fault(f"{flag} is not of the form NAME: TYPE = opt(DEFAULT, HELP)")
        if each.name in _TAKEN:
            raise origin.fault(f"{flag} is an option of every command: give yours another name")
        if kind not in _TYPES and get_origin(kind) is not Literal:
            raise origin.fault(f"{flag} is of type {getattr(kind, '__name__', kind)}: {_ALLOWED}")
        if not _fits(each.default, kind):
            raise origin.fault(f"the default of {flag} is {shown(each.default)}, not of the type of the option")
    with origin.blamed():
        options()


_ALLOWED = "str, int, float, bool and Literal are possible"


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind == bool | None:
        return value is None or isinstance(value, bool)
    allowed = (int, float) if kind is float else kind
    return isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))


def guarded_stage(run: Callable[..., Any], origin: Origin, *, begins: bool) -> Callable[..., Stream]:
    """The generator function of a stage, whose faults raise ``PluginError``.

    It takes samples first and an ``Env`` last. One that ``begins`` a stream is given no samples and may yield any.
    """

    def checked(samples: Stream, *arguments: Any) -> Stream:
        given, env = _Given(samples, origin), arguments[-1]
        env.on_drop = None if begins else given.take_dropped
        try:
            with origin.blamed(passes=given.has_raised):
                output = run(given, *arguments)
            if not isinstance(output, Iterable) or isinstance(output, str | bytes | Mapping):
                raise origin.fault(f"returned {shown(output)}, not samples")
            with origin.blamed():
                items = iter(output)
            for item in origin.iterated(items, given.has_raised):
                _check_sample(item, origin)
                if not begins:
                    given.take_yielded(item)
                yield item
            if not begins:
                given.check_all_taken()
        finally:
            env.on_drop = None

    return checked


def guarded(function: Callable[..., Any], origin: Origin) -> Callable[..., Any]:
    """Another function of a stage, whose exceptions, also while its answer is read, are faults of the plugin."""

    def checked(*arguments: Any) -> Any:
        given = [_Given(each, origin) if isinstance(each, Iterator) else each for each in arguments]
        streams = [each for each in given if isinstance(each, _Given)]

        def passes(error: BaseException) -> bool:
            return any(each.has_raised(error) for each in streams)

        with origin.blamed(passes=passes):
            answer = function(*given)
        return origin.iterated(answer, passes) if isinstance(answer, Iterator) else answer

    return checked


class _Given:
    """The samples that a stage is given. It remembers those that it has not seen again."""

    def __init__(self, samples: Iterable[Sample], origin: Origin) -> None:
        self._samples = iter(samples)
        self._origin = origin
        self._held: dict[str, list[Sample]] = {}
        self._error: BaseException | None = None
        self._count = 0

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        try:
            sample = next(self._samples)
        except StopIteration:
            raise
        except BaseException as error:
            self._error = error
            raise
        self._held.setdefault(sample.key, []).append(sample)
        self._count += 1
        return sample

    def has_raised(self, error: BaseException) -> bool:
        """Whether reading the samples raised an exception: that is no fault of the stage."""
        return error is self._error

    def take_yielded(self, sample: Sample) -> None:
        """Forget a sample that was yielded. Raises ``PluginError`` if it was not given or has other images."""
        candidates = self._held.get(sample.key, [])
        if not candidates:
            raise self._origin.fault(f"yielded the sample {sample.key!r}, which it was not given or has yielded before")
        found = next((each for each in candidates if _has_images_of(each, sample)), None)
        if found is None:
            raise self._origin.fault(f"changed the image of the sample {sample.key!r}")
        self._check_captions(found, sample)
        self._forget(found)

    def take_dropped(self, sample: object) -> None:
        """Forget a sample that was dropped. Raises ``PluginError`` if it was not given."""
        held = self._held.get(sample.key, []) if isinstance(sample, Sample) else []
        if not held:
            what = f"the sample {sample.key!r}" if isinstance(sample, Sample) else shown(sample)
            raise self._origin.fault(f"dropped {what}, which it was not given or has dropped before")
        self._forget(held[0])

    def check_all_taken(self) -> None:
        """Raise ``PluginError`` if the stage has not read all its samples, or has neither yielded nor dropped one."""
        left = [sample.key for held in self._held.values() for sample in held]
        if left:
            lost = f"lost {len(left)} of {self._count} samples, of which {left[0]!r} is the first"
            raise self._origin.fault(lost, "a sample that is not yielded is dropped: env.drop(sample, reason)")
        if next(self._samples, None) is not None:
            raise self._origin.fault(f"stopped after {self._count} samples; there are more")

    def _forget(self, sample: Sample) -> None:
        held = self._held[sample.key]
        held[:] = [each for each in held if each is not sample]
        if not held:
            del self._held[sample.key]

    def _check_captions(self, before: Sample, now: Sample) -> None:
        if now.members.get("json") == before.members.get("json"):
            return
        try:
            _ = now.captions
        except BadSample as error:
            raise self._origin.fault(f"changed the sample {now.key!r} so that {error.reason}") from error


def _has_images_of(before: Sample, now: Sample) -> bool:
    return all(now.members.get(name) == data for name, data in before.members.items() if is_image_suffix(name))


def _check_sample(item: Any, origin: Origin) -> None:
    if not isinstance(item, Sample):
        raise origin.fault(f"yielded {shown(item)} among its samples")
    members = item.members
    if not isinstance(item.key, str) or not isinstance(members, dict):
        raise origin.fault("yielded a sample whose key is not a text, or whose members are not a dictionary")
    for name, data in members.items():
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise origin.fault(f"yielded the sample {item.key!r}, whose member {name!r} is {shown(data)}, not bytes")


def guarded_command(run: Callable[..., Any], origin: Origin) -> Callable[..., dict[str, Any]]:
    """The function of a command, whose faults raise ``PluginError``. What commands that it performs raise passes."""

    def checked(inputs: list[str], options: Any, env: Env, *more: Any) -> dict[str, Any]:
        raised: list[BaseException] = []
        env.perform = partial(_performed, env.perform, raised)
        with origin.blamed(passes=lambda error: any(error is each for each in raised)):
            summary = run(inputs, options, env, *more)
        _check_summary(summary, origin)
        return summary  # type: ignore[no-any-return]

    return checked


def _performed(perform: Callable[..., Any], raised: list[BaseException], *arguments: Any) -> Any:
    try:
        return perform(*arguments)
    except BaseException as error:
        raised.append(error)
        raise


def _check_summary(summary: Any, origin: Origin) -> None:
    """Raise ``PluginError`` unless a result can be written as JSON and its known keys have the right types."""
    if not isinstance(summary, dict):
        raise origin.fault(f"returned {shown(summary)}, not a dictionary")
    try:
        json.dumps(summary)
    except (TypeError, ValueError, RecursionError) as error:
        raise origin.fault(f"its result cannot be written as JSON: {error}") from error
    for names, kind, words in (
        (_COUNTS, int, "a number"), (_TEXTS, str, "a text"), (_LISTS, list, "a list"), (_COUNTED, dict, "a dictionary"),
    ):  # fmt: skip
        for name in names:
            if name in summary and not isinstance(summary[name], kind):
                raise origin.fault(f"{name!r} of its result is {shown(summary[name])}, not {words}")
    for name in _COUNTED:
        if not all(isinstance(count, int) for count in summary.get(name, {}).values()):
            raise origin.fault(f"{name!r} of its result has values that are not numbers")
