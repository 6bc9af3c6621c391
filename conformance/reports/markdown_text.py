"""Text from elsewhere in Markdown: shown as it is, never taken as markup."""

from __future__ import annotations

from collections.abc import Iterable

_MARKUP = "\\|*_<>`[]&~$#"
"""What Markdown, GitHub's `$` for formulas among it, takes for markup in the middle of a line or at its start."""


def escape_markdown(text: str) -> str:
    """Return `text`, which must be one line, so that Markdown shows it as it is, in a table too."""
    for character in _MARKUP:
        text = text.replace(character, f"\\{character}")
    return text


def table_line(cells: Iterable[str]) -> str:
    """Return one line of a table, of cells that are escaped."""
    return f"| {' | '.join(cells)} |"


def fenced(lines: Iterable[str]) -> list[str]:
    """Return `lines` as a block of code, in a fence that none of them can close."""
    block = list(lines)
    longest = max((len(run) for line in block for run in _backticks(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *block, fence]


def _backticks(line: str) -> list[str]:
    return "".join(character if character == "`" else " " for character in line).split()
