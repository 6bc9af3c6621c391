"""Reading a JSON document with suspicion: every field asked for by name and type, every refusal a `TraceError`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import TraceError, printable

MAX_NATURAL = 2**63
"""Counts, steps and sizes are smaller."""
MAX_NESTING = 16
"""How deep the values are nested of which the format says nothing but that they are JSON."""
COPY_AGAIN = "The index is corrupt or was edited; copy or record the trace again."


def decode(raw: bytes, file: object) -> Any:
    """The JSON document in `raw`, the content of `file`: finite numbers, and no key twice in one object."""

    def refuse_constant(text: str) -> NoReturn:
        raise ValueError(f"the non-finite number {text}")

    def finite(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse_constant(text)

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"the key '{printable(twice)}' twice in one object")
        return result

    try:
        return json.loads(
            raw.decode(), parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=refuse_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise TraceError(file, f"no valid JSON: {printable(error)}", "a JSON document", COPY_AGAIN) from error


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object whose fields are asked for by name and type; `where` says which one it is."""

    values: dict[str, Any]
    where: str
    file: object

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise TraceError(self.file, f"{kind_of(self.values)} as {self.where}", "an object", COPY_AGAIN)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"{kind_of(value)} as '{key}'" if key in self.values else f"no field '{key}'"
            raise TraceError(self.file, f"{found} in {self.where}", expected, COPY_AGAIN)
        return value

    def text(self, key: str) -> str:
        """The string under `key`."""
        value: str = self._typed(key, str, "a string")
        return value

    def natural(self, key: str, least: int = 0, below: int = MAX_NATURAL) -> int:
        """The integer under `key`, at least `least` and less than `below`."""
        value: int = self._typed(key, int, "an integer")
        if not least <= value < below:
            found = f"'{key}' = {printable(value)} in {self.where}"
            raise TraceError(
                self.file, found, f"an integer >= {least}, of at most {(below - 1).bit_length()} bits", COPY_AGAIN
            )
        return value

    def array(self, key: str) -> list[Any]:
        """The array under `key`."""
        value: list[Any] = self._typed(key, list, "an array")
        return value

    def integers(self, key: str, tensor: str | None = None) -> tuple[int, ...]:
        """The integers under `key`, of whatever sign; `tensor` is the parameter they are about, for the message."""
        values = self.array(key)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool):
                found = f"{kind_of(value)} in the {key} of {self.where}"
                raise TraceError(self.file, found, "integers", COPY_AGAIN, tensor)
        return tuple(values)

    def object(self, key: str) -> Fields:
        """The object under `key`."""
        return Fields(self._typed(key, dict, "an object"), f"'{key}'", self.file)

    def objects(self, key: str) -> Iterable[Fields]:
        """The objects in the array under `key`."""
        return [Fields(value, f"'{key}' entry {i}", self.file) for i, value in enumerate(self.array(key))]

    def names(self, key: str, known: frozenset[str]) -> frozenset[str]:
        """The parameters named in the array under `key`, each of which must be in `known`."""
        names = self.array(key)
        for name in names:
            if not isinstance(name, str) or name not in known:
                raise TraceError(
                    self.file,
                    f"an unknown parameter in {self.where}",
                    "the name of a declared parameter",
                    COPY_AGAIN,
                    str(name),
                )
        return frozenset(names)


_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    return _KINDS[type(value)]


def number(value: Any, where: str, file: object) -> float:
    """`value` as a float. Raises `TraceError`, naming `where` it stands, for anything but a finite number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise TraceError(file, f"{printable(value)} in '{printable(where)}'", "numbers in double precision", COPY_AGAIN)


def check_plain(value: Any, where: str, file: object, depth: int = 0) -> None:
    """Raise `TraceError` where `value`, any JSON, is nested too deep or has a number beyond double precision.

    Whoever reads it may turn its numbers into floats, and walk through it without a limit of its own.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number(value, where, file)
    elif isinstance(value, (list, tuple, dict)):
        if depth == MAX_NESTING:
            raise TraceError(
                file, f"deeper nesting in '{printable(where)}'", f"at most {MAX_NESTING} levels", COPY_AGAIN
            )
        for each in value.values() if isinstance(value, dict) else value:
            check_plain(each, where, file, depth + 1)
