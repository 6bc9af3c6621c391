"""Tables and paragraphs that stay whole at every width: a name that does not fit has a line of its own.

rich folds a long name in the middle of a word, or cuts it; a name here can be copied, and found with `grep`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ...adapters.text import escape_control
from .console import wraps_prose
from .encodings import is_unicode, spelled

_INDENT = 2
"""Columns by which the rest of a name, and what stands beneath it, is set in."""
_LEAST_NAME = 16
"""Columns that names need at least beside their cells; with less, the cells go beneath."""
_LEAST_BESIDE_EXTRA = 22
"""Columns that must be left for names before the columns are shown that can be done without."""
_LEAST_SPACED = 30
"""Columns that are left for names before two columns have two spaces between them."""
_GAPS = (2, 1)
"""Spaces between two columns, where there is room, and at least."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column beside the names."""

    heading: str
    right: bool = False
    extra: bool = False
    """Whether it can be done without where there is no room."""


@dataclass(frozen=True, slots=True)
class Row:
    """A name with its cells; one without cells is a heading of the rows that follow."""

    name: str
    cells: tuple[Text | str, ...] = ()
    below: str = ""
    """A sentence beneath the row."""


def as_shown(console: Console, text: str) -> str:
    """Return `text` as it can be shown: control characters escaped, and signs that the encoding lacks as words."""
    return spelled(escape_control(text), console.encoding)


def print_table(console: Console, name: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print `rows` under `columns`, the names under `name`. Control characters are escaped."""
    rows = [_escaped(console, row) for row in rows]
    table = _fitted(console, name, columns, rows)
    for heading in table.heading(name):
        console.print(Text(heading, "bold"), soft_wrap=True)
    _print_rule(console, table.width)
    for row in rows:
        for line in table.lines(row):
            console.print(line, soft_wrap=True)
        if row.below:
            print_prose(console, row.below, indent=2 * _INDENT, style="dim")


def print_prose(
    console: Console,
    text: str,
    *,
    indent: int = 0,
    label: str = "",
    label_style: str = "",
    style: str = "",
    hang: int | None = None,
) -> None:
    """Print a sentence behind `label`; its further lines are set in by `hang`, by default beneath its first word.

    Control characters are escaped. Where nobody looks at a width it is one line; a word longer than a line is whole.
    """
    start = " " * indent + as_shown(console, label)
    hang = cell_len(start) if hang is None else hang
    whole = as_shown(console, text)
    lines = [whole]
    if wraps_prose(console) and cell_len(start + whole) > console.width:
        lines = textwrap.wrap(
            whole,
            console.width,
            initial_indent="-" * cell_len(start),
            subsequent_indent=" " * hang,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines[0] = lines[0][cell_len(start) :]
    lines[0] = lines[0].rstrip()
    console.print(
        Text.assemble((start if lines[0] else start.rstrip(), label_style), (lines[0], style)), soft_wrap=True
    )
    for line in lines[1:]:
        console.print(Text(line, style), soft_wrap=True)


def print_list(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` in columns of which the last holds sentences, as `print_prose` breaks them.

    Where less than a third of the width is left for them they stand beneath, set in. Control characters are escaped.
    """
    rows = [[as_shown(console, cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) + _GAPS[0] for column in zip(headings, *rows, strict=True)][:-1]

    def led(cells: Sequence[str]) -> str:
        return "".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=False))

    beneath = sum(widths) > 2 * console.width // 3 and wraps_prose(console)
    if any(headings):
        lines = (
            [led(headings).rstrip(), " " * 2 * _INDENT + headings[-1]] if beneath else [led(headings) + headings[-1]]
        )
        for line in lines:
            console.print(Text(line.rstrip(), "bold"), soft_wrap=True)
        _print_rule(console, max(map(cell_len, lines)))
    for *cells, text in rows:
        if beneath:
            console.print(Text(led(cells).rstrip()), soft_wrap=True)
            print_prose(console, text, indent=2 * _INDENT)
        else:
            print_prose(console, text, label=led(cells))


def print_command(console: Console, label: str, command: str, *, indent: int = 0) -> None:
    """Print a command on one line, to be copied. Control characters are escaped."""
    console.print(Text(f"{' ' * indent}{label}{escape_control(command)}", "dim"), soft_wrap=True)


def _print_rule(console: Console, width: int) -> None:
    rule = "\u2500" if is_unicode(console.encoding) else "-"
    console.print(Text(rule * min(width, console.width), "dim"), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Table:
    """How wide everything is."""

    columns: Sequence[Column]
    shown: Sequence[int]
    """Which columns are shown."""
    widths: Sequence[int]
    """Of the columns that are shown."""
    names: int
    """Columns for the names, 0 where the cells stand beneath them."""
    gap: int

    @property
    def start(self) -> int:
        """Column at which the cells begin."""
        return self.names + self.gap if self.names else _INDENT

    @property
    def width(self) -> int:
        """Columns of a row of cells."""
        return self.start + sum(self.widths) + self.gap * (len(self.widths) - 1)

    def heading(self, name: str) -> list[str]:
        """Return the lines of the heading."""
        cells = Row(name, tuple(column.heading for column in self.columns))
        return [str(line) for line in self.lines(cells)]

    def lines(self, row: Row) -> list[Text]:
        """Return the lines of a row: its name, with the cells on the first line on which there is room for them."""
        if not row.cells:
            return [Text(row.name, "bold")]
        lead = len(row.name) - len(row.name.lstrip())
        names = [" " * lead + line for line in _name_lines(row.name.strip(), self.names - lead)]
        place = next((number for number, line in enumerate(names) if cell_len(line) <= self.names), len(names))
        lines = [Text(line) for line in names] + [Text("")] * (place == len(names))
        lines[place] = Text.assemble(str(lines[place]), " " * (self.start - cell_len(str(lines[place]))))
        for number, width in zip(self.shown, self.widths, strict=True):
            cell = row.cells[number]
            cell = Text(cell) if isinstance(cell, str) else cell
            room = " " * (width - cell.cell_len)
            both = (room, cell) if self.columns[number].right else (cell, room)
            lines[place] = Text.assemble(lines[place], *both, " " * self.gap)
        lines[place].rstrip()
        return lines


def _fitted(console: Console, name: str, columns: Sequence[Column], rows: Sequence[Row]) -> _Table:
    """Return the widths: all columns and two spaces between them where there is room, the names' own lines last."""
    longest = max(cell_len(each) for each in (name, *(row.name for row in rows if row.cells)))
    cells = [Row(name, tuple(column.heading for column in columns)), *(row for row in rows if row.cells)]
    widths = [max(cell_len(str(row.cells[number])) for row in cells) for number in range(len(columns))]
    needed = [number for number, column in enumerate(columns) if not column.extra]
    specs = sorted(cell_len(row.name.partition(" ")[0]) for row in cells)
    for shown, least in (
        (range(len(columns)), max(_LEAST_BESIDE_EXTRA, specs[len(specs) // 2])),
        (needed, _LEAST_NAME),
    ):
        chosen = [widths[number] for number in shown]
        for gap, at_least in zip(_GAPS, (max(_LEAST_SPACED, least), least), strict=True):
            room = console.width - sum(chosen) - gap * len(chosen)
            if room >= min(longest, at_least):
                lines = [line for row in cells[1:] for line in _name_lines(row.name, room)]
                fitting = [cell_len(line) for line in lines if cell_len(line) <= room]
                names = max(*fitting, cell_len(name)) if fitting else 0
                return _Table(columns, shown, chosen, names, gap)
    return _Table(columns, needed, [widths[number] for number in needed], 0, _GAPS[-1])


def _name_lines(name: str, width: int) -> list[str]:
    """Return a name on lines of `width` columns where its words allow that, all but the first set in."""
    if cell_len(name) <= width:
        return [name]
    first, *others = name.split(" ")
    lines = [first]
    for word in others:
        longer = f"{lines[-1]} {word}"
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(" " * _INDENT + word)
    return lines


def _escaped(console: Console, row: Row) -> Row:
    cells = tuple(
        Text(as_shown(console, str(cell)), cell.style if isinstance(cell, Text) else "") for cell in row.cells
    )
    return Row(as_shown(console, row.name), cells, row.below)
