"""What a worker says about one job, for callers that wait for it."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from .connection import Connection, Events
from .wire import Message

LISTEN = 1.0
"""Seconds between two looks at the clock; on Windows, nothing interrupts a longer wait."""


def messages_of(connection: Connection, events: Events) -> Iterator[Message]:
    """Yield what a worker says about its job, and last how that ended: a message with `end`.

    Raises `BadInterpreter` where the worker ended before it could take the job.
    """
    while (left := connection.seconds_left()) > 0.0:
        try:
            message = events.get(timeout=min(LISTEN, left))[1]
        except queue.Empty:
            continue
        if message is None:
            status = connection.end()
            if not connection.ready and status >= 0:
                raise connection.unusable()
            yield {"end": True, "status": status, "warm": connection.ready}
            return
        yield message
        if "end" in message:
            return
    yield {"end": True, "timed_out": True, "warm": connection.ready}


def outcome_of(connection: Connection, events: Events) -> tuple[Message, Message]:
    """Wait for the end of a job; return the last thing that was said of it, and how it ended. Raises as above."""
    said: Message = {}
    end: Message = {}
    for message in messages_of(connection, events):
        if "end" in message:
            end = message
        elif "ready" not in message:
            said = message
    return said, end
