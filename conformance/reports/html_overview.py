"""The one picture of a run as a whole: of every result its own distance and the nearest rival's, on one log scale.

It is drawn here and not in the browser, so that opening a report costs no Plotly; the widths are shares of the page's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...adapters.text import escape_control
from .document import Document, Entry, State
from .html_data import inside
from .wording import number, rival_of

_ROW, _HEAD, _FOOT = 58, 22, 34
"""Heights in pixels: of one group, of what is above all of them, and of the axis beneath."""
_LEFT, _RIGHT = 6.0, 94.0
"""Shares of the width, in percent, between which the axis lies."""
_LANES = 7
"""Heights of one row among which its points are spread, since many lie at one place."""
_MOST_TICKS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """One result in the picture."""

    number: int
    """Of its section in the report."""
    x: float
    """In percent of the width."""
    y: float
    """In pixels."""
    title: str
    rival: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole picture."""

    height: int
    bottom: int
    """Where the axis lies, in pixels."""
    bound: float
    """Where the bound lies, in percent."""
    ticks: tuple[tuple[float, int], ...]
    """Percent and power of ten of each."""
    rows: tuple[tuple[str, int], ...]
    """Group, and where its name lies."""
    points: tuple[Point, ...]


def overview_of(document: Document) -> Overview | None:
    """Return the picture; None where no result has a distance."""
    groups: dict[str, list[tuple[int, Entry, float, float | None]]] = {}
    for place, entry in enumerate(document.worst_first, start=1):
        own = inside(entry.ratio)
        if entry.state is not State.SKIPPED and own is not None:
            separation = entry.result.separation
            rival = inside(separation.rival_ratio) if separation.nearest_rival is not None else None
            groups.setdefault(entry.group, []).append((place, entry, own, rival))
    if not groups:
        return None
    ratios = [ratio for found in groups.values() for *_, own, rival in found for ratio in (own, rival) if ratio]
    least, most = _decades(ratios)

    def across(ratio: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (math.log10(ratio) - least) / (most - least), 2)

    points: list[Point] = []
    names = sorted(groups)
    for row, name in enumerate(names):
        for lane, (place, entry, own, rival) in enumerate(groups[name]):
            y = _HEAD + row * _ROW + 24 + (lane * 3 % _LANES) * 4
            title = escape_control(entry.title)
            points.append(Point(place, across(own), y, f"{title}: own {number(entry.ratio)}", False))
            if rival is not None:
                points.append(Point(place, across(rival), y, f"{title}: rival {rival_of(entry)}", True))
    bottom = _HEAD + len(names) * _ROW
    step = max(1, math.ceil((most - least) / _MOST_TICKS))
    ticks = tuple((across(10.0**power), power) for power in range(least, most + 1) if power % step == 0)
    rows = tuple((name, _HEAD + row * _ROW + 14) for row, name in enumerate(names))
    return Overview(bottom + _FOOT, bottom, across(1.0), ticks, rows, tuple(points))


def _decades(ratios: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten between which all ratios lie, and the bound with room on both sides."""
    return min(math.floor(math.log10(min(ratios))), -1), max(math.ceil(math.log10(max(ratios))), 1)
