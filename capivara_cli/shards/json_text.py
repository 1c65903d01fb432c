"""JSON objects with the text they were read from: some values can be changed, and all other characters stay."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_SPACE = re.compile(r"[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*([,}\]])[ \t\n\r]*")
_value_at = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(ensure_ascii=False).encode


class _Member(NamedTuple):
    """A key of an object, with the places where the key and its value begin, and where the value ends."""

    key: str
    start: int
    value: int
    end: int


class JsonObject(dict[str, Any]):
    """The values of a JSON object by key; ``text`` is the text it was read from.

    A repeated key has its last value, as for ``json.loads``; ``repeated`` has such keys. ``items_of`` has the texts of
    the items of each list that ``read_object`` was asked to split.
    """

    __slots__ = ("_end", "_members", "items_of", "repeated", "text")

    def __init__(self, text: str, members: list[_Member], end: int) -> None:
        super().__init__()
        self.text = text
        self.items_of: dict[str, list[str]] = {}
        self.repeated: set[str] = set()
        self._members = members
        self._end = end

    def text_of(self, key: str) -> str:
        """The text of the value of a key."""
        return next(self.text[each.value : each.end] for each in reversed(self._members) if each.key == key)

    def edited(self, changes: Mapping[str, str | None]) -> str:
        """The text with other values: ``changes`` maps a key to the text of its value.

        None removes a key. A new key comes last. All other characters stay.
        """
        text, end = self.text, self._members[0].start if self._members else self._end
        parts, separator = [text[:end]], ""
        for member in self._members:
            between, end = text[end : member.start], member.end
            value = changes.get(member.key, text[member.value : member.end])
            if value is not None:
                parts += [between if separator else "", text[member.start : member.value], value]
                separator = ", "
        for key, value in changes.items():
            if value is not None and key not in self:
                parts += [separator, text_of(key), ": ", value]
                separator = ", "
        return "".join([*parts, text[end:]])


def read_object(text: str, split: Container[str] = ()) -> JsonObject:
    """Parse the text of a JSON object; lists under the keys of ``split`` are split into the texts of their items.

    Accepts what ``json.loads`` accepts. Raises ``ValueError`` for any other text, and ``RecursionError``.
    """
    position = _after_space(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("not a JSON object")
    position = _after_space(text, position + 1)
    members: list[_Member] = []
    found = JsonObject(text, members, position)
    mark = text[position : position + 1] if text[position : position + 1] == "}" else ","
    after = position + 1
    while mark == ",":
        match = _KEY.match(text, position)
        key, start = (match[1], match.end()) if match else _escaped_key(text, position)
        value: Any
        if key in split and text[start : start + 1] == "[":
            value, places, end = read_list(text, start)
            found.items_of[key] = [text[first:last] for first, last in places]
        else:
            value, end = _value_at(text, start)
        if key in found:
            found.repeated.add(key)
        found[key] = value
        members.append(_Member(key, position, start, end))
        mark, position, after = _next(text, end, "}")
    if _after_space(text, after) != len(text):
        raise ValueError("text after the object")
    return found


def read_list(text: str, position: int) -> tuple[list[Any], list[tuple[int, int]], int]:
    """The values of the JSON list at a position, the begin and end of each, and the end of the list.

    Raises ``ValueError`` and ``RecursionError``.
    """
    values: list[Any] = []
    places: list[tuple[int, int]] = []
    position = _after_space(text, position + 1)
    if text[position : position + 1] == "]":
        return values, places, position + 1
    mark, after = ",", position
    while mark == ",":
        value, end = _value_at(text, position)
        values.append(value)
        places.append((position, end))
        mark, position, after = _next(text, end, "]")
    return values, places, after


class JsonText(str):
    """A value that is given as JSON text."""


def object_text(values: Mapping[str, object]) -> str:
    """A JSON object on one line; a ``JsonText`` stands in it as it is."""
    pairs = ((text_of(key), value if isinstance(value, JsonText) else text_of(value)) for key, value in values.items())
    return "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"


def text_of(value: object) -> str:
    """A value as JSON text on one line; lone surrogates stay escaped."""
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _escaped_key(text: str, position: int) -> tuple[str, int]:
    """A key in which characters are escaped, and where its value begins."""
    if text[position : position + 1] != '"':
        raise ValueError("a key is missing")
    key, end = _value_at(text, position)
    match = _COLON.match(text, end)
    if match is None:
        raise ValueError("a value is missing")
    return key, match.end()


def _next(text: str, position: int, close: str) -> tuple[str, int, int]:
    """The comma or bracket after a value, where the next value begins, and the place after the mark."""
    match = _NEXT.match(text, position)
    if match is None or match[1] not in ("," + close):
        raise ValueError("a comma is missing")
    return match[1], match.end(), match.end(1)
