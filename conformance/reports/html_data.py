"""What the HTML report draws and tabulates in the browser: compact JSON that is safe inside a script element."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ...adapters.text import escape_control
from .document import Entry
from .html_marks import OUTCOMES, Mark
from .wording import number

_LEAST, _MOST = 1e-3, 1e18
"""The log axis of distances ends there: what lies beyond, infinity among it, is drawn at the edge."""
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "/": "\\/"})
"""Of these no element can be ended or begun. Every other character that could is none of ASCII, and escaped by JSON."""


def safe_json(data: Any) -> str:
    """Return `data` as JSON of ASCII alone, in which nothing is markup; control characters of its text are shown."""
    return json.dumps(_shown(data), separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def evidence_of(entry: Entry) -> dict[str, Any]:
    """Return what one section draws, and the tables that it fills in when it is opened."""
    decay, series = entry.result.decay, entry.result.series
    verdicts = {(each.trace, each.name): str(each.verdict) for each in entry.result.parameters}
    return {
        "law": decay.law,
        "factor": decay.factor,
        "form": decay.form,
        "displacements": [
            [
                *(each.trace, each.parameter, each.step, each.theta, each.moved, each.coefficient),
                verdicts.get((each.trace, each.parameter), str(entry.result.verdict)),
                each.applied_to,
            ]
            for each in series.displacements
        ],
        "distances": [
            [
                *(each.trace, each.steps, [inside(one) for one in each.own], [inside(one) for one in each.rival]),
                *(each.own_rule, each.rival_rule),
            ]
            for each in series.distances
        ],
        "grid": [
            [each.lr, each.weight_decay, each.multiplier, each.coefficient, each.uncertainty] for each in series.law
        ],
        "tables": [table for table in (_checks(entry), _parameters(entry), _rivals(entry)) if table["rows"]],
    }


def _checks(entry: Entry) -> dict[str, Any]:
    marks = {check: OUTCOMES.get(check.outcome, Mark.SKIP) for check in entry.result.checks}
    ordered = sorted(entry.result.checks, key=lambda check: marks[check].rank)
    rows = [[f"{marks[each].symbol} {each.outcome}", each.name, each.message, each.code or ""] for each in ordered]
    return {"title": "Checks", "head": ["outcome", "check", "what it found", "code"], "rows": rows}


def _parameters(entry: Entry) -> dict[str, Any]:
    head = ["trace", "parameter", "shape", "verdict", "c", "from decoupled", "from L2"]
    rows = [
        [
            each.trace,
            each.name,
            "×".join(map(str, each.shape)) or "scalar",
            str(each.verdict),
            _coefficients(each.coefficient),
            number(each.decoupling_ratio),
            number(each.substitution_ratio),
        ]
        for each in entry.result.parameters
    ]
    note = "c: coefficient of the decay over the steps. Distances are in units of what rounding explains."
    return {"title": "Parameters", "head": head, "rows": rows, "note": note, "figures": [4, 5, 6]}


def _coefficients(values: Iterable[float]) -> str:
    """Return the one coefficient, or the least and the largest of them."""
    shown = [f"{value:.3g}" for value in (min(values, default=None), max(values, default=None)) if value is not None]
    return " to ".join(dict.fromkeys(shown)) or "-"


def _rivals(entry: Entry) -> dict[str, Any]:
    ordered = sorted(entry.result.match.rivals.items(), key=lambda item: item[1])
    rows = [
        [name, number(ratio), "cannot be told apart here" if ratio <= 1.0 else "rejected"] for name, ratio in ordered
    ]
    note = "Distances in bounds: a rule at 1 or below fits as well."
    return {
        "title": "Rival rules",
        "head": ["rule", "distance", "decision"],
        "rows": rows,
        "note": note,
        "figures": [1],
    }


def inside(ratio: float | None) -> float | None:
    """Return a distance that a log axis can show, in four digits; None where there is none."""
    if ratio is None:
        return None
    return _MOST if math.isnan(ratio) else float(f"{min(max(ratio, _LEAST), _MOST):.4g}")


def _shown(data: Any) -> Any:
    """Return `data` with its text escaped, and None for numbers that JSON does not have."""
    if isinstance(data, str):
        return escape_control(data)
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {escape_control(str(key)): _shown(value) for key, value in data.items()}
    return [_shown(each) for each in data] if isinstance(data, list | tuple) else data
