"""What the fields of a baseline may hold, as tables: by field, and taken together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from ..adapters.execution import RUNTIMES
from ..adapters.text import escape_control
from ..conformance.result import Verdict

Table = Mapping[str, tuple[Callable[[Any], bool], str]]
"""Field -> (whether a value fits, what is expected of it)."""

_HEX_DIGITS = re.compile("[0-9a-f]{64}")
_VERDICTS = frozenset(str(verdict) for verdict in Verdict if verdict is not Verdict.ERROR)
_PARTS_OF_A_NAME = 6


def is_case_name(name: str) -> bool:
    """Whether `name` can be that of a case: `runtime/target/setting/dtype/execution/trace`."""
    parts = name.split("/", _PARTS_OF_A_NAME - 1)
    complete = len(parts) == _PARTS_OF_A_NAME and all(parts)
    return complete and parts[0] in RUNTIMES and escape_control(name) == name


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: Any) -> bool:
    """Whether `value` is at least 0 and fits into double precision; what reads the file refuses infinities and NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST_FLOAT


_LARGEST_FLOAT = (2**53 - 1) * 2**971


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _HEX_DIGITS.fullmatch(value) is not None


def _is_day(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


DOCUMENT: Table = {
    "optconform": (_is_text, "the version that wrote it"),
    "date": (_is_day, "a day as YYYY-MM-DD"),
    "place": (lambda value: isinstance(value, dict), "an object"),
    "cases": (lambda value: isinstance(value, dict), "an object"),
    "sha256": (_is_digest, "64 hexadecimal digits"),
}
PLACE: Table = {
    "device_class": (_is_text, "'cpu', or the name of a GPU"),
    "name": (_is_text, "the name of the processor or GPU"),
    "details": (_are_texts, "an object of strings"),
}
CASE: Table = {
    "definition": (_is_digest, "64 hexadecimal digits"),
    "slow": (lambda value: isinstance(value, bool), "true or false"),
    "skipped": (lambda value: isinstance(value, str), "a reason, or an empty string"),
    "verdict": (_or_null(lambda value: isinstance(value, str) and value in _VERDICTS), "a verdict other than error"),
    "rule": (_or_null(_is_text), "the name of a rule, or null"),
    "bound_ratio": (
        _or_null(lambda value: _is_number(value) and value <= 1),
        "a number from 0 to 1, since no case outside its bound is ever put into a baseline, or null",
    ),
    "rival": (_or_null(_is_text), "the name of a rival, or null"),
    "rival_ratio": (_or_null(lambda value: value == "inf" or _is_number(value)), "a number >= 0, 'inf' or null"),
    "from_cpu": (_or_null(lambda value: isinstance(value, dict)), "an object, or null"),
    "trace": (lambda value: value == "" or _is_digest(value), "64 hexadecimal digits"),
    "bits": (lambda value: value == "" or _is_digest(value), "64 hexadecimal digits"),
    "reproducible": (_or_null(lambda value: isinstance(value, bool)), "true, false or null"),
    "versions": (_are_texts, "an object of strings"),
    "flags": (_are_texts, "an object of strings"),
}
APART: Table = {
    "largest": (lambda value: value == "inf" or _is_number(value), "a number >= 0, or 'inf'"),
    "median": (_is_number, "a number >= 0"),
    "share": (lambda value: _is_number(value) and value <= 1, "a number from 0 to 1"),
    "steps": (lambda value: _is_number(value) and isinstance(value, int), "an integer >= 0"),
    "against": (_is_text, "what it is measured against"),
}


def _has_figures(case: Mapping[str, Any]) -> bool:
    figures = (key for key in CASE if key not in ("definition", "slow", "skipped"))
    return any(case[key] not in (None, "", {}) for key in figures)


def _distance_contradicts_itself(case: Mapping[str, Any]) -> bool:
    apart = case["from_cpu"]
    return apart is not None and (
        apart["median"] > float(apart["largest"]) or (apart["share"] > 0) != (apart["largest"] > 0)
    )


IMPOSSIBLE: tuple[tuple[Callable[[Mapping[str, Any]], bool], str, str], ...] = (
    (lambda case: bool(case["skipped"]) and _has_figures(case), "figures of what was skipped", "none"),
    (lambda case: not case["skipped"] and case["verdict"] is None, "'verdict' = null", "a verdict, since it ran"),
    (lambda case: not case["skipped"] and not case["trace"], "'trace' = \"\"", "64 hexadecimal digits, since it ran"),
    (lambda case: not case["skipped"] and not case["bits"], "'bits' = \"\"", "64 hexadecimal digits, since it ran"),
    (
        lambda case: (case["rule"] is None) != (case["bound_ratio"] is None),
        "one of 'rule' and 'bound_ratio'",
        "both or neither",
    ),
    (lambda case: case["rival"] is None and case["rival_ratio"] is not None, "a 'rival_ratio' of no rival", "a rival"),
    (
        _distance_contradicts_itself,
        "a 'from_cpu' that contradicts itself",
        "a median of at most the largest distance, and a share above 0 only where that is",
    ),
)
"""Contents of a case that no run can have: (whether it is so, what was found, what was expected)."""
