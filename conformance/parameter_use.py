"""What a step without decay does with the parameters: whether it reads them, what it keeps of them, how it scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pairing import State, differing, rounding_of
from .subject import Arrays, Subject, read, rounded
from .traces.trace import Step


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """How the optimizer without decay depends on the parameters."""

    in_step: bool
    """What a step adds depends on them."""
    slots: frozenset[str]
    """State that depends on them: averages and copies of the weights, which decay may well change."""


def parameter_use(
    subject: Subject, theta: Arrays, steps: Iterable[Step], hyperparameters: Mapping[str, Any]
) -> ParameterUse:
    """Return whether the step without decay, and which of its state, depend on the parameters.

    Two runs without decay over the same gradients, one from `theta`, one from theta/2 + 1/4: what differs by
    more than rounding does. State that is built from gradients and only scaled by the parameters, such as a momentum
    of steps with a trust ratio, is left out: see `_of_gradients`.
    """
    steps = list(steps)
    in_step, slots = _compared_starts(subject, theta, steps, hyperparameters)
    if in_step and slots:
        slots -= _of_gradients(subject, theta, steps, hyperparameters)
    return ParameterUse(in_step, frozenset(slots))


def _compared_starts(
    subject: Subject,
    theta: Arrays,
    steps: Iterable[Step],
    hyperparameters: Mapping[str, Any],
    looked_at: Callable[[State], State] = lambda state: state,
) -> tuple[bool, set[str]]:
    """Return whether steps differ between the two starts of `parameter_use`, and slots whose `looked_at` part does."""
    starts = (theta, rounded({name: 0.5 * value + 0.25 for name, value in theta.items()}, subject.dtype))
    runs = [subject.build_without_decay(start, hyperparameters) for start in starts]
    befores = list(starts)
    rounding = rounding_of(subject.dtype)
    in_step = False
    slots: set[str] = set()
    for step in steps:
        moves = []
        for index, optimizer in enumerate(runs):
            optimizer.step(step.gradients, step.multiplier * hyperparameters["lr"])
            after = read(optimizer)
            moves.append((befores[index], after))
            befores[index] = after
        for name in theta:
            (a_before, a_after), (b_before, b_after) = ((before[name], after[name]) for before, after in moves)
            scale = sum(np.abs(value) for value in (a_before, a_after, b_before, b_after))
            with np.errstate(invalid="ignore"):  # infinite in both: no sign that the parameters are read
                distance = np.abs((a_after - a_before) - (b_after - b_before))
            if np.any(distance > rounding * scale):
                in_step = True
        state, other = (looked_at(optimizer.read_state()) for optimizer in runs)
        slots |= {slot for slot, _ in differing(state, other, rounding, frozenset(slots))}
    return in_step, slots


def _of_gradients(
    subject: Subject, theta: Arrays, steps: Iterable[Step], hyperparameters: Mapping[str, Any]
) -> set[str]:
    """Return the slots that hold nothing of the parameters where there is no gradient: decay has no business there.

    Seen in runs in which only the first element of each gradient is not zero: where the others end alike from
    either start. (Gradients of zeros throughout would be 0/0 where a step is normalised.) Slots of other shapes
    than their parameters', norms of weights say, are none of these.
    """

    def others(state: State) -> State:
        """Return what `state` holds beside the first elements."""
        return {
            slot: {
                name: np.reshape(value, -1)[1:]
                for name, value in arrays.items()
                if name in theta and np.shape(value) == theta[name].shape
            }
            for slot, arrays in state.items()
        }

    def alone(step: Step) -> Step:
        return replace(step, gradients={name: _first_alone(grad) for name, grad in step.gradients.items()})

    steps = [alone(step) for step in steps]
    optimizer = subject.build_without_decay(theta, hyperparameters)
    optimizer.step(steps[0].gradients, steps[0].multiplier * hyperparameters["lr"])
    shown = {slot for slot, arrays in others(optimizer.read_state()).items() if any(map(np.size, arrays.values()))}
    return shown - _compared_starts(subject, theta, steps, hyperparameters, others)[1]


def _first_alone(grad: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return `grad` with zeros for all but its first element."""
    if grad is None:
        return None
    alone = np.zeros_like(grad)
    alone.reshape(-1)[:1] = np.reshape(grad, -1)[:1]
    return alone


def homogeneous_steps(
    subject: Subject, theta: Arrays, steps: Iterable[Step], hyperparameters: Mapping[str, Any]
) -> frozenset[str]:
    """Return the parameters whose step without decay is in proportion to them: from theta/2 it moves half as far.

    Trust ratios and steps relative to the size of the weights are. Whether decay comes before or after such a step
    does not show: (1 - c)*theta + u((1 - c)*theta) is (1 - c)*(theta + u(theta)).
    """
    starts = (theta, rounded({name: 0.5 * value for name, value in theta.items()}, subject.dtype))
    whole, half = (subject.build_without_decay(start, hyperparameters) for start in starts)
    names = {name for name, value in theta.items() if value.any()}
    for count, step in enumerate(steps, start=1):
        for optimizer in (whole, half):
            optimizer.step(step.gradients, step.multiplier * hyperparameters["lr"])
        reached, halved = read(whole), read(half)
        for name in tuple(names):
            scale = np.abs(theta[name]) + np.abs(reached[name]) + 2.0 * np.abs(halved[name])
            if not np.all(np.abs(reached[name] - 2.0 * halved[name]) <= count * rounding_of(subject.dtype) * scale):
                names.discard(name)
    return frozenset(names)
