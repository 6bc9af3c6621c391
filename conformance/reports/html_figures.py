"""The figures of the HTML report. Each is Plotly's own JSON, without colours: the page brings those, light or dark."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from ...adapters.text import escape_control
from .document import Document, Entry, State
from .wording import number, rival_of

_MOST_CASES = 200
"""Cases of one figure: more have no room on a screen, and are in the table."""
_ROW, _MARGIN = 22, 110
"""Height of one case, and of what is around them, in pixels."""
_LONGEST_LABEL = 56
_LEAST, _MOST = 1e-3, 1e18
"""The log axis ends there: what lies beyond, infinity among it, is drawn at the edge and told on hovering."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the report."""

    title: str
    caption: str
    json: str
    """Plotly's figure, safe inside a script element: `<`, `>` and `/` are written as escapes of JSON."""


def bound_ratio_figures(document: Document) -> list[Figure]:
    """Return one figure for each runtime: of every case its bound ratio, and that of the nearest rival beside it."""
    groups: dict[str, list[Entry]] = {}
    for entry in document.worst_first:
        if entry.state is not State.SKIPPED and entry.ratio is not None:
            groups.setdefault(entry.group, []).append(entry)
    return [_bound_ratios(group, entries) for group, entries in sorted(groups.items())]


def _bound_ratios(group: str, entries: Sequence[Entry]) -> Figure:
    shown = entries[:_MOST_CASES]
    # Drawn from below, so the worst come last; numbers as positions, since two cases may have one title.
    places = list(range(len(shown), 0, -1))
    with_rival = [
        (place, entry) for place, entry in zip(places, shown, strict=True) if entry.result.separation.nearest_rival
    ]
    figure = go.Figure()
    figure.add_scatter(
        **_points([entry.ratio for entry in shown], places),
        name="own",
        marker={"symbol": "circle", "size": 9},
        text=[f"{_label(entry, 400)}<br>own {number(entry.ratio)} of the bound" for entry in shown],
    )
    figure.add_scatter(
        **_points([entry.result.separation.rival_ratio for _, entry in with_rival], [each for each, _ in with_rival]),
        name="nearest rival",
        marker={"symbol": "diamond-open", "size": 9},
        text=[f"{_label(entry, 400)}<br>rival {html.escape(rival_of(entry))}" for _, entry in with_rival],
    )
    figure.add_vline(x=1.0, line={"dash": "dash", "width": 1})
    # Of an annotation, and not of a shape, the place on a log axis is a power of ten.
    figure.add_annotation(x=0.0, y=1.0, yref="paper", yanchor="bottom", text="the bound", showarrow=False)
    figure.update_layout(
        template="none",
        height=_MARGIN + _ROW * len(shown),
        margin={"l": 10, "r": 10, "t": 40, "b": 45},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 1.0, "xanchor": "right"},
        hovermode="closest",
        xaxis={"type": "log", "title": {"text": "distance in bounds"}, "exponentformat": "power", "nticks": 8},
        yaxis={
            "tickmode": "array",
            "tickvals": places,
            "ticktext": [_label(entry, _LONGEST_LABEL) for entry in shown],
            "range": [0.3, len(shown) + 0.7],
            "automargin": True,
            "zeroline": False,
        },
    )
    rest = f" The {len(shown)} largest of {len(entries)} are shown." if len(shown) < len(entries) else ""
    caption = (
        "How far each lies from the rule it follows or should, in units of what rounding explains: left of the line "
        f"at 1 it conforms. The nearest other rule beside it lies far to the right.{rest}"
    )
    return Figure(f"Bound ratios, {group}", caption, str(figure.to_json()))


def _points(ratios: Sequence[float | None], places: Sequence[int]) -> Mapping[str, Any]:
    """Return the points of one trace, each inside the axis."""
    return {"x": [_inside(ratio) for ratio in ratios], "y": list(places), "mode": "markers", "hoverinfo": "text"}


def _inside(ratio: float | None) -> float | None:
    if ratio is None:
        return None
    return _MOST if math.isnan(ratio) else min(max(ratio, _LEAST), _MOST)


def _label(entry: Entry, most: int) -> str:
    """Return the title as Plotly shows text, which takes some of HTML for markup; the end says the most."""
    title = escape_control(entry.title)
    return html.escape(title if len(title) <= most else f"...{title[-most:]}")
