"""The documentation's page on the collection: counts, every planted fault, every sound optimizer.

optconform doctor --self-test --format json | python -m optconform.conformance.faults.page > docs/faults.md
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .departures import DEPARTURES
from .families import FRAMEWORKS

_HEAD = """\
# Planted faults and sound optimizers

The tool is tested by its judgement. A *planted fault* is an optimizer that is wrong on purpose: its code must fire,
with its severity, no other error may, and the exit status must be right. A *sound optimizer* does what is expected of
it, however unusually: in other evaluation orders, in place and out of place, in float32 and float64, by foreach and by
loop, by rules that the reference does not know. No error may fire on it, and the exit status must be 0.

All of them ship with the package, in `optconform/conformance/faults/`, and this runs those of the installed frameworks:

```sh
optconform doctor --self-test
```

The update rules (Adam, SGD with momentum, Lion, RMSprop, a trust ratio) are written once. A fault is one row that says
what it changes; it is planted in NumPy in every rule that can have it, and elsewhere in one at least.
"""
_FOOT = """\
`optconform doctor --self-test --format json | python -m optconform.conformance.faults.page` prints this page.
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page as Markdown, from an `optconform/self-test/1` document."""
    planted = [row for row in document["rows"] if row["kind"] == "planted"]
    sound = [row for row in document["rows"] if row["kind"] == "sound"]
    sections = [
        _HEAD,
        _table(("framework", "found / planted", "false alarms / sound"), _counts(document["tallies"])),
        "## Planted faults\n",
        "In how many optimizers of each framework a fault is planted, and the release in which it was seen.\n",
        _table(("code", "fault", "seen in", *FRAMEWORKS), _faults(planted)),
        "## Sound optimizers\n",
        _table(("framework", "optimizer", "expected"), _sound(sound)),
        _FOOT,
    ]
    return "\n".join(sections)


def _counts(tallies: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    sums = Counter[str]()
    rows = []
    for tally in tallies:
        sums.update({key: value for key, value in tally.items() if key != "framework"})
        rows.append((tally["framework"], *_ratios(tally)))
    return [*rows, ("all", *_ratios(sums))]


def _ratios(counts: Mapping[str, Any]) -> tuple[str, str]:
    return f"{counts['found']} / {counts['planted']}", f"{counts['false_alarms']} / {counts['sound']}"


def _faults(planted: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    seen_in = {departure.description: departure.seen_in or "" for departure in DEPARTURES.values()}
    counts = Counter((row["code"], row["description"], row["framework"]) for row in planted)
    faults = sorted(dict.fromkeys((row["code"], row["description"]) for row in planted))
    return [
        (code, text, seen_in.get(text, ""), *(str(counts[code, text, name] or "") for name in FRAMEWORKS))
        for code, text in faults
    ]


def _sound(sound: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["framework"],
            f"`{row['name'].removeprefix(row['framework'] + '-')}`",
            f"`{row['description'].removeprefix('expected: ')}`",
        )
        for row in sound
    ]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page(json.load(sys.stdin)))
