"""Compare two optimizers in a worker process."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...adapters.text import describe_error
from ..planned import PlannedComparison
from .connection import Connection, Events, Kind
from .endings import ending_of
from .import_path import import_path
from .kinds import framework_and_library
from .limits import Limits
from .listening import messages_of
from .messages import job_of_comparison
from .mistakes import mistake_of
from .wire import Message

if TYPE_CHECKING:
    from ..compare_result import CompareResult
    from ..replaying import OnStep


class NotCompared(RuntimeError):
    """No comparison could be made: the worker died, hung, or raised what is nobody's mistake."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output
        """The last of what the targets printed."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison, and what it takes to show it."""

    result: CompareResult
    titles: tuple[str, str]
    output: str
    """The last of what the targets printed."""


class StartedComparison:
    """A comparison that runs in a worker process from the beginning, while the caller imports what it shows it with."""

    def __init__(self, planned: PlannedComparison, trace_arguments: Sequence[str], limits: Limits) -> None:
        """Start it. Raises `BadInterpreter`, and `TypeError` for an option that is no Python literal."""
        self._limits = limits
        self._events: Events = queue.SimpleQueue()
        path = import_path(limits.python)
        job = job_of_comparison(planned, trace_arguments, path)
        self._connection = Connection(_kind_of(planned, limits), path, self._events)
        self._connection.start(job, limits.timeout)

    def result(self, on_step: OnStep | None = None) -> Compared:
        """Wait for the result and end the worker.

        Raises what the worker tells of: `TargetError`, `TraceError`, `MissingFramework`, `MissingDevice`; and
        `NotCompared` where it died, hung or needed more memory than it may have.
        """
        said: Message = {}
        end: Message = {}
        try:
            for message in messages_of(self._connection, self._events):
                if "end" in message:
                    end = message
                elif "step" not in message:
                    said = message
                elif on_step is not None:
                    on_step(int(message["step"]))
            output = self._connection.finish()
        finally:
            self._connection.end()
        try:
            if "compared" in said:
                return self._compared(said, output)
            mistake = mistake_of(said)
        except (KeyError, TypeError, ValueError) as error:
            mistake, end = None, {"garbled": describe_error(error)}
        raise mistake or NotCompared(f"no comparison: {said.get('failed') or ending_of(end, self._limits)[1]}", output)

    def _compared(self, said: Message, output: str) -> Compared:
        from ..compare_result import CompareResult

        result = CompareResult.from_json(said["compared"])
        first, second = said["titles"]
        result = replace(result, rerun=self._limits.added_to(result.rerun) or "")
        return Compared(result, (str(first), str(second)), output)


def _kind_of(planned: PlannedComparison, limits: Limits) -> Kind:
    """Return the kind of worker: of the framework of both, or of none; it runs one job, and so is not forked from."""
    frameworks = {framework_and_library(side.spec, side.framework)[0] for side in (planned.first, planned.second)}
    framework = frameworks.pop() if len(frameworks) == 1 else None
    memory = limits.bytes_allowed if planned.device == "cpu" else None
    return Kind(limits.python, framework, None, memory, forked=False)
