"""A run as Markdown, made for GitHub's step summary: the worst first, and never above the size that it takes."""

from __future__ import annotations

import html
from collections.abc import Iterable

from ...adapters.text import escape_control
from .document import Document, Entry
from .markdown_text import escape_markdown, fenced, table_line
from .wording import (
    counts_of,
    environment_of,
    failures_of,
    notes_of,
    number,
    outcome_of,
    printed_by,
    repeats_of,
    rerun_of,
    rival_of,
    ulp_of,
)

LIMIT = 1_000_000
"""Bytes of UTF-8: GitHub takes 1 MiB for one step, and shows nothing of more."""
SMALLEST_LIMIT = 20_000
"""Bytes in which the headline, its notes and the environment fit, and something of the table."""

_HEADINGS = ("result", "state", "verdict", "own", "rival", "ULP from CPU", "repeated")
_LONGEST_NOTE = 500
"""Characters of one note, cell or title that are shown; so below for the number of notes."""
_MOST_NOTES = 10
_LONGEST_LINE = 4_000
"""Characters of one line in the block of a failure."""
_PRINTED = 40
"""Lines of what a target printed: its last ones."""
_ROOM_FOR_COUNTS = 400
"""Bytes kept for the sentences that say what was left out."""


def summary_markdown(document: Document, limit: int = LIMIT) -> str:
    """Return the run as Markdown of at most `limit` bytes of UTF-8.

    The headline counts all results; the table and the failures hold the worst of them, and say how many are left
    out. Raises `ValueError` for a limit below `SMALLEST_LIMIT`.
    """
    if limit < SMALLEST_LIMIT:
        raise ValueError(f"limit is {limit} bytes, but should be at least {SMALLEST_LIMIT}")
    ordered = document.worst_first
    head = _head(document)
    end = _environment(document)
    room = limit - _size([*head, *end]) - _ROOM_FOR_COUNTS
    failing = [entry for entry in ordered if entry.state.fails]
    blocks = [_failure(entry) for entry in failing]
    # Half of the room for the table, unless the failures need less than theirs; they get all that is left.
    rows = [table_line(_row(entry)) for entry in ordered]
    shown_rows = _fitting(
        [[row] for row in rows], max(room // 2, room - _size(line for each in blocks for line in each))
    )
    room -= _size(line for each in shown_rows for line in each)
    shown_blocks = _fitting(blocks, room)
    lines = list(head)
    if rows:
        lines += [table_line(_HEADINGS), table_line(["---"] * len(_HEADINGS))]
        lines += [row for (row,) in shown_rows]
        lines += ["", "own, rival: distance from the rule it follows and from the nearest other, in bounds.", ""]
    if len(shown_rows) < len(rows):
        lines += [
            f"**{len(rows) - len(shown_rows)} of {len(rows)} results are left out of this table for its size.**",
            "",
        ]
    lines += [line for block in shown_blocks for line in block]
    if len(shown_blocks) < len(blocks):
        left_out = len(blocks) - len(shown_blocks)
        lines += [f"**{left_out} of {len(blocks)} failures are left out here for their size.**", ""]
    return "\n".join([*lines, *end]) + "\n"


def _head(document: Document) -> list[str]:
    lines = [f"## optconform: {outcome_of(document)}", "", f"{counts_of(document)}.", ""]
    notes = notes_of(document)
    lines += [f"- **{_clipped(note)}**" for note in notes[:_MOST_NOTES]]
    lines += [f"- **and {len(notes) - _MOST_NOTES} more like these**"] if len(notes) > _MOST_NOTES else []
    return [*lines, ""] if notes else lines


def _row(entry: Entry) -> tuple[str, ...]:
    verdict = str(entry.result.verdict) if not entry.skipped else entry.skipped
    cells = (_clipped(cell) for cell in (entry.title, entry.state, verdict))
    figures = (number(entry.ratio), _clipped(rival_of(entry)), ulp_of(entry))
    return (*cells, *figures, repeats_of(entry))


def _failure(entry: Entry) -> list[str]:
    """Return the block of one failure: what was found, where first, and the command that shows it again."""
    code = f"{entry.gravest[0].rule} " if entry.gravest else ""
    # Inside an element of HTML, Markdown's own escapes mean nothing.
    summary = html.escape(_cut(f"{code}{entry.title}: {entry.state}", _LONGEST_NOTE))
    lines = ["<details>", f"<summary>{summary}</summary>", ""]
    lines += fenced(_cut(line, _LONGEST_LINE) for line in failures_of(entry))
    rerun = rerun_of(entry)
    if rerun:
        lines += ["", "Run it again:", "", *fenced([rerun])]
    printed = printed_by(entry)[-_PRINTED:]
    if printed:
        lines += ["", "It printed, at the end:", "", *fenced(_cut(line, _LONGEST_LINE) for line in printed)]
    return [*lines, "", "</details>", ""]


def _environment(document: Document) -> list[str]:
    named = "; ".join(f"{name} {value}" for name, value in environment_of(document).items())
    return [f"Ran on: {escape_markdown(_cut(named, _LONGEST_LINE))}"] if named else []


def _fitting(blocks: list[list[str]], room: int) -> list[list[str]]:
    """Return the first of `blocks` that together are at most `room` bytes."""
    for index, block in enumerate(blocks):
        room -= _size(block)
        if room < 0:
            return blocks[:index]
    return blocks


def _size(lines: Iterable[str]) -> int:
    """Return the bytes of `lines` in UTF-8, with the end of each."""
    return sum(len(line.encode()) + 1 for line in lines)


def _clipped(text: str) -> str:
    return escape_markdown(_cut(text, _LONGEST_NOTE))


def _cut(text: str, most: int) -> str:
    """Return `text` with control characters escaped, on one line of at most about `most` characters."""
    shown = escape_control(text)
    return shown if len(shown) <= most else f"{shown[:most]}..."
