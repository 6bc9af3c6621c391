"""Where a result goes: standard output, or a file that is complete or not there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click


class OutputError(OSError):
    """The result cannot be written where it was asked for."""


def emit(text: str, output: str | None) -> None:
    """Write `text` to the file `output`, all of it or nothing, or to standard output.

    Raises `OutputError` naming the file where that fails.
    """
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        write_whole(text if text.endswith("\n") else text + "\n", Path(output))
    except OSError as error:
        raise OutputError(
            f"--output {output!r} cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from error


def write_whole(text: str, target: Path) -> None:
    """Write `text` to the file `target`, which is replaced at once or stays as it was. Raises `OSError`."""
    with tempfile.TemporaryDirectory(prefix=".optconform-", dir=target.parent) as folder:
        partial = Path(folder) / "result"
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
