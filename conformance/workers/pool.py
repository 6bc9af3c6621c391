"""Run planned audits in worker processes and yield their results as they come."""

from __future__ import annotations

import atexit
import dataclasses
import queue
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...adapters.errors import TargetError
from ...adapters.text import describe_error
from ..planned import PlannedAudit
from ..result import Counting, Result
from .connection import Connection, Events, Kind, end_all
from .import_path import import_path
from .kinds import kind_of
from .limits import Limits
from .listening import LISTEN
from .messages import job_of
from .mistakes import mistake_of
from .wire import Message

if TYPE_CHECKING:
    from ..replaying import OnStep

MAX_IDLE = 4
"""Workers without a job that are kept for later ones, also of another run in this process: one for each framework."""
_ALL = Counting()
_DEFAULT = Limits()

_idle: list[Connection] = []


def run_isolated(
    plan: Sequence[PlannedAudit],
    trace_arguments: Sequence[str] = (),
    *,
    limits: Limits = _DEFAULT,
    workers: int = 1,
    counting: Counting = _ALL,
    on_step: OnStep | None = None,
    keep_going: bool = False,
) -> Iterator[tuple[int, Result]]:
    """Yield (index into `plan`, result) of every planned audit, in the order in which they are done.

    Each runs in a worker process under `limits`, `workers` of them at once. A target that hangs, crashes, raises or
    needs more memory than it may have yields its finding, and the others are not affected. `trace_arguments` are
    names or paths of traces, by default `default_names`; each worker opens and verifies them once.
    `counting` says which codes count, `on_step` is called with the steps that a replay has reached, ten times a
    second at most.

    Raises `TargetError` or `TraceError` for a target, option or trace that does not exist, which is a mistake in the
    command; with `keep_going`, a target or option of that sort is a result too, with the finding OC901. Raises
    `BadInterpreter` where the interpreter of `limits` cannot be started or lacks what this package needs, and
    `TypeError` for an option that is no Python literal. However the iteration ends, no target goes on running.
    """
    run = _Run(plan, trace_arguments, limits, workers, on_step, keep_going)
    try:
        for index, result in run.results():
            yield index, result.counting_only(counting)
    finally:
        run.end()


def start_early(plan: Sequence[PlannedAudit], limits: Limits = _DEFAULT) -> None:
    """Start the worker that the first audit of `plan` needs, so that the caller's own imports run beside its.

    It is kept like one that has had a job. Raises `BadInterpreter` where the interpreter cannot be started.
    """
    if plan:
        _idle.append(Connection(kind_of(plan[0], limits), import_path(limits.python), queue.SimpleQueue()))


def end_idle_workers() -> None:
    """End the workers that are kept for later runs; the end of the process does so too."""
    _end_beyond(0)


def _end_beyond(number: int) -> None:
    """End the workers without a job but the `number` that had one last."""
    ended = _idle[: max(0, len(_idle) - number)]
    del _idle[: len(ended)]
    end_all(ended)


atexit.register(end_idle_workers)


class _Run:
    """One call of `run_isolated`."""

    def __init__(
        self,
        plan: Sequence[PlannedAudit],
        trace_arguments: Sequence[str],
        limits: Limits,
        workers: int,
        on_step: OnStep | None,
        keep_going: bool,
    ) -> None:
        self._plan, self._traces, self._limits = plan, tuple(trace_arguments), limits
        self._workers, self._on_step, self._keep_going = workers, on_step, keep_going
        self._events: Events = queue.SimpleQueue()
        self._path = import_path(limits.python)
        self._jobs = [job_of(planned, self._traces, self._path) for planned in plan]
        self._waiting = deque(range(len(plan)))
        self._busy: dict[Connection, int] = {}
        self._warming: list[Connection] = []
        self._said: dict[int, Message] = {}
        """What has come of jobs that are under way."""
        self._instead: dict[Kind, Kind] = {}
        """Kinds that did not work -> what is started instead: without the library, or without forking."""

    def results(self) -> Iterator[tuple[int, Result]]:
        """Yield results until nothing is left to be done."""
        while self._waiting or self._busy:
            while self._waiting and len(self._busy) < self._workers:
                self._start(self._waiting.popleft())
            self._warm_next()
            done = self._next_done()
            if done is not None:
                yield done

    def end(self) -> None:
        """End what still runs; workers without a job are kept."""
        end_all([*self._busy, *self._warming])

    def _start(self, index: int) -> None:
        connection = self._worker_of(self._kind(self._plan[index]))
        self._busy[connection] = index
        connection.start(self._jobs[index], self._limits.timeout)

    def _worker_of(self, kind: Kind) -> Connection:
        """Return a worker without a job: one that is there, or a new one."""
        for kept in (self._warming, _idle):
            for connection in [each for each in reversed(kept) if each.kind == kind]:
                kept.remove(connection)
                connection.events = self._events
                if connection.lives():
                    return connection
                connection.end()
        return Connection(kind, self._path, self._events)

    def _warm_next(self) -> None:
        """Let one worker that will be needed import its framework while others are busy."""
        there = {each.kind for each in (*self._busy, *_idle)}
        needed = (self._kind(self._plan[index]) for index in self._waiting)
        missing = next((kind for kind in needed if kind not in there), None)
        if missing is not None and not self._warming:
            self._warming.append(Connection(missing, self._path, self._events))

    def _kind(self, planned: PlannedAudit) -> Kind:
        kind = kind_of(planned, self._limits)
        return self._instead.get(kind, kind)

    def _next_done(self) -> tuple[int, Result] | None:
        """Wait for one message; return the index and the result of the job that it completes, if it does."""
        left = min((each.seconds_left() for each in self._busy), default=LISTEN)
        try:
            connection, message = self._events.get(timeout=min(LISTEN, max(left, 0.0)))
        except queue.Empty:
            late = next((each for each in self._busy if each.seconds_left() <= 0.0), None)
            return None if late is None else self._late(late)
        if message is None:
            return self._lost(connection)
        index = self._busy.get(connection)
        if message.get("ready") is False:
            self._replace(connection, forked=False)
            return None
        if index is None:
            return None
        if "end" in message:
            return self._done(connection, message)
        if "step" in message:
            if self._on_step is not None:
                self._on_step(int(message["step"]))
        elif "result" in message or "error" in message:
            self._said[index] = message
        return None

    def _done(self, connection: Connection, end: Message) -> tuple[int, Result]:
        """Take back a job that has ended, with what the worker said of it and what it printed."""
        index, seconds = self._busy.pop(connection), connection.seconds_used()
        output = connection.finish()
        if connection.may_go_on(end):
            _idle.append(connection)
            _end_beyond(MAX_IDLE)
        else:
            connection.end()
        return index, dataclasses.replace(self._result(index, end, seconds), output=output)

    def _result(self, index: int, end: Message, seconds: float) -> Result:
        said = self._said.pop(index, {})
        mistake = None
        try:
            if "result" in said:
                return self._limits.kept_in(Result.from_json(said["result"]))
            mistake = mistake_of(said)
        except (KeyError, TypeError, ValueError) as error:
            end = {"garbled": describe_error(error)}
        if mistake is not None:
            if not (self._keep_going and isinstance(mistake, TargetError)):
                raise mistake
            end = {"mistake": str(mistake)}
        from .failures import failure  # it takes the whole audit along, of which a command needs nothing else

        return failure(self._plan[index], self._traces, end, self._limits, seconds)

    def _late(self, connection: Connection) -> tuple[int, Result] | None:
        """End a worker that should have ended its target, or was to, itself."""
        if not connection.ready and connection.kind.library is not None:
            self._replace(connection, library=None)
            return None
        return self._gone(connection, {"timed_out": True, "warm": connection.ready})

    def _lost(self, connection: Connection) -> tuple[int, Result] | None:
        """Take leave of a worker that has ended, and so has its target."""
        status = connection.end()
        if not connection.ready and connection.kind.library is not None:
            self._replace(connection, library=None)
            return None
        if not connection.ready and status >= 0:
            raise connection.unusable()
        return self._gone(connection, {"status": status, "warm": connection.ready})

    def _replace(self, connection: Connection, **changed: Any) -> None:
        """End a worker that cannot be used as it was started; its job goes to one of another kind."""
        self._instead[connection.kind] = dataclasses.replace(connection.kind, **changed)
        self._leave(connection)
        if (index := self._busy.pop(connection, None)) is not None:
            self._waiting.appendleft(index)

    def _gone(self, connection: Connection, end: Message) -> tuple[int, Result] | None:
        seconds = connection.seconds_used()
        self._leave(connection)
        index = self._busy.pop(connection, None)
        return None if index is None else (index, self._result(index, end, seconds))

    def _leave(self, connection: Connection) -> None:
        if connection in self._warming:
            self._warming.remove(connection)
        connection.end()
