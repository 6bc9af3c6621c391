"""The steps of a recording as they come to lie on the disk; used by the recording's own thread alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.recording import Joined, TrainingStep
from ..traces.appending import TraceAppender
from ..traces.errors import TraceError
from ..traces.run import RecordedRun
from ..traces.trace import Parameter
from ..traces.writer import check_target, move, unfinished
from .options import RecordingOptions


class StepWriter:
    """Writes the trace `target`, from the first step on.

    Raises `TraceError` where nothing can be written there, at once. Later `TraceError` and OSError come from what is
    wrong with a step or with the disk; the trace then is what it was at the last `flush`.
    """

    def __init__(
        self,
        target: Path,
        options: RecordingOptions,
        run: RecordedRun,
        lr_base: float | None,
        provenance: Mapping[str, Any],
    ) -> None:
        self._target, self._options, self._run = target, options, run
        self._lr_base, self._provenance = lr_base, provenance
        try:
            check_target(target, options.overwrite)
            self._folder = unfinished(target)
        except OSError as error:
            found, expected = f"no way to write there ({error.strerror})", "a name that can be written there"
            raise TraceError(target, found, expected, "Choose another.") from error
        self._appender: TraceAppender | None = None
        self._place: tuple[int, int] | None = None
        """Device and inode of the directory, once it bears its name."""

    @property
    def has_begun(self) -> bool:
        """Whether there is a trace."""
        return self._appender is not None

    @property
    def n_steps(self) -> int:
        """Steps on the disk."""
        return 0 if self._appender is None else self._appender.n_written

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were taken and are not on the disk."""
        return 0 if self._appender is None else self._appender.waiting_bytes

    @property
    def in_place(self) -> bool:
        """Whether the directory is still the one that this recording made."""
        try:
            found = self._target.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._place

    def take(self, number: int, step: TrainingStep) -> None:
        """Take the next step, which is number `number` of the run; it reaches the disk with the next `flush`."""
        parameters = [self._parameter(each) for each in step.joined]
        theta = {each.name: each.theta for each in step.joined}
        coordinates = {
            each.name: found
            for each in step.joined
            if (found := self._options.coordinates(each.name, each.shape)) is not None
        }
        if self._appender is None:
            appender = self._begin(parameters, theta, coordinates)
        else:
            appender = self._in_its_place(self._appender)
            if parameters:
                appender.join(parameters, theta, coordinates)
        # A run recorded from its own beginning starts from theta_0 alone. Of one that is to be judged, which may turn
        # out to have more than one stretch, the first is kept like the others.
        if step.start is not None and (number > 1 or self._options.snapshots or step.start.keys() - {"theta", "step"}):
            appender.begin_segment(number, step.start)
        appender.append(step)

    def flush(self) -> None:
        """Bring all that was taken to the disk."""
        if self._appender is not None:
            self._in_its_place(self._appender).flush()

    def close(self) -> None:
        """Flush, and leave nothing behind but a trace that has begun."""
        if self._appender is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            self._in_its_place(self._appender).close()

    def _begin(
        self,
        parameters: Sequence[Parameter],
        theta: Mapping[str, NDArray[Any]],
        coordinates: Mapping[str, NDArray[np.int64]],
    ) -> TraceAppender:
        appender = TraceAppender(
            self._folder,
            self._target,
            name=self._target.name.removesuffix(".trace"),
            parameters=parameters,
            initial=theta,
            coordinates=coordinates,
            provenance=self._provenance,
            run=self._run,
            lr_base=self._lr_base,
        )
        check_target(self._target, self._options.overwrite)  # again: another process may have been faster
        move(self._folder, self._target)
        found = self._target.stat()
        self._place = found.st_dev, found.st_ino
        appender.moved_to(self._target)
        self._appender = appender
        return appender

    def _parameter(self, joined: Joined) -> Parameter:
        sampled = self._options.coordinates(joined.name, joined.shape) is not None
        return Parameter(joined.name, joined.theta.shape, joined.dtype, joined.shape if sampled else None)

    def _in_its_place(self, appender: TraceAppender) -> TraceAppender:
        """Return `appender`. Raises `TraceError` where its directory is gone, or another has come into its place."""
        if not self.in_place:
            gone = not self._target.exists()
            found = "nothing of this name any more" if gone else "another directory than was recorded to"
            expected = "the directory that this recording made"
            raise TraceError(self._target, found, expected, "Record each process and each run to a path of its own.")
        return appender
