"""Where a result goes: standard output, or a file that is complete or not there."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


class OutputError(OSError):
    """The result cannot be written where it was asked for."""


def emit(text: str, output: str | None, *, declared: str | None = None) -> None:
    """Write `text` to the file `output`, all of it or nothing, or to standard output.

    `declared` is the encoding that the text itself states, as XML and HTML do: standard output gets it too then,
    whatever its own. Raises `OutputError` naming the file where that fails, and `BrokenPipeError` where the reader has
    gone.
    """
    whole = text if text.endswith("\n") else text + "\n"
    if output is None:
        binary = getattr(sys.stdout, "buffer", None)
        if declared is not None and binary is not None:
            sys.stdout.flush()
            binary.write(whole.encode(declared))
        else:
            sys.stdout.write(whole)  # click would write UTF-8 to a stream that says it holds ASCII
        sys.stdout.flush()
        return
    try:
        write_whole(whole, Path(output))
    except OSError as error:
        raise OutputError(
            f"--output {output!r} cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from error


def write_whole(text: str, target: Path) -> None:
    """Write `text` to the file `target`, which is replaced at once or stays as it was. Raises `OSError`.

    A link stays, and the file that it leads to is replaced. A device or a pipe is written to, and never replaced.
    """
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
        return
    target = Path(os.path.realpath(target))
    with tempfile.TemporaryDirectory(prefix=".optconform-", dir=target.parent) as folder:
        partial = Path(folder) / "result"
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
