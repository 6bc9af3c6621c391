"""One recording: training steps on their way from the training thread to the disk.

The training thread hands over copies and goes on; a thread of the recording's own appends them to the trace. What is
on its way is bounded: where the disk is slower than training, training waits for it. Whatever goes wrong on the way
ends the recording with one warning and leaves the training alone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...adapters.protocol import SparseRows
from ...adapters.recording import Plan, TrainingStep
from ...adapters.text import counted, describe_error
from ..traces.run import RecordedRun, Sample
from ..traces.writer import SHARD_BYTES
from .options import RecordingOptions
from .writing import StepWriter

QUEUE_BYTES = 256 * 2**20
"""Most bytes on their way to the disk; a single step may be larger and then goes alone."""
LEAST_SECONDS = 1.0
SHARE_OF_RUN = 0.01
"""Steps reach the disk after a second, later after a hundredth of the time recorded so far: a process that is killed
loses no more than that, and a recording of ten hours is some 700 shards."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A step on its way, with its number in the run."""

    number: int
    step: TrainingStep
    bytes: int


class RecordingWarning(UserWarning):
    """A recording has ended before its time, or holds nothing. Training is not touched by it.

    >>> import optconform, tempfile, warnings
    >>> from pathlib import Path
    >>> w = np.ones(2)
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     with optconform.record({"w": w}, Path(folder) / "run.trace") as recording:
    ...         recording.step({"w": w}, lr=0.1)
    ...         recording.step({"w": w * np.nan}, lr=0.1)
    >>> [each.category.__name__ for each in caught], recording.n_steps
    (['RecordingWarning'], 1)
    """


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
        self.on_close: list[Callable[[], None]] = []
        """Called, in this order, before the recording ends: what detaches the capture code."""
        self._target = Path(path).resolve()
        sample = None if options.sample is None else Sample(options.sample, options.seed)
        run = RecordedRun(framework, optimizer, sample=sample)
        self._writer = StepWriter(self._target, options, run, lr_base, provenance or {})
        self._seen = self._put = 0
        self._last_recorded = 0
        self._stopped: str | None = None
        """Why there is nothing more to record; what is on its way still reaches the disk."""
        self._failure: str | None = None
        """Why nothing more can be written."""
        self._warned = self._closed = self._ended = False
        self._process = os.getpid()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._on_its_way = 0
        self._room = threading.Condition()
        self._began = self._flushed = time.monotonic()
        # A daemon: an interpreter that ends waits for all other threads before it runs what closes this recording.
        self._thread = threading.Thread(target=self._work, name="optconform recording", daemon=True)
        self._thread.start()
        # Not atexit's: the children that `multiprocessing` forks end without it, and only run this.
        self._at_exit = Finalize(None, self.close, exitpriority=0)

    @property
    def path(self) -> Path:
        """Where the trace lies, once it has a step."""
        return self._target

    @property
    def n_steps(self) -> int:
        """Steps on the disk so far."""
        return self._writer.n_steps

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
        item = _Item(self._seen, step, _bytes(step))
        with self._room:
            self._room.wait_for(lambda: self._failure is not None or self._fits(item))
            self._on_its_way += item.bytes
        self._put += 1
        self._queue.put(item)

    def _fits(self, item: _Item) -> bool:
        return self._on_its_way == 0 or self._on_its_way + item.bytes <= QUEUE_BYTES

    def stop(self, reason: str) -> None:
        """End the recording with a warning that gives `reason`; the steps so far are kept."""
        if not self._idle():
            self._stopped = reason
            self._warn()

    def _idle(self) -> bool:
        """Whether nothing is recorded any more; warns where that has a reason that was not told yet."""
        if self._closed or os.getpid() != self._process:
            return True
        self._warn()
        return self._stopped is not None or self._failure is not None

    def _warn(self) -> None:
        """Tell once why the recording ended before its time, where it did."""
        reason = self._stopped or self._failure
        if reason is None or self._warned:
            return
        self._warned = True
        kept, steps = "nothing was recorded", counted(self.n_steps, "step")
        if self._failure is None and self._put:
            kept = "the steps before are kept"
        elif self.n_steps and self._writer.in_place:
            kept = f"the trace keeps {steps}"
        elif self.n_steps:
            kept = f"the trace of {steps} is no longer there"
        _say(f"optconform stopped recording {self._target}: {reason.removesuffix('.')}. Training goes on; {kept}.")

    # The end.

    def close(self) -> None:
        """Bring every step to the disk and end the recording. May be called again; a child process closes nothing."""
        if self._ended or os.getpid() != self._process:
            return
        if not self._closed:
            for detach in self.on_close:
                try:
                    detach()
                except Exception as error:  # whatever it is, it is not the training's
                    self.stop(f"detaching from the optimizer failed with {describe_error(error)}")
            self._closed = True
            self._queue.put(None)
        self._thread.join()  # once more, where an interrupt from the keyboard broke it off
        self._ended = True
        self._at_exit.cancel()
        if not self._writer.has_begun:
            self._writer.close()
            if self._stopped is None and self._failure is None:
                _say(f"optconform recorded nothing to {self._target}: {self._nothing()}.")
        self._warn()

    def _nothing(self) -> str:
        if not self._seen:
            return "the optimizer made no step while it was recorded"
        return f"of the {self._seen} steps made, none was among those to be recorded ({self.options})"

    def __enter__(self) -> Self:
        """Return the recording itself. Raises `ValueError` once it is closed, since nothing would be recorded."""
        if self._closed:
            raise ValueError(f"the recording to {self._target} is closed; begin another, to a path of its own")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, however the block was left: what was trained until then is kept."""
        self.close()

    # The recording's own thread.

    def _work(self) -> None:
        try:
            self._take_until_closed()
        except BaseException as error:
            self._fail(error)
        with self._room:
            self._room.notify_all()

    def _take_until_closed(self) -> None:
        while (item := self._next_item()) is not None:
            if self._failure is None:
                self._guarded(partial(self._take, item))
            with self._room:
                self._on_its_way -= item.bytes
                self._room.notify_all()
        if self._failure is None:
            self._guarded(self._writer.close)

    def _next_item(self) -> _Item | None:
        """The next step, or None at the end; what waits is flushed when it is due, even if no step comes."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=LEAST_SECONDS)
            if self._failure is None:
                self._guarded(self._flush_when_due)

    def _take(self, item: _Item) -> None:
        self._writer.take(item.number, item.step)
        self._flush_when_due()

    def _flush_when_due(self) -> None:
        now = time.monotonic()
        patience = max(LEAST_SECONDS, SHARE_OF_RUN * (now - self._began))
        if self._writer.waiting_bytes >= SHARD_BYTES or now - self._flushed >= patience:
            self._writer.flush()
            self._flushed = now

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:  # whatever it is, it is not the training's, and this thread has to go on
            with contextlib.suppress(BaseException):  # what came before is kept, where the disk takes it
                self._writer.close()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or describe_error(error)


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
