"""What is captured of one training step, and who takes it. Nothing here imports a framework or knows of files.

A framework's capture code (`torch_recording`, `keras_recording`, `optax_recording`) looks at an optimizer while it
trains and hands every step to a `Sink`. It only reads: parameters, gradients and state of the run are the same bits
with and without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .protocol import Array, SparseRows

Gradient = Array | SparseRows | None


@dataclass(frozen=True, slots=True)
class GroupValues:
    """One parameter group in one step: names of its parameters, and hyperparameters as held.

    Those have canonical names where there is one (`lr`, `weight_decay`, `beta1`, ...), and values that JSON can hold.
    """

    parameters: tuple[str, ...]
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Joined:
    """A parameter that takes part from this step on: its whole shape, its dtype by name, and theta before the step.

    Where the sink keeps a sample of it, `theta` is the vector of those coordinates.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    theta: Array


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One finished training step. The arrays belong to whoever receives it: the run changes none of them any more.

    Of parameters of which the sink keeps a sample, every array here is the vector of those coordinates.
    """

    gradients: Mapping[str, Gradient]
    """g_t by name as the optimizer's rule was given it, in each parameter's shape and dtype; None, or no entry, where
    it had none. A sampled parameter's is never sparse."""
    lr: float = 1.0
    """The learning rate of the step, of the first group where groups differ."""
    groups: Sequence[GroupValues] = ()
    after: Mapping[str, Array] | None = None
    """Theta after the step, of every parameter or not at all; once it is left out, that of later steps is not kept."""
    joined: Sequence[Joined] = ()
    """Parameters that were in no step before."""
    start: Mapping[str, Mapping[str, Array]] | None = None
    """Slot -> name -> array before the step, as `Optimizer.read_state` names slots, theta as the slot `theta`, and
    `step` the number of updates that the parameter has had (a 0-d float64). Where the plan asked for it, and where
    theta is not what the step before left."""
    skipped: bool = False
    """Whether the run skipped the step because a gradient overflowed; it then has no gradients."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the step that is about to be made has to bring."""

    start: bool
    """Theta and state before it."""
    after: bool
    """Theta after it."""


class Sink(Protocol):
    """Whoever takes the steps. None of its methods raises: what goes wrong ends the recording, never the training."""

    def next_step(self) -> Plan | None:
        """Count the step that is about to be made; None where nothing of it is wanted."""

    def coordinates(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """The coordinates (C order, rising) that are kept of a tensor; None for all. Always the same for a name."""

    def put(self, step: TrainingStep) -> None:
        """Take one step; may wait while too much is on its way to the disk."""

    def stop(self, reason: str) -> None:
        """End the recording, since what comes cannot be recorded; the steps so far are kept."""


def plain_values(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Those of `values` that JSON can hold, as a copy: NumPy's numbers as Python's, tuples as lists.

    >>> plain_values({"lr": np.float32(0.5), "betas": (0.9, 0.99), "clip": float("inf"), "schedule": len})
    {'lr': 0.5, 'betas': [0.9, 0.99]}
    """
    named = {name: _plain(value) for name, value in values.items() if isinstance(name, str)}
    return {name: plain for name, plain in named.items() if plain is not _OTHER}


_OTHER = object()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _OTHER
    if isinstance(value, list | tuple):
        elements = [_plain(each) for each in value]
        return _OTHER if any(each is _OTHER for each in elements) else elements
    return _OTHER
