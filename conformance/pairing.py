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
from ..reference.formats import FORMATS
from .casts import as_used
from .subject import Arrays, Subject, read
from .traces.trace import Step

Gradients = Mapping[str, NDArray[Any] | None]
State = Mapping[str, Mapping[str, NDArray[Any]]]


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
    dtype: str = "float64"
    """Working precision of all runs: see `rounding_of`."""
    state_depends: frozenset[str] = frozenset()
    """Parameters whose state decay changed in this step. Local pairing only: side by side, u_t itself shows it."""


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

    `theta` is what the optimizer holds at first, in its working precision (`Subject.initial_parameters`).
    `hyperparameters` are those of the run with decay, canonical `lr` and `weight_decay` among them.
    `parameter_slots` are the slots of state that decay may change (`parameter_use.ParameterUse`).
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
        gradients = subject.as_fed(step.gradients)
        fed = with_l2_term(gradients, before, hyperparameters["weight_decay"], substitute.missing_gradient)
        substitute.step(fed, lr)
        plain.step(step.gradients, lr)
        decayed.step(step.gradients, lr)
        after, plain_after, substitute_after = read(decayed), read(plain), read(substitute)
        yield PairedStep(
            step,
            as_used({"lr": lr}, decayed.casts)["lr"] / hyperparameters["lr"],
            before,
            after,
            _moved(plain_before, plain_after),
            _moved(substitute_before, substitute_after),
            _magnitudes(before, after, plain_before, plain_after, substitute_before, substitute_after),
            subject.dtype,
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
        fed = with_l2_term(
            subject.as_fed(step.gradients), before, hyperparameters["weight_decay"], other.missing_gradient
        )
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
            _moved(before, ends[0]),
            _moved(before, ends[1]),
            _magnitudes(before, after, *ends),
            subject.dtype,
            frozenset(
                name
                for _, name in differing(decayed.read_state(), states[0], rounding_of(subject.dtype), parameter_slots)
            ),
        )
        before = after


def differing(
    one: State, other: State, rounding: float, left_out: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Yield (slot, parameter) of what two states hold differently, by more than `rounding` of their magnitudes."""
    for slot in one.keys() - left_out:
        for name, value in one[slot].items():
            rival = other.get(slot, {}).get(name)
            if rival is None or np.shape(rival) != np.shape(value):
                yield slot, name
                continue
            here, there = (np.asarray(array, dtype=np.float64) for array in (value, rival))
            with np.errstate(invalid="ignore"):  # infinite in both is the same
                distance = np.abs(here - there)
            if np.any(distance > rounding * (np.abs(here) + np.abs(there))):
                yield slot, name


def with_l2_term(
    gradients: Gradients, theta: Arrays, weight_decay: float, missing: MissingGradient
) -> dict[str, NDArray[Any] | None]:
    """Return g + lambda*theta by parameter, in float64; it is rounded once, when it is fed.

    A missing gradient stays missing where `missing` says that it is skipped.
    """
    fed: dict[str, NDArray[Any] | None] = {}
    for name, grad in gradients.items():
        if grad is not None:
            fed[name] = np.asarray(grad, dtype=np.float64) + weight_decay * theta[name]
        else:
            fed[name] = weight_decay * theta[name] if missing is MissingGradient.ZERO else None
    return fed


ROUNDINGS = 16
"""Most roundings between an optimizer's state and its new parameters, over the orders that frameworks use:
two corrections, square root, epsilon, division, learning rate and coefficient (2 each), subtractions (2) -
and one for each parameter read and subtracted here."""


def rounding_of(dtype: str) -> float:
    """Return gamma_16 in `dtype`: the relative rounding error of a displacement, in units of the values subtracted."""
    error = ROUNDINGS * FORMATS[dtype].unit_roundoff
    return error / (1.0 - error)


def _moved(before: Arrays, after: Arrays) -> Arrays:
    """Return after - before; NaN where both are infinite, which whoever judges finds not finite."""
    with np.errstate(invalid="ignore"):
        return {name: after[name] - value for name, value in before.items()}


def _magnitudes(*values: Arrays) -> Arrays:
    first, *others = values
    return {name: sum((np.abs(other[name]) for other in others), np.abs(first[name])) for name in first}
