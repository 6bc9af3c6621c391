"""Errors of a worker that are the user's to mend, and that the command raises as its own."""

from __future__ import annotations

from ...adapters.errors import MissingDevice, MissingFramework, PathNotTaken, TargetError, UnknownOption
from .wire import Message

_KNOWN = {each.__name__: each for each in (MissingDevice, MissingFramework, PathNotTaken, TargetError, UnknownOption)}


def told(error: Exception) -> Message:
    """Return the message that tells of an error."""
    return {"error": type(error).__name__, "arguments": list(error.args)}


def mistake_of(said: Message) -> Exception | None:
    """Return the error that a message tells of, None where it tells of none.

    Raises `KeyError` or `TypeError` for one that no worker has written.
    """
    name = said.get("error")
    if name is None:
        return None
    if name == "TraceError":
        from ..traces import TraceError  # only here is NumPy needed

        return TraceError(*said["arguments"])
    return _KNOWN[name](*said["arguments"])
