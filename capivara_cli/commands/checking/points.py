"""The points of a contract: what was tried on a plugin, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from capivara_cli.errors import CapivaraError
from capivara_cli.plugin_errors import Guarded, Origin, PluginError

Value = TypeVar("Value")


class Stopped(Exception):
    """A point failed without which the others cannot be tried."""


@dataclass(frozen=True)
class Point:
    """One point: whether it is right, None if it was not tried, and what was found, in words."""

    point: str
    right: bool | None
    found: str

    def __str__(self) -> str:
        mark = {True: "ok", False: "wrong", None: "-"}[self.right]
        return f"{mark:5}  {self.point}" + (f": {self.found}" if self.found else "")


@dataclass
class Subject:
    """The plugin that is checked.

    ``example`` is a file or folder that it reads, "" for none; ``lang`` and ``source`` are languages to try, "" for the
    default; ``device`` is that of ``--device``; ``words`` are options for a stage.
    """

    kind: str
    name: str
    variant: str
    origin: Origin
    source: str = ""
    lang: str = ""
    example: str = ""
    device: str = "auto"
    words: Sequence[str] = ()
    points: list[Point] = field(default_factory=list)

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def passes(self, point: str, found: str = "") -> None:
        """Record a point that is right."""
        self.points.append(Point(point, True, found))

    def skips(self, point: str, why: str) -> None:
        """Record a point that was not tried."""
        self.points.append(Point(point, None, f"not tried: {why}"))

    def fails(self, point: str, found: str) -> None:
        """Record a point that is wrong."""
        self.points.append(Point(point, False, found.removeprefix(f"{self.origin}: ")))

    def holds(self, point: str, question: Callable[[], str | None]) -> bool:
        """Record whether a question is answered without an error; its answer is what was found."""
        try:
            with self.origin.blamed():
                found = question()
        except CapivaraError as error:
            self.fails(point, error.message + (_place(error) if isinstance(error, PluginError) else ""))
            return False
        self.passes(point, found or "")
        return True

    def needs(self, point: str, question: Callable[[], Value], show: Callable[[Value], str] = lambda _: "") -> Value:
        """The answer to a question, recorded as in ``holds``. Raises ``Stopped`` if it raises an error."""
        answers: list[Value] = []

        def ask() -> str:
            answers.append(question())
            return show(answers[0])

        if not self.holds(point, ask):
            raise Stopped
        return answers[0]

    def objects(self, found: str) -> PluginError:
        """The error for an answer that breaks the contract."""
        return self.origin.fault(found)

    def guarded(self, value: Any) -> Any:
        """An object of the plugin, whose exceptions are then errors that name it. Raises an error for None."""
        if value is None:
            raise self.objects("load returned None")
        return value if isinstance(value, Guarded) else Guarded(self.origin, value)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.points]


def _place(error: PluginError) -> str:
    """Where in the plugin's file an exception was raised."""
    _, mark, place = error.hint.partition("not of capivara: ")
    return f" ({place})" if mark else ""
