"""Plugins of other packages: what they raise, and wrong answers, become errors that name the plugin and its package.

A plugin of another package is held as a ``Guarded`` object; one of capivara's own is held as it is, and its exceptions
are bugs of capivara.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from capivara_cli.errors import BadSample, CapivaraError, Unsupported

if TYPE_CHECKING:
    from types import TracebackType

    from capivara_cli.entry_points import EntryPoint

Value = TypeVar("Value")

_PACKAGE = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120  as in the registry, without pathlib
_SINGULAR = {"evalsets": "eval set"}
_PREPARE = "prepare"
"""The method of a captioner that sees one image: it may raise ``BadSample``, and its answer goes back to the plugin."""
_ENGINES = "engines"
_READS_STREAMS = ("stages", "commands")
_WHAT_A_PLUGIN_HAS = "docs/extending.md says what a plugin has"


class PluginError(CapivaraError):
    """A fault of a plugin of another package: an exception, an answer of the wrong form, or something missing."""


class MissingFromPlugin(PluginError, AttributeError):
    """An attribute that a plugin lacks. As an ``AttributeError`` it lets ``getattr`` return its default."""


@dataclass(frozen=True)
class Origin:
    """The kind and name of a plugin, its top-level module, and its package with the version ("" if unknown)."""

    kind: str
    name: str
    module: str
    package: str

    @classmethod
    def of(cls, kind: str, name: str, entry: EntryPoint) -> Origin:
        """The origin of the plugin ``name`` that an entry point leads to."""
        return cls(kind, name, entry.module.partition(".")[0], entry.package)

    def __str__(self) -> str:
        kind = _SINGULAR.get(self.kind, self.kind.removesuffix("s"))
        return f"{kind} {self.name} ({self.package})" if self.package else f"{kind} {self.name}"

    def fault(self, what: str, hint: str = _WHAT_A_PLUGIN_HAS) -> PluginError:
        """The error for a fault of the plugin."""
        return PluginError(f"{self}: {what}", hint)

    @contextlib.contextmanager
    def blamed(
        self, *, may_drop: bool = False, passes: Callable[[BaseException], bool] = lambda error: False
    ) -> Iterator[None]:
        """Raise every exception inside as a ``PluginError``, except ``CapivaraError``.

        ``may_drop``: a ``BadSample`` passes, too. ``passes``: whether another exception does. An engine calls capivara
        back to do the work of a plan: what that raises passes. So do errors of files that capivara reads or writes for
        a stage or command, such as a full disk. The message of an ``Unsupported`` names the plugin.
        """
        try:
            yield
        except Unsupported as error:
            if self.name in error.message:
                raise
            raise Unsupported(f"{self}: {error.message}", error.hint) from error
        except CapivaraError:
            raise
        except (Exception, SystemExit) as error:
            if passes(error) or self._is_ours(error) or (may_drop and isinstance(error, BadSample)):
                raise
            raise PluginError(f"{self}: {_described(error)}", self._hint(error)) from error

    def _is_ours(self, error: BaseException) -> bool:
        """Whether capivara raised an exception, called by the plugin."""
        if self.kind == _ENGINES:
            return _passed_capivara(error.__traceback__)
        if self.kind not in _READS_STREAMS or not isinstance(error, OSError):
            return False
        modules = [module for module, _ in _places(error.__traceback__)]
        known = [module for module in modules if module in (self.module, "capivara_cli")]
        return self.module in modules and known[-1] == "capivara_cli"

    def _hint(self, error: BaseException) -> str:
        places = [place for module, place in _places(error.__traceback__) if module == self.module]
        return "this is a fault of the plugin, not of capivara" + (f": {places[-1]}" if places else "")

    def attribute(self, owner: Any, name: str) -> Any:
        """An attribute of the plugin or of what it returned. Raises ``MissingFromPlugin`` if there is none."""
        try:
            with self.blamed():
                return getattr(owner, name)
        except PluginError as error:
            if isinstance(error.__cause__, AttributeError):
                raise MissingFromPlugin(f"{self}: {error.__cause__}", _WHAT_A_PLUGIN_HAS) from error.__cause__
            raise

    def iterated(
        self, items: Iterator[Value], passes: Callable[[BaseException], bool] = lambda error: False
    ) -> Iterator[Value]:
        """Yield what the plugin yields; ``passes`` as in ``blamed``."""
        while True:
            with self.blamed(passes=passes):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


class Guarded:
    """A plugin of another package, or an object or function that it returned.

    Its attributes and calls are those of the plugin, and their exceptions become ``PluginError``s. So do those of the
    functions and iterators that a call returns.
    """

    def __init__(self, origin: Origin, value: Any, name: str = "") -> None:
        self.__origin, self.__value, self.__name = origin, value, name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and pickling ask for such names before there is an origin
            raise AttributeError(name)
        value = self.__origin.attribute(self.__value, name)
        return Guarded(self.__origin, value, name) if callable(value) else value

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        prepares = self.__name == _PREPARE
        with self.__origin.blamed(may_drop=prepares):
            answer = self.__value(*arguments, **named)
        if prepares:
            return answer
        if isinstance(answer, Iterator):
            return self.__origin.iterated(answer)
        return Guarded(self.__origin, answer) if callable(answer) else answer

    @staticmethod
    def origin_of(plugin: Any) -> Origin | None:
        """The origin of a plugin of another package; None for one of capivara's own."""
        return plugin.__origin if isinstance(plugin, Guarded) else None

    @staticmethod
    def inside(value: Any) -> Any:
        """The object of the plugin itself."""
        return value.__value if isinstance(value, Guarded) else value


def guarded_like(plugin: Any, value: Any) -> Any:
    """An object that a plugin has loaded: guarded if the plugin is. Raises an error for None."""
    if value is None:
        raise fault(plugin, "load returned None")
    origin = Guarded.origin_of(plugin)
    return value if origin is None or isinstance(value, Guarded) else Guarded(origin, value)


def fault(plugin: Any, what: str) -> Exception:
    """The error for a wrong answer: a ``PluginError`` that names the plugin; a bug if it is one of capivara's own."""
    origin = Guarded.origin_of(plugin)
    if origin is None:
        own = getattr(plugin, "__name__", f"{type(plugin).__module__}.{type(plugin).__name__}")
        return RuntimeError(f"{own}: {what}")
    return origin.fault(what, "docs/extending.md says what a plugin returns")


def attribute(plugin: Any, name: str, kind: type[Value], default: Value | None = None) -> Value:
    """An attribute that must be of a type. Raises the error of ``fault`` for another one, and for a missing one unless
    there is a ``default``."""
    value = getattr(plugin, name) if default is None else getattr(plugin, name, default)
    if not isinstance(value, kind):
        raise fault(plugin, f"{name!r} is {shown(value)}, not {_WORDS.get(kind, kind.__name__)}")
    return value


def as_list(plugin: Any, answer: Any, what: str, count: int | None = None, of: str = "") -> list[Any]:
    """The answer of a plugin as a list of ``count`` things, or of any number of them.

    ``what`` names them, and ``of`` what was asked about. Raises the error of ``fault`` for another number, and for an
    answer that is no list.
    """
    if isinstance(answer, str | bytes | Mapping | Set) or not isinstance(answer, Iterable):
        raise fault(plugin, f"returned {shown(answer)}, not a list of {what}")
    with _blamed(plugin):
        found = list(answer)
    if count is not None and len(found) != count:
        raise fault(plugin, f"{len(found)} {what} for {count}{of}")
    return found


def texts(plugin: Any, answer: Any, count: int | None = None, what: str = "texts", of: str = "") -> list[str]:
    """The answer of a plugin as a list of ``count`` texts, as in ``as_list``."""
    found = as_list(plugin, answer, what, count, of)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str):
            raise fault(plugin, f"number {number} of {len(found)} {what} is {shown(text)}")
    return found


class Checked(Iterable[Value]):
    """The items of a plugin, which must be of a type. Iterating raises the error of ``fault`` for another one."""

    def __init__(self, plugin: Any, items: Any, kind: type[Value]) -> None:
        if not isinstance(items, Iterable):
            raise fault(plugin, f"returned {shown(items)}, not {kind.__name__.lower()}s")
        self._plugin, self._items, self._kind = plugin, items, kind

    def __iter__(self) -> Iterator[Value]:
        origin = Guarded.origin_of(self._plugin)
        if origin is None:
            yield from self._items
            return
        with origin.blamed():
            items = iter(self._items)
        for item in origin.iterated(items):
            if not isinstance(item, self._kind):
                raise fault(self._plugin, f"returned {shown(item)} among its {self._kind.__name__.lower()}s")
            yield item


def _blamed(plugin: Any) -> contextlib.AbstractContextManager[None]:
    origin = Guarded.origin_of(plugin)
    return contextlib.nullcontext() if origin is None else origin.blamed()


_WORDS: dict[type, str] = {str: "a text", int: "a number"}


def shown(value: Any) -> str:
    """``None`` -> "None", ``3`` -> "a value of type int"."""
    value = Guarded.inside(value)
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _described(error: BaseException) -> str:
    """The type and the text of an exception in one line, also if its text cannot be made."""
    text = ""
    with contextlib.suppress(Exception):
        text = str(error)
    return " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")


def _places(frames: TracebackType | None) -> Iterator[tuple[str, str]]:
    """The top-level module and the place in the file of each call of a traceback, the outermost first."""
    while frames is not None:
        code = frames.tb_frame.f_code
        module = str(frames.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        yield module, f"{code.co_filename}, line {frames.tb_lineno}, in {code.co_name}"
        frames = frames.tb_next


def _passed_capivara(frames: TracebackType | None) -> bool:
    """Whether an exception came out of code of capivara that the plugin had called."""
    seen_plugin = False
    while frames is not None:
        ours = frames.tb_frame.f_code.co_filename.startswith(_PACKAGE)
        if ours and seen_plugin:
            return True
        seen_plugin = seen_plugin or not ours
        frames = frames.tb_next
    return False
