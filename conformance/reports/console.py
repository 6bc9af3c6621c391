"""The rich console that text goes to: coloured in a terminal, plain and wide enough in a pipe."""

from __future__ import annotations

import io
import os

from rich.console import Console

PIPE_WIDTH = 120
"""Columns where the output is no terminal and COLUMNS does not say."""


def make_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or standard error; text from elsewhere is never taken as markup."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def recording_console() -> tuple[Console, io.StringIO]:
    """Return a console that writes plain text into a buffer, and the buffer."""
    buffer = io.StringIO()
    return Console(file=buffer, width=PIPE_WIDTH, highlight=False, markup=False, emoji=False, no_color=True), buffer
