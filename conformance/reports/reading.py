"""Read the JSON document of a run from a file that nobody has checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from ...adapters.text import escape_control
from .document_error import DocumentError

LARGEST = 512 * 1024 * 1024
"""Bytes: a thousand cases, each with the 64 KiB that a target may print, are an eighth of it."""

_LONGEST = 200
"""Characters of a name or an error that are shown."""


def read_json(name: str, largest: int = LARGEST) -> dict[str, Any]:
    """Return the JSON object in the file `name`, or on standard input where that is `-`.

    Raises `DocumentError`, naming the file, where it is larger than `largest` bytes or holds no JSON object, and
    `OSError` where it cannot be read.
    """
    if name == "-":
        raw = sys.stdin.buffer.read(largest + 1)
    else:
        with Path(name).open("rb") as file:
            raw = file.read(largest + 1)
    where = "standard input" if name == "-" else _shown(name)
    if len(raw) > largest:
        raise DocumentError(f"{where}: more than {largest:,} bytes, which no run writes")
    try:
        document = json.loads(raw, parse_constant=_refuse)
    except RecursionError as error:
        raise DocumentError(f"{where}: nested too deep for the results of a run") from error
    except ValueError as error:
        raise DocumentError(
            f"{where}: not JSON, or not all of it: {_shown(error)}; write it with --format json --output FILE"
        ) from error
    if not isinstance(document, dict):
        raise DocumentError(f"{where}: a JSON {type(document).__name__}, but should be the object that a run writes")
    return document


def _shown(value: object) -> str:
    """Return a name, or an error that may quote what it found, on one line."""
    return escape_control(str(value)[:_LONGEST])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
