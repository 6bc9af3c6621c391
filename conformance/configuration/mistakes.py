"""Where in a configuration a value stands, and what is said of one that is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...adapters.text import escape_control

_LONGEST = 2_000
"""Characters of a message that are shown."""
_LONGEST_VALUE = 100
"""Characters of a value in it."""
_TYPES = ((bool, "a boolean"), (int, "an integer"), (float, "a float"), (list, "an array"), (dict, "a table"))
_BARE = re.compile("[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one value; all places of a configuration share the list of mistakes."""

    path: str
    """Its key with all those above it: `tool.optconform.targets[2].expect`."""
    folder: Path
    """Where the configuration lies."""
    mistakes: list[str] = field(default_factory=list)

    def at(self, below: str | int) -> Place:
        """Return the place of a key or an index below this one."""
        if isinstance(below, int):
            return replace(self, path=f"{self.path}[{below}]")
        return replace(self, path=f"{self.path}.{below if _BARE.fullmatch(below) else json.dumps(below)}")

    def wrong(self, value: Any, expected: str, hint: str = "") -> None:
        """Note that `value` is of another type or form than expected."""
        kind = next((words for each, words in _TYPES if isinstance(value, each)), "a date or a time")
        told = "" if isinstance(value, str) else f", {kind},"
        self._note(f"{self.path} is {_shown(value)}{told} but should be {expected}{hint}")

    def refused(self, value: Any, why: str) -> None:
        """Note why `value` cannot be used although its form is right."""
        self._note(f"{self.path} is {_shown(value)}: {why}")

    def missing(self, expected: str) -> None:
        """Note that there is no such key."""
        self._note(f"{self.path} is missing; it should be {expected}")

    def unknown(self, name: str, known: Sequence[str]) -> None:
        """Note a key that means nothing here."""
        hint = nearest(name, known) or f"; known here: {', '.join(known)}"
        self._note(f"{self.at(name).path} is no key of the configuration{hint}")

    def _note(self, mistake: str) -> None:
        self.mistakes.append(escape_control(mistake if len(mistake) <= _LONGEST else f"{mistake[:_LONGEST]}..."))


def nearest(value: Any, known: Sequence[str], means: Mapping[str, str] | None = None) -> str:
    """Return a question after the one of `known` that may have been meant by `value`; empty where none is close."""
    if not isinstance(value, str):
        return ""
    by_case = {name.casefold(): name for name in known} | dict(means or {})
    close = get_close_matches(value.casefold(), by_case, n=1)
    return f"; did you mean {_shown(by_case[close[0]])}?" if close else ""


def _shown(value: Any) -> str:
    """Return a value much as TOML writes it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
