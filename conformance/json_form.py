"""Frozen dataclasses to their JSON form, and from it by the types of their fields."""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum, StrEnum
from typing import Any, cast


def plain_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, each in JSON's own types."""
    return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}


def _plain(value: Any) -> Any:
    """Return `value` in JSON's own types; a number that JSON cannot hold becomes its name."""
    if is_dataclass(value):
        return plain_fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, int):
        return int(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return repr(value)


def revive(kind: Any, value: Any) -> Any:
    """Return `value`, which JSON has brought, as `kind`: a dataclass, an enum, a tuple, a mapping or a plain type.

    Fields that the document lacks keep their defaults; those that the dataclass lacks are left out. A number
    that JSON could not hold, such as `"inf"`, becomes that number where one is expected. Raises `TypeError` or
    `ValueError` for a document of another shape.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        kinds = [each for each in arguments if each is not type(None)]
        return revive(next((each for each in kinds if type(value) is each), kinds[0]), value)
    if is_dataclass(kind):
        return _dataclass(cast(type, kind), value)
    if origin is tuple:
        return tuple(revive(arguments[0], item) for item in _expect(value, Sequence))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: revive(arguments[1], item) for key, item in _expect(value, Mapping).items()}
    if kind is float or (isinstance(kind, type) and issubclass(kind, Enum)):
        return kind(value)
    return value if kind is Any else _expect(value, kind)


def _dataclass(kind: type, value: Any) -> Any:
    hints = _hints(kind)
    given = _expect(value, Mapping)
    return kind(
        **{item.name: revive(hints[item.name], given[item.name]) for item in fields(kind) if item.name in given}
    )


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    """Return the types of the fields; to look them up takes ten times as long as all else that `revive` does."""
    return typing.get_type_hints(kind)


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, str) and kind is Sequence):
        raise TypeError(f"{value!r} is {type(value).__name__}, expected {kind.__name__}")
    return value
