"""Paths and targets as a configuration writes them, made usable from the current folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..addresses import is_address

_PREFIXES = ("synthetic:", "generated:")


def shown_path(path: Path) -> str:
    """Return `path` as it is called from the current folder."""
    try:
        return os.path.relpath(path)
    except ValueError:  # on Windows: another drive
        return str(path)


def is_trace_path(trace: str) -> bool:
    """Whether a trace is named by its path, and neither by a name nor by an address."""
    from ..traces import shipped_names  # which brings NumPy

    return not (trace in shipped_names() or trace.startswith(_PREFIXES) or is_address(trace))


def from_here(trace: str, folder: Path) -> str:
    """Return a trace of a configuration in `folder` as the command line would name it in the current folder.

    Names and addresses stay as they are.
    """
    if not is_trace_path(trace):
        return trace
    path = shown_path(folder / trace)
    # A directory that bears the name of a trace is reached by its path alone.
    return path if is_trace_path(path) else f"{os.curdir}{os.sep}{path}"


def target_from_here(target: str, folder: Path) -> str:
    """Return a target of a configuration in `folder` as the command line would name it in the current folder."""
    from ...adapters.targets import is_file  # which brings NumPy

    place, separator, attribute = target.rpartition(":")
    return f"{shown_path(folder / place)}{separator}{attribute}" if is_file(place) else target
