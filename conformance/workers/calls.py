"""A worker process that calls functions of this package one after another, each within a time limit."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .connection import Connection, Events, Kind
from .import_path import import_path
from .limits import Limits
from .listening import outcome_of
from .wire import Message


@dataclass(frozen=True, slots=True)
class Called:
    """What came of one call."""

    said: Message
    """`answer`, what the function returned; or `error` or `failed`, what it raised; empty where it did not live."""
    end: Message
    """How it ended, as `endings.ending_of` reads it."""
    output: str
    """The last of what was printed."""


class CallingProcess:
    """One process with an environment of its own, in which what is imported stays for the calls that follow.

    It is started with the first call. A call that hangs, crashes or needs more memory than it may have ends it, and
    the next call starts another one.
    """

    def __init__(self, limits: Limits, environment: Mapping[str, str], *, limit_memory: bool = True) -> None:
        memory = limits.bytes_allowed if limit_memory else None
        self._kind = Kind(limits.python, None, None, memory, forked=False, environment=tuple(environment.items()))
        self._timeout = limits.timeout
        self._path = import_path(limits.python)
        self._events: Events = queue.SimpleQueue()
        self._connection: Connection | None = None

    def call(self, function: str, about: Any) -> Called:
        """Call `.module:function` of this package with `about`, a JSON document, and return what came of it.

        Raises `BadInterpreter` where the interpreter cannot be started or lacks what this package needs.
        """
        connection = self._started()
        connection.start({"call": function, "about": about, "path": self._path}, self._timeout)
        try:
            said, end = outcome_of(connection, self._events)
            output = connection.finish()
        except BaseException:
            self.end()
            raise
        if end.get("timed_out") or not connection.may_go_on(end):
            self.end()
        return Called(said, end, output)

    def _started(self) -> Connection:
        if self._connection is not None and not self._connection.lives():
            self.end()
        if self._connection is None:
            self._events = queue.SimpleQueue()
            self._connection = Connection(self._kind, self._path, self._events)
        return self._connection

    def end(self) -> None:
        """End the process and all below it, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end()
