"""Convert dataclasses to JSON and back, and check typed dicts.

A field is a key; a value of the wrong type is an error that names the key.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")
KEY = "json_key"
"""Field metadata: the JSON key, if it is not the name of the field."""
OPTIONAL = "json_optional"
"""Field metadata: no JSON key is written if the value is None."""
_KINDS: dict[type, tuple[type, ...]] = {float: (int, float)}


def from_json(kind: type[T], value: object, what: str) -> T:
    """Convert a value of ``json.loads`` to ``kind``: a dataclass, a ``TypedDict``, or a type that its fields may have.

    A missing or null key takes the default of its field. Unknown keys are ignored, and kept in a ``TypedDict``, whose
    required keys must be there. Numbers are not converted: an integer is a valid float. Raises ``ValueError``, whose
    message starts with the wrong key; ``what`` names the whole value in the message ("a retrieval row").
    """
    return cast(T, _read(kind, value, what))


def to_json(value: object) -> Any:
    """Convert to JSON values: a dataclass becomes a dict with its fields in order, a tuple becomes a list."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        shown = ((field, each) for field, each in pairs if each is not None or OPTIONAL not in field.metadata)
        return {_key(field): to_json(each) for field, each in shown}
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    return value


def _read(kind: Any, value: object, what: str) -> Any:
    if kind is Any:
        return value
    if typing.is_typeddict(kind):
        return _typed_dict(kind, _checked(dict, value, what), what)
    if dataclasses.is_dataclass(kind):
        return _object(kind, _checked(dict, value, what), what)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (each for each in inner if each is not types.NoneType)
        return None if value is None else _read(some, value, what)
    if origin is list:
        return [_read(inner[0], each, f"an entry of {what}") for each in _checked(list, value, what)]
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


def _object(kind: Any, value: Mapping[str, object], what: str) -> Any:
    found: dict[str, object] = {}
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


def _typed_dict(kind: Any, value: dict[str, Any], what: str) -> dict[str, Any]:
    hints = _hints(kind)
    missing = sorted(kind.__required_keys__ - value.keys())
    if missing:
        raise ValueError(f"{missing[0]!r} of {what} is missing")
    return {key: _read(hints.get(key, Any), each, f"{key!r} of {what}") for key, each in value.items()}


def _checked(kind: type, value: object, what: str) -> Any:
    if not isinstance(value, _KINDS.get(kind, (kind,))) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{what} is {value!r}")
    return value


@functools.lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.lru_cache
def _fields(kind: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get(KEY, field.name))
