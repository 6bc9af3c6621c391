"""The kinds of values that keys can have: each reads a value, says what is wrong with it, and has a JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .mistakes import Place, nearest

NAME = r"[^\W\d]\w*"
"""Of a hyperparameter: a Python identifier."""


class Kind(Protocol):
    """What a value must be."""

    @property
    def expected(self) -> str:
        """What to write, for messages and the reference."""

    def read(self, value: Any, place: Place) -> Any:
        """Return `value` as the configuration holds it, and tell `place` whatever is wrong with it."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of such values."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string that is not blank."""

    expected: str
    complaint: Callable[[str, Path], str | None] = lambda text, folder: None
    """Returns what is wrong with a string, in a configuration that lies in this folder; None for nothing."""
    pattern: str = r"\s*\S[\s\S]*"
    spelling: str = ""
    """A closer pattern for the JSON Schema, where `complaint` knows more of the form than `pattern`."""
    near: Sequence[str] = ()
    """Strings that may have been meant."""
    means: Mapping[str, str] = field(default_factory=dict)
    """Names in use elsewhere -> what they are called here."""

    def read(self, value: Any, place: Place) -> str:
        """Return `value`, a string."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            place.wrong(value, self.expected, nearest(value, self.near, self.means))
        else:
            try:
                complaint = self.complaint(value, place.folder)
            except OSError as error:  # a name that is longer than the file system allows, or a folder closed to us
                complaint = error.strerror or type(error).__name__
            if complaint:
                place.refused(value, complaint)
        return str(value)

    def schema(self) -> dict[str, Any]:
        """A string with a pattern."""
        return {"type": "string", "pattern": f"^({self.spelling or self.pattern})$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several words."""

    words: Sequence[str]
    means: Mapping[str, str] = field(default_factory=dict)
    """Names in use elsewhere -> the word for the same."""
    where: str = ""
    """What lists the words, where they are too many for a message."""

    @property
    def expected(self) -> str:
        """All words, or what lists them."""
        return self.where or f"one of {', '.join(self.words)}"

    def read(self, value: Any, place: Place) -> str:
        """Return `value`, one of the words."""
        if value not in self.words:
            place.wrong(value, self.expected, nearest(value, self.words, self.means))
        return str(value)

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of values of one kind, each once."""

    kind: Kind
    may_be_empty: bool = False
    when_empty: str = "remove the key for the default"

    @property
    def expected(self) -> str:
        """The kind of its values."""
        return f"an array with each item {self.kind.expected}"

    def read(self, value: Any, place: Place) -> tuple[Any, ...]:
        """Return the values."""
        if not isinstance(value, list):
            in_brackets = f"; did you mean [[{place.path}]], in two brackets?" if isinstance(value, dict) else ""
            place.wrong(value, self.expected, in_brackets)
            return ()
        if not value and not self.may_be_empty:
            place.refused(value, f"it should hold something; {self.when_empty}")
        for index, item in enumerate(value):
            if item in value[:index]:
                place.at(index).refused(item, f"that is {place.at(value.index(item)).path} again; remove one of them")
        return tuple(self.kind.read(item, place.at(index)) for index, item in enumerate(value))

    def schema(self) -> dict[str, Any]:
        """An array."""
        least = {} if self.may_be_empty else {"minItems": 1}
        return {"type": "array", "items": self.kind.schema(), "uniqueItems": True} | least


@dataclass(frozen=True, slots=True)
class TableOf:
    """A table of hyperparameters: names, and values of one kind."""

    kind: Kind
    example: str

    @property
    def expected(self) -> str:
        """What it may look like."""
        return f"a table such as {self.example}"

    def read(self, value: Any, place: Place) -> dict[str, Any]:
        """Return the values by name."""
        if not isinstance(value, dict):
            place.wrong(value, self.expected)
            return {}
        for name in value:
            if not re.fullmatch(NAME, name):
                place.at(name).refused(value[name], f"its key should be the name of an option, as in {self.example}")
        return {name: self.kind.read(item, place.at(name)) for name, item in value.items()}

    def schema(self) -> dict[str, Any]:
        """An object."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{NAME}$"},
            "additionalProperties": self.kind.schema(),
        }


@dataclass(frozen=True, slots=True)
class Literal:
    """The value of a hyperparameter. An array becomes a tuple, as `betas` are."""

    expected: str = "a finite number, true, false, a string, or an array or table of such"

    def read(self, value: Any, place: Place) -> Any:
        """Return `value` as the constructor is given it."""
        if isinstance(value, list):
            return tuple(self.read(item, place.at(index)) for index, item in enumerate(value))
        if isinstance(value, dict):
            return {name: self.read(item, place.at(name)) for name, item in value.items()}
        if not isinstance(value, int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            place.wrong(value, self.expected)
        return value

    def schema(self) -> dict[str, Any]:
        """Whatever JSON has, except null."""
        return {"type": ["number", "boolean", "string", "array", "object"]}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table."""

    name: str
    kind: Kind
    help: str
    """A sentence for the reference and the editor."""
    default: str = ""
    """What holds without the key, in words; empty where that is nothing."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with known keys, read into an object whose fields bear their names."""

    keys: Sequence[Key]
    made: Callable[..., Any]
    expected: str

    def read(self, value: Any, place: Place) -> Any:
        """Return the object; None where anything is wrong with a key."""
        if not isinstance(value, dict):
            place.wrong(value, self.expected)
            return None
        known = {key.name: key for key in self.keys}
        before = len(place.mistakes)
        for name in value:
            if name not in known:
                place.unknown(name, list(known))
        for key in self.keys:
            if key.required and key.name not in value:
                place.at(key.name).missing(key.kind.expected)
        read = {name: known[name].kind.read(item, place.at(name)) for name, item in value.items() if name in known}
        return self.made(**read) if len(place.mistakes) == before else None

    def schema(self) -> dict[str, Any]:
        """An object without other keys."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [key.name for key in self.keys if key.required],
            "properties": {key.name: {"description": _described(key)} | key.kind.schema() for key in self.keys},
        }


def _described(key: Key) -> str:
    return f"{key.help} Default: {key.default}." if key.default else key.help
