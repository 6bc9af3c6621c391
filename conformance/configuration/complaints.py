"""What can be wrong with a string of the right form: it names something that is not there, or breaks a grammar."""

from __future__ import annotations

from pathlib import Path

from ...adapters.errors import TargetError
from ..addresses import is_address
from ..expectation import InvalidExpectation, parse_expectation
from .mistakes import nearest
from .paths import from_here, is_trace_path


def of_expectation(text: str, folder: Path) -> str | None:
    """Return what is wrong with an expectation."""
    try:
        parse_expectation(text)
    except InvalidExpectation as error:
        return str(error).removeprefix(f"expectation {text!r}: ")
    return None


def of_target(text: str, folder: Path) -> str | None:
    """Return what is wrong with a target; a module is not looked for, and nothing is imported."""
    from ...adapters.targets import is_file, parse_spec  # which brings NumPy

    try:
        place, _ = parse_spec(text)
    except TargetError as error:
        return str(error)
    file = folder / place
    if not is_file(place) or file.is_file():
        return None
    if (folder / place.replace("\\", "/")).is_file():
        return f"{place} does not exist in the folder of the configuration; write / where it has \\"
    siblings = sorted(entry.name for entry in file.parent.glob("*.py")) if file.parent.is_dir() else []
    what = "is no regular file" if file.exists() else "does not exist"
    return f"{place} {what} in the folder of the configuration{nearest(file.name, siblings)}"


def of_trace(text: str, folder: Path) -> str | None:
    """Return what is wrong with the name or path of a trace; nothing is fetched from an address."""
    if is_address(text):
        return None
    from ..traces import TraceError, find_trace, shipped_names  # which brings NumPy

    name = from_here(text, folder)
    if is_trace_path(text) and not Path(name).exists():
        hint = nearest(text, shipped_names())
        return f"there is no trace of this name, and no such directory in the folder of the configuration{hint}"
    try:
        find_trace(name, verify=False)
    except TraceError as error:
        return str(error).removeprefix(f"{name}: ")
    return None
