"""The rich console that text goes to: coloured in a terminal, plain and wide enough in a pipe."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable

from rich.console import Console

PIPE_WIDTH = 120
"""Columns where the output is no terminal and COLUMNS does not say."""

_TRAILING = re.compile(" +$", re.MULTILINE)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or standard error; text from elsewhere is never taken as markup.

    rich heeds NO_COLOR, FORCE_COLOR and TERM=dumb.
    """
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not _width_is_named():
        if not console.is_terminal:
            console.width = PIPE_WIDTH
        elif console.width < 1:
            console.width = shutil.get_terminal_size().columns
    return console


def wraps_prose(console: Console) -> bool:
    """Whether sentences are broken into lines: where somebody looks at a width, or has named one.

    Elsewhere a finding is one line, which `grep` and the log of a CI server find whole.
    """
    return console.is_terminal or _width_is_named()


def _width_is_named() -> bool:
    """Whether COLUMNS holds a width; a terminal without a size sets it to 0, and rich would take that."""
    columns = os.environ.get("COLUMNS", "")
    return columns.isdecimal() and int(columns) > 0


def show(draw: Callable[[Console], None]) -> None:
    """Let `draw` print to standard output, without spaces at the ends of lines.

    All is drawn before any is written. Raises `BrokenPipeError` where the reader has gone.
    """
    console = make_console()
    if console.legacy_windows:  # it takes calls for colours, and no escapes
        draw(console)
        return
    with console.capture() as drawn:
        draw(console)
    console.file.write(_TRAILING.sub("", drawn.get()))
    console.file.flush()


def recording_console() -> tuple[Console, io.StringIO]:
    """Return a console that writes plain text into a buffer, and the buffer."""
    buffer = io.StringIO()
    # FORCE_COLOR is about the terminal: without `force_terminal` it puts bold and dim into files.
    console = Console(
        file=buffer, width=PIPE_WIDTH, highlight=False, markup=False, emoji=False, no_color=True, force_terminal=False
    )
    return console, buffer


def recorded(draw: Callable[[Console], None]) -> str:
    """Return what `draw` prints as plain text, for a file in UTF-8."""
    console, buffer = recording_console()
    draw(console)
    return _TRAILING.sub("", buffer.getvalue())
