"""One recording: training steps on their way from the training thread to the disk.

The training thread hands over copies and goes on; a thread of the recording's own appends them to the trace. What is
on its way is bounded: where the disk is slower than training, training waits for it. Whatever goes wrong on the way
ends the recording with one warning and leaves the training alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...adapters.protocol import SparseRows
from ...adapters.recording import Joined, Plan, TrainingStep
from ..traces.appending import TraceAppender
from ..traces.errors import TraceError
from ..traces.run import RecordedRun, Sample
from ..traces.trace import Parameter
from ..traces.writer import SHARD_BYTES, check_target, move, unfinished
from .options import RecordingOptions

QUEUE_BYTES = 256 * 2**20
"""Most bytes on their way to the disk; a single step may be larger and then goes alone."""
LEAST_SECONDS = 1.0
SHARE_OF_RUN = 0.01
"""Steps reach the disk after a second, later after a hundredth of the time recorded so far: a process that is killed
loses no more than that, and a recording of ten hours is some 700 shards."""


class RecordingWarning(UserWarning):
    """A recording has ended before its time, or holds nothing. Training is not touched by it."""


class Recording:
    """Where a framework's capture code puts the steps of one run: a `Sink`, and a context manager that closes itself.

    `framework` and `optimizer` (`module:qualified name`) go into the index; `provenance` too, as it is. The trace
    appears under `path` with its first step. Raises `TraceError` where nothing can be written there, at once and not
    when training is under way, and `ValueError` or `TypeError` for wrong options. Closing is done at the latest when
    the interpreter ends.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: RecordingOptions,
        *,
        framework: str,
        optimizer: str,
        lr_base: float | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = options
        self._target = Path(path).resolve()
        self._framework, self._optimizer = framework, optimizer
        self._lr_base, self._provenance = lr_base, provenance
        check_target(self._target, options.overwrite)
        try:
            self._folder = unfinished(self._target)
        except OSError as error:
            where, expected = self._target.parent, "a directory that can be written to"
            raise TraceError(where, f"no way to write there ({error.strerror})", expected, "Choose another.") from error
        self._appender: TraceAppender | None = None
        self._seen = 0
        self._last_recorded = 0
        self._failure: str | None = None
        self._warned = self._closed = False
        self._process = os.getpid()
        self._queue: queue.SimpleQueue[tuple[int, TrainingStep] | None] = queue.SimpleQueue()
        self._on_its_way = 0
        self._room = threading.Condition()
        self._began = self._flushed = time.monotonic()
        # A daemon: atexit closes, which interpreters do before they wait for threads that are none.
        self._thread = threading.Thread(target=self._work, name="optconform recording", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def path(self) -> Path:
        """Where the trace lies, once it has a step."""
        return self._target

    @property
    def n_steps(self) -> int:
        """Steps on the disk so far."""
        return 0 if self._appender is None else self._appender.n_written

    # What capture code calls. See `adapters.recording.Sink`.

    def next_step(self) -> Plan | None:
        """Count the step that is about to be made; None where nothing of it is wanted."""
        self._seen += 1
        if self._idle() or not self.options.wants(self._seen):
            return None
        begins = self._last_recorded == 0 or self._last_recorded != self._seen - 1
        first = self._last_recorded == 0
        self._last_recorded = self._seen
        return Plan(start=begins and (first or self.options.snapshots), after=self.options.snapshots)

    def coordinates(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """The coordinates that are kept of a tensor; None for all."""
        return self.options.coordinates(name, shape)

    def put(self, step: TrainingStep) -> None:
        """Take one step, waiting while more than `QUEUE_BYTES` are on their way."""
        if self._idle():
            return
        size = _bytes(step)
        with self._room:
            self._room.wait_for(lambda: self._on_its_way == 0 or self._on_its_way + size <= QUEUE_BYTES)
            self._on_its_way += size
        self._queue.put((self._seen, step))

    def stop(self, reason: str) -> None:
        """End the recording with a warning that gives `reason`; the steps so far are kept."""
        self._failure = self._failure or reason
        self._warn()

    def _idle(self) -> bool:
        """Whether nothing is recorded any more; warns where that has a reason that was not told yet."""
        self._warn()
        return self._closed or self._failure is not None or os.getpid() != self._process

    def _warn(self) -> None:
        if self._failure is None or self._warned:
            return
        self._warned = True
        kept = f"the {self.n_steps} steps before are kept" if self.n_steps else "nothing was recorded"
        _say(f"optconform stopped recording {self._target}: {self._failure}. Training goes on; {kept}.")

    # The end.

    def close(self) -> None:
        """Bring every step to the disk and end the recording. May be called again; a child process closes nothing."""
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._queue.put(None)
        self._thread.join()
        if self._appender is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._failure is None:
                _say(f"optconform recorded nothing to {self._target}: {self._nothing()}.")
        self._warn()

    def _nothing(self) -> str:
        if not self._seen:
            return "the optimizer made no step while it was recorded"
        return f"of the {self._seen} steps made, none was among those to be recorded ({self.options})"

    def __enter__(self) -> Self:
        """Return the recording itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, however the block was left: what was trained until then is kept."""
        self.close()

    # The recording's own thread.

    def _work(self) -> None:
        while (item := self._next_item()) is not None:
            number, step = item
            if self._failure is None:
                self._guarded(partial(self._take, number, step))
            with self._room:
                self._on_its_way -= _bytes(step)
                self._room.notify_all()
        if self._appender is not None and self._failure is None:
            self._guarded(self._appender.close)

    def _next_item(self) -> tuple[int, TrainingStep] | None:
        """The next step, or None at the end; what waits is flushed when it is due, even if no step comes."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=LEAST_SECONDS)
            if self._appender is not None and self._failure is None:
                self._guarded(self._flush_when_due)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever it is, it is not the training's
            with contextlib.suppress(Exception):  # what came before is kept, where the disk takes it
                if self._appender is not None:
                    self._appender.close()
            self._failure = self._failure or (f"{type(error).__name__}: {error}" if str(error) else repr(error))

    def _take(self, number: int, step: TrainingStep) -> None:
        parameters = [self._parameter(each) for each in step.joined]
        theta = {each.name: each.theta for each in step.joined}
        coordinates = {
            each.name: found for each in step.joined if (found := self.coordinates(each.name, each.shape)) is not None
        }
        if self._appender is None:
            self._begin(parameters, theta, coordinates)
        elif parameters:
            self._appender.join(parameters, theta, coordinates)
        assert self._appender is not None
        # A run recorded from its own beginning starts from theta_0 alone.
        if step.start is not None and (number > 1 or self.options.every > 1 or step.start.keys() - {"theta", "step"}):
            self._appender.begin_segment(number, step.start)
        self._appender.append(step)
        self._flush_when_due()

    def _begin(
        self,
        parameters: Sequence[Parameter],
        theta: Mapping[str, NDArray[Any]],
        coordinates: Mapping[str, NDArray[np.int64]],
    ) -> None:
        sample = None if self.options.sample is None else Sample(self.options.sample, self.options.seed)
        appender = TraceAppender(
            self._folder,
            self._target,
            name=self._target.name.removesuffix(".trace"),
            parameters=parameters,
            initial=theta,
            coordinates=coordinates,
            provenance=self._provenance or {},
            run=RecordedRun(self._framework, self._optimizer, sample=sample),
            lr_base=self._lr_base,
        )
        move(self._folder, self._target)
        appender.moved_to(self._target)
        self._appender = appender

    def _parameter(self, joined: Joined) -> Parameter:
        sampled = self.coordinates(joined.name, joined.shape) is not None
        return Parameter(joined.name, joined.theta.shape, joined.dtype, joined.shape if sampled else None)

    def _flush_when_due(self) -> None:
        assert self._appender is not None
        now = time.monotonic()
        patience = max(LEAST_SECONDS, SHARE_OF_RUN * (now - self._began))
        if self._appender.waiting_bytes >= SHARD_BYTES or now - self._flushed >= patience:
            self._appender.flush()
            self._flushed = now


def _bytes(step: TrainingStep) -> int:
    held = [*step.gradients.values(), *(step.after or {}).values(), *(each.theta for each in step.joined)]
    held += [value for slot in (step.start or {}).values() for value in slot.values()]
    return sum((each.values if isinstance(each, SparseRows) else each).nbytes for each in held if each is not None)


def _say(message: str) -> None:
    """Warn; where warnings are errors, say it on standard error instead, since training must not end by it."""
    try:
        warnings.warn(message, RecordingWarning, stacklevel=2)
    except RecordingWarning:
        print(message, file=sys.stderr)
