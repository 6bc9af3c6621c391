"""Write a result as JSON or as text, to standard output or to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console

from .console import make_console, recording_console
from .output import emit


def write_json(document: dict[str, Any], output: str | None) -> None:
    """Write one JSON document and nothing more."""
    emit(json.dumps(document, indent=2, allow_nan=False), output)


def write_text(draw: Callable[[Console], None], output: str | None) -> None:
    """Let `draw` print to the terminal, or to a file without colour."""
    if output is None:
        draw(make_console())
        return
    console, buffer = recording_console()
    draw(console)
    emit(buffer.getvalue(), output)
