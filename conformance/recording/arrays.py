"""Recording a training loop of one's own, whose parameters are NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...adapters.arrays import HOST_DTYPES
from ...adapters.protocol import Array, SparseRows
from ...adapters.recording import Gradient, GroupValues, Joined, Plan, TrainingStep, plain_values
from .recording import Recording


class ArrayRecording:
    """A recording that is handed every step; also a context manager that closes itself.

    `parameters` (name -> array) are copied at once: they are theta_0. `open_recording` is called once they are found
    sound. Raises `TypeError` for a name that is no text and for a dtype that no trace holds.
    """

    def __init__(self, parameters: Mapping[str, Array], open_recording: Callable[[], Recording]) -> None:
        for name, array in parameters.items():
            if not isinstance(name, str):
                raise TypeError(f"{name!r} as the name of a parameter, but should be a string")
            if array.dtype not in HOST_DTYPES.values():
                raise TypeError(f"{name!r} has dtype {array.dtype}, but should have one of {', '.join(HOST_DTYPES)}")
        self._theta: dict[str, Array] | None = {name: np.array(array) for name, array in parameters.items()}
        self._parameters = {name: (array.shape, array.dtype) for name, array in self._theta.items()}
        self._updates = dict.fromkeys(self._parameters, 0)
        self._joined = self._closed = False
        self._recording = open_recording()
        self._coordinates = {
            name: self._recording.coordinates(name, shape) for name, (shape, _) in self._parameters.items()
        }

    @property
    def path(self) -> Path:
        """Where the trace lies, once it has a step."""
        return self._recording.path

    @property
    def n_steps(self) -> int:
        """Steps on the disk so far."""
        return self._recording.n_steps

    def step(
        self,
        gradients: Mapping[str, Gradient],
        *,
        lr: float = 1.0,
        after: Mapping[str, Array] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Hand over one step that was made: copies are taken, so that the arrays may be changed afterwards.

        `gradients` maps names to arrays in the parameter's shape and dtype; None, or no entry, where there is none.
        `lr` is the learning rate of the step, `after` the parameters after it, all of them, which snapshots and a
        recording that begins in the middle of a run need. `hyperparameters` have canonical names (`weight_decay`,
        `beta1`, ...) where there is one; what JSON cannot hold is left out.

        Raises `ValueError` for a name or shape that is no parameter's, for a missing `after`, and once the recording
        is closed, and `TypeError` for another dtype. What goes wrong on the way to the disk only ends the recording.
        """
        if self._closed:
            raise ValueError(f"a step for {self.path}, which is closed; close the recording after the last step")
        self._check(gradients, "gradients")
        if after is None and self._recording.options.snapshots:
            raise ValueError("no after=, but snapshots=True needs the parameters after every step")
        if after is not None:
            self._check(after, "after")
            if missing := [name for name in self._parameters if after.get(name) is None]:
                raise ValueError(f"after= has no {missing}, but should hold every parameter")
        lr = float(lr)
        if not isinstance(hyperparameters, Mapping | None):
            raise TypeError(f"hyperparameters={hyperparameters!r:.80}, but should be a mapping of names to values")
        plan = self._recording.next_step()
        if plan is not None:
            self._put(plan, gradients, lr, after, {"lr": lr, **plain_values(hyperparameters or {})})
        for name, gradient in gradients.items():
            self._updates[name] += gradient is not None
        # Where it is not told, nobody knows: the arrays given first may or may not be those that move.
        self._theta = None if after is None else {name: np.array(after[name]) for name in self._parameters}

    def close(self) -> None:
        """Bring every step to the disk and end the recording. May be called again."""
        self._closed = True
        self._recording.close()

    def __enter__(self) -> Self:
        """Return the recording itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, however the block was left: what was trained until then is kept."""
        self.close()

    def _check(self, arrays: Mapping[str, Gradient], argument: str) -> None:
        for name, given in arrays.items():
            if name not in self._parameters:
                raise ValueError(f"{name!r} in {argument}, but the parameters are {', '.join(self._parameters)}")
            if given is None:
                continue
            shape, dtype = self._parameters[name]
            values = given.values if isinstance(given, SparseRows) else given
            isarray = isinstance(values, np.ndarray | np.generic)
            if not isarray or values.dtype != dtype:
                found = f"array of {values.dtype}" if isarray else f"a {type(values).__qualname__}"
                raise TypeError(f"{found} as {argument}[{name!r}], but should be an array of {dtype}, as the parameter")
            if given.shape != shape:
                raise ValueError(f"shape {given.shape} of {argument}[{name!r}], but should be the parameter's, {shape}")

    def _put(
        self,
        plan: Plan,
        gradients: Mapping[str, Gradient],
        lr: float,
        after: Mapping[str, Array] | None,
        hyperparameters: Mapping[str, Any],
    ) -> None:
        joining, self._joined = not self._joined, True
        if self._theta is None and plan.start:
            raise ValueError(
                "no after= in the step before, but a recording that begins or goes on in the middle of a run needs it "
                "to know the parameters there"
            )
        theta = self._kept(self._theta) if plan.start and self._theta is not None else {}
        start = {"theta": theta, "step": {name: np.array(float(count)) for name, count in self._updates.items()}}
        parameters = self._parameters.items()
        self._recording.put(
            TrainingStep(
                gradients=self._kept(gradients),
                lr=lr,
                groups=(GroupValues(tuple(self._parameters), hyperparameters),),
                after=self._kept(after) if plan.after and after is not None else None,
                joined=[Joined(name, shape, dtype.name, theta[name]) for name, (shape, dtype) in parameters]
                if joining
                else (),
                start=start if plan.start else None,
            )
        )

    def _kept(self, arrays: Mapping[str, Gradient]) -> dict[str, Any]:
        """Copies, of sampled parameters those of the coordinates that are kept."""
        return {name: _copied(given, self._coordinates[name]) for name, given in arrays.items()}


def _copied(given: Gradient, coordinates: NDArray[np.int64] | None) -> Gradient:
    if given is None:
        return None
    if coordinates is not None:
        dense = given.dense() if isinstance(given, SparseRows) else given
        return np.asarray(dense).reshape(-1)[coordinates]
    if isinstance(given, SparseRows):
        return SparseRows(given.indices.copy(), given.values.copy(), given.shape)
    return np.array(given)
