"""Paired runs: what decay alone does in each step, found without knowing the update rule.

The same recorded gradients go through the optimizer with decay and without; what differs is the decay.
A third run without decay is fed g + lambda*theta: if it moves like the first, the decay *is* L2.

*Global* pairing runs the three side by side from theta_0. It needs parameters only, and it is exact as
long as the step without decay does not depend on the parameters. *Local* pairing starts the other two
afresh from the first run's state before every step, so it serves optimizers whose step reads the
parameters (trust ratios, relative step sizes); it needs snapshot and restore.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.protocol import MissingGradient
from .casts import as_used
from .subject import Arrays, Subject, read
from .traces.trace import Step

Gradients = Mapping[str, NDArray[Any] | None]


@dataclass(frozen=True, slots=True)
class PairedStep:
    """One step of the run with decay, beside the steps without decay that it is compared with.

    All arrays float64, by parameter name. `roundoff_scale` is the sum of the magnitudes that were
    subtracted from each other, to which rounding errors are relative.
    """

    step: Step
    multiplier: float
    """eta_t, up to a constant factor, as the optimizer uses it: some round the learning rate of a step."""
    before: Arrays
    """theta_{t-1} of the run with decay."""
    after: Arrays
    """theta_t of the run with decay."""
    free: Arrays
    """u_t, what the step without decay adds."""
    substituted: Arrays
    """What the step without decay adds when it is fed g_t + lambda * theta_{t-1}."""
    roundoff_scale: Arrays
    state_depends: frozenset[str] = frozenset()
    """Parameters whose state decay changed in this step. Local pairing only: side by side, u_t itself shows it."""


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """How the optimizer without decay depends on the parameters."""

    in_step: bool
    """What a step adds depends on them."""
    slots: frozenset[str]
    """State that depends on them: averages and copies of the weights, which decay may well change."""


def paired_steps(
    subject: Subject,
    theta: Arrays,
    steps: Iterable[Step],
    hyperparameters: Mapping[str, Any],
    *,
    local: bool,
    parameter_slots: frozenset[str] = frozenset(),
) -> Iterator[PairedStep]:
    """Yield the paired steps of `subject` from `theta`, one at a time; nothing is kept between them.

    `hyperparameters` are those of the run with decay, canonical `lr` and `weight_decay` among them.
    `parameter_slots` are the slots of state that decay may change (`parameter_use`).
    """
    if local:
        return _local_steps(subject, theta, steps, hyperparameters, parameter_slots)
    return _global_steps(subject, theta, steps, hyperparameters)


def _global_steps(
    subject: Subject,
    theta: Arrays,
    steps: Iterable[Step],
    hyperparameters: Mapping[str, Any],
) -> Iterator[PairedStep]:
    decayed = subject.build(theta, hyperparameters)
    plain, substitute = (subject.build_without_decay(theta, hyperparameters) for _ in range(2))
    before = plain_before = substitute_before = theta
    for step in steps:
        lr = step.multiplier * hyperparameters["lr"]
        fed = with_l2_term(step.gradients, before, hyperparameters["weight_decay"], substitute.missing_gradient)
        substitute.step(fed, lr)
        plain.step(step.gradients, lr)
        decayed.step(step.gradients, lr)
        after, plain_after, substitute_after = read(decayed), read(plain), read(substitute)
        yield PairedStep(
            step,
            as_used({"lr": lr}, decayed.casts)["lr"] / hyperparameters["lr"],
            before,
            after,
            {name: plain_after[name] - plain_before[name] for name in theta},
            {name: substitute_after[name] - substitute_before[name] for name in theta},
            _magnitudes(before, after, plain_before, plain_after, substitute_before, substitute_after),
        )
        before, plain_before, substitute_before = after, plain_after, substitute_after


def _local_steps(
    subject: Subject,
    theta: Arrays,
    steps: Iterable[Step],
    hyperparameters: Mapping[str, Any],
    parameter_slots: frozenset[str],
) -> Iterator[PairedStep]:
    decayed, other = subject.build(theta, hyperparameters), subject.build_without_decay(theta, hyperparameters)
    before = theta
    for step in steps:
        lr = step.multiplier * hyperparameters["lr"]
        start = decayed.snapshot()
        ends, states = [], []
        fed = with_l2_term(step.gradients, before, hyperparameters["weight_decay"], other.missing_gradient)
        for gradients in (step.gradients, fed):
            other.restore(start)
            other.step(gradients, lr)
            ends.append(read(other))
            states.append(other.read_state())
        decayed.step(step.gradients, lr)
        after = read(decayed)
        yield PairedStep(
            step,
            as_used({"lr": lr}, decayed.casts)["lr"] / hyperparameters["lr"],
            before,
            after,
            {name: ends[0][name] - before[name] for name in theta},
            {name: ends[1][name] - before[name] for name in theta},
            _magnitudes(before, after, *ends),
            frozenset(name for _, name in _differing(decayed.read_state(), states[0], parameter_slots)),
        )
        before = after


State = Mapping[str, Mapping[str, NDArray[Any]]]


def _differing(one: State, other: State, left_out: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield (slot, parameter) of what two states hold differently, by more than rounding."""
    for slot in one.keys() - left_out:
        for name, value in one[slot].items():
            rival = other.get(slot, {}).get(name)
            if rival is None or np.shape(rival) != np.shape(value):
                yield slot, name
                continue
            here, there = (np.asarray(array, dtype=np.float64) for array in (value, rival))
            if np.any(np.abs(here - there) > ROUNDING * (np.abs(here) + np.abs(there))):
                yield slot, name


def with_l2_term(
    gradients: Gradients, theta: Arrays, weight_decay: float, missing: MissingGradient
) -> dict[str, NDArray[Any] | None]:
    """Return g + lambda*theta by parameter; a missing gradient stays missing where `missing` says it is skipped."""
    fed: dict[str, NDArray[Any] | None] = {}
    for name, grad in gradients.items():
        if grad is not None:
            fed[name] = np.asarray(grad, dtype=np.float64) + weight_decay * theta[name]
        else:
            fed[name] = weight_decay * theta[name] if missing is MissingGradient.ZERO else None
    return fed


def parameter_use(
    subject: Subject, theta: Arrays, steps: Iterable[Step], hyperparameters: Mapping[str, Any]
) -> ParameterUse:
    """Return whether the step without decay, and which of its state, depend on the parameters.

    Two runs without decay over the same gradients, one from `theta`, one from theta/2 + 1/4: what differs by
    more than rounding does.
    """
    starts = (theta, {name: 0.5 * value + 0.25 for name, value in theta.items()})
    runs = [subject.build_without_decay(start, hyperparameters) for start in starts]
    befores = list(starts)
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
            if np.any(np.abs((a_after - a_before) - (b_after - b_before)) > ROUNDING * scale):
                in_step = True
        slots |= {slot for slot, _ in _differing(runs[0].read_state(), runs[1].read_state(), frozenset(slots))}
    return ParameterUse(in_step, frozenset(slots))


_ROUNDINGS = 16
"""Most roundings between an optimizer's state and its new parameters, over the orders that frameworks use:
two corrections, square root, epsilon, division, learning rate and coefficient (2 each), subtractions (2) -
and one for each parameter read and subtracted here."""

ROUNDING = _ROUNDINGS * 2.0**-53 / (1.0 - _ROUNDINGS * 2.0**-53)
"""gamma_16 in float64: the relative rounding error of a displacement, in units of the values subtracted."""


def _magnitudes(*values: Arrays) -> Arrays:
    first, *others = values
    return {name: sum((np.abs(other[name]) for other in others), np.abs(first[name])) for name in first}
