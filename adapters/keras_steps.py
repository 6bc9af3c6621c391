"""A Keras step on its way from TensorFlow to the sink. Called from whichever thread TensorFlow runs a step in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .keras_recorded import RecordedOptimizer
from .protocol import Array, SparseRows
from .recording import Gradient, Joined, Plan, Sink, TrainingStep
from .text import describe_error

WANTED, START, AFTER = 1, 2, 4
"""What `Steps.ask` answers: whether the step is recorded, and whether theta and state before it, or theta after it,
are asked for."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a step shows besides its learning rate, in this order: of an eager step, or of one trace of a function."""

    dense: tuple[str, ...]
    sparse: tuple[str, ...]
    """Each of these shows two arrays: rows, of which one may come twice, and for each its row of the dense gradient."""
    held: Mapping[str, Any]
    """Hyperparameters; numbers are those that the trace took over, variables are read with the step."""


class Steps:
    """Puts together what the ways of reading a step find, and hands it to the sink. Nothing here raises."""

    def __init__(self, sink: Sink, optimizer: RecordedOptimizer, *, skips: bool) -> None:
        self._sink, self._optimizer, self._skips = sink, optimizer, skips
        self._asked = self._joined = False
        self._rate = 0.0
        self._plan: Plan | None = None
        self._start: dict[str, dict[str, Array]] | None = None
        self._step: TrainingStep | None = None

    def ask(self) -> int:
        """What the step about to be made has to bring.

        The answer stays the same until a step was made: micro-batches that are accumulated, and the end of the data,
        make none.
        """
        if not self._asked:
            self._plan = self._sink.next_step()
            self._asked = True
        if self._plan is None:
            return 0
        return WANTED | (START if self._plan.start or not self._joined else 0) | (AFTER if self._plan.after else 0)

    def take_start(self, *values: Array) -> None:
        """Take theta and state before the step, as `RecordedOptimizer.start` lists them."""
        self._guarded(lambda: self._keep_start(values))

    def take_gradients(self, shown: Shown, lr: Array, *values: Array) -> None:
        """Take what the update rule is given."""
        self._guarded(lambda: self._keep_gradients(shown, float(lr), values))

    def finish(self, *after: Array, made: bool, skipped: bool = False) -> None:
        """Hand the step over, if `apply` made one (`made`) or left one out since a gradient overflowed (`skipped`)."""
        if made or (skipped and self._skips):
            self._guarded(lambda: self._hand_over(after))
            self._asked, self._plan, self._start, self._step = False, None, None, None

    def stop(self, reason: str) -> None:
        """End the recording."""
        self._sink.stop(reason)

    def _keep_start(self, values: Sequence[Array]) -> None:
        self._start = self._optimizer.named_start([np.array(value) for value in values])

    def _keep_gradients(self, shown: Shown, lr: float, values: Sequence[Array]) -> None:
        gradients: dict[str, Gradient] = {
            name: np.array(value) for name, value in zip(shown.dense, values, strict=False)
        }
        rest = values[len(shown.dense) :]
        shapes = {each.name: each.shape for each in self._optimizer.variables}
        for name, indices, rows in zip(shown.sparse, rest[::2], rest[1::2], strict=True):
            found, first = np.unique(indices.astype(np.int64), return_index=True)
            gradients[name] = SparseRows(found, rows[first], shapes[name])
        self._step = TrainingStep(gradients, lr, self._optimizer.groups(shown.held, lr))

    def _hand_over(self, after: Sequence[Array]) -> None:
        plan, start, variables = self._plan, self._start, self._optimizer.variables
        if plan is None:
            return
        step = self._step
        if step is None:
            rate = self._optimizer.rate(otherwise=self._rate)
            step = TrainingStep({}, rate, self._optimizer.groups(self._optimizer.held(), rate), skipped=True)
        self._rate = step.lr
        names = [each.name for each in variables]
        if plan.after:
            step = replace(step, after={name: np.array(value) for name, value in zip(names, after, strict=True)})
        if not self._joined:
            assert start is not None, "the first step recorded brings theta before it"
            theta = start["theta"]
            step = replace(step, joined=[Joined(v.name, v.shape, v.dtype, theta[v.name]) for v in variables])
        self._sink.put(replace(step, start=start if plan.start else None))
        self._joined = True

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever it is, it is not the training's
            self._sink.stop(describe_error(error))
