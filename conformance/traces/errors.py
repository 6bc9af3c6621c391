"""The one error of this package: a trace that cannot be used, said so that the reader can act on it."""

from __future__ import annotations

from ...adapters.text import escape_control

MAX_SHOWN = 200
"""Characters of a name taken from a file that are shown in a message; a corrupt index may hold megabytes."""


def printable(text: object, most: int = MAX_SHOWN) -> str:
    """`text` on one line: control and other non-printing characters escaped, cut to `most` characters."""
    shown = str(text)
    if len(shown) > most:
        shown = shown[:most] + "..."
    return escape_control(shown)


class TraceError(ValueError):
    """A trace, or a description of one, is refused.

    `file` is the file (or, for a trace in memory, what stands for it), `tensor` the parameter concerned
    or None, `found` and `expected` say what is wrong, `remedy` is a sentence that says what to do. The
    message holds all of them; names from files are made printable. The error survives pickling, so it
    can cross from a worker process.
    """

    def __init__(self, file: object, found: str, expected: str, remedy: str, tensor: str | None = None) -> None:
        super().__init__(str(file), found, expected, remedy, tensor)
        self.file = str(file)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.tensor = tensor

    def __str__(self) -> str:
        where = printable(self.file)
        if self.tensor is not None:
            where += f", tensor '{printable(self.tensor)}'"
        return f"{where}: found {self.found}; expected {self.expected}. {self.remedy}"
