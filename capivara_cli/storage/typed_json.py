"""Frozen dataclasses to JSON and back: a field is a key, and a value of the wrong kind is an error that names it."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")
KEY = "json_key"
"""Metadata of a field whose key in JSON is not its name."""
OPTIONAL = "json_optional"
"""Metadata of a field that has no key in JSON while it is None."""
_KINDS: dict[type, tuple[type, ...]] = {float: (int, float)}


def from_json(kind: type[T], value: Any, what: str) -> T:
    """``value``, as ``json.loads`` gives it, as a ``kind``: a dataclass, or what the fields of one may hold.

    A key that is missing or null takes the field's default, and keys that are no field are ignored. Numbers stay as
    they are: an integer is a valid float. Raises ``ValueError`` that begins with the key at fault; ``what`` names the
    whole in it ("a retrieval row").
    """
    return cast(T, _read(kind, value, what))


def to_json(value: Any) -> Any:
    """Dataclasses as objects with a key for each field, in the order of the fields; tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        shown = ((field, each) for field, each in pairs if each is not None or OPTIONAL not in field.metadata)
        return {_key(field): to_json(each) for field, each in shown}
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    return value


def _read(kind: Any, value: Any, what: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _object(kind, _checked(dict, value, what), what)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (each for each in inner if each is not types.NoneType)
        return None if value is None else _read(some, value, what)
    if origin is dict:
        return {key: _read(inner[1], each, f"{key!r} of {what}") for key, each in _checked(dict, value, what).items()}
    if origin is tuple:
        entries = _checked(list, value, what)
        if inner[-1] is ...:
            return tuple(_read(inner[0], each, f"an entry of {what}") for each in entries)
        if len(entries) != len(inner):
            raise ValueError(f"{what} is {value!r}")
        return tuple(_read(each, entry, f"an entry of {what}") for each, entry in zip(inner, entries, strict=True))
    return _checked(kind, value, what)


def _object(kind: Any, value: dict[str, Any], what: str) -> Any:
    found: dict[str, Any] = {}
    missing = []
    for field, hint in _fields(kind):
        key = _key(field)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if value.get(key) is not None or (required and key in value):
            found[field.name] = _read(hint, value[key], f"{key!r} of {what}")
        elif required:
            missing.append(key)
    if missing:
        raise ValueError(f"{missing[0]!r} of {what} is missing")
    return kind(**found)


def _checked(kind: type, value: Any, what: str) -> Any:
    if not isinstance(value, _KINDS.get(kind, (kind,))) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{what} is {value!r}")
    return value


@functools.lru_cache
def _fields(kind: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get(KEY, field.name))
