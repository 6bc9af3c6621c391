"""Play a case: execute every step of its trace with the real optimizer, and keep what each of them reached.

A trace is open loop, so a course can be executed first and judged afterwards, as often as it takes, without the
device: what is judged is exactly what ran, also where all steps are one program and none can be looked into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..adapters.arrays import host_copies
from ..adapters.execution import Execution, Feed, Opening, Proof, Runtime, plain_execution
from ..adapters.protocol import Array, Cast, MissingGradient, Target
from ..adapters.random_generators import seeded
from ..conformance.replaying import base_learning_rate
from ..conformance.traces import MemoryTrace, Trace
from ..reference.formats import FORMATS

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Course:
    """What every execution of a case is given: the target, its hyperparameters, and the steps."""

    target: Target
    hyperparameters: Mapping[str, Any]
    trace: Trace
    dtype: str
    """Precision in which parameters and gradients are handed over."""

    def feeds(self, lr: float) -> tuple[Feed, ...]:
        """Return what each step is given, at the base learning rate `lr`."""
        return tuple(Feed(step.gradients, step.multiplier * lr) for step in self.trace.steps())


@dataclass(frozen=True, slots=True)
class Played:
    """A course as it was executed once."""

    thetas: tuple[Arrays, ...]
    """theta_0, as the optimizer holds it, and theta after each step."""
    states: tuple[Mapping[str, Arrays], ...]
    """State after each step, slot by slot; empty where judging does not need it."""
    digests: tuple[str, ...]
    """SHA-256 of the parameters after each step, and of those before it."""
    held: Mapping[str, Any]
    casts: tuple[Cast, ...]
    missing_gradient: MissingGradient
    computes_in: str | None
    scalars_in: str | None
    dtype: str
    """Precision of the parameters that the optimizer steps."""
    proof: Proof

    @property
    def bits(self) -> str:
        """A digest of every parameter after every step."""
        return self.digests[-1]

    def differs_at(self, other: Played) -> int | None:
        """Return the first step, counted from 1, after which the bits of two courses differ; None where none does."""
        pairs = zip(self.digests, other.digests, strict=True)
        return next((step for step, (mine, theirs) in enumerate(pairs) if mine != theirs), None)


def play(runtime: Runtime, execution: Execution, course: Course, device: str) -> Played:
    """Execute `course` once and return what it reached.

    The global random generators are seeded for it, and put back. Raises what `Open` raises, `StepFailed` and
    `NotReplayable` from a step, and `BuildFailed` where the optimizer holds no learning rate.
    """
    with seeded():
        parameters = course.trace.initial_parameters()
        start = Opening(course.target, course.hyperparameters, parameters, (), course.dtype, device)
        feeds = course.feeds(base_learning_rate(course.target, plain_execution(runtime).open(start)))
        executed = execution.open(replace(start, feeds=feeds))
        stepped = execution.steps_in.get(course.dtype, course.dtype)
        narrow = FORMATS[stepped].precision < FORMATS["float32"].precision
        thetas: list[Arrays] = [executed.read_parameters()]
        digests = [_digest("", thetas[0])]
        states = []
        for feed in feeds:
            executed.step(feed.gradients, feed.lr)
            thetas.append(executed.read_parameters())
            digests.append(_digest(digests[-1], thetas[-1]))
            if narrow:
                states.append(executed.read_state())
        return Played(
            tuple(thetas),
            tuple(states),
            tuple(digests),
            dict(executed.held),
            tuple(executed.casts),
            executed.missing_gradient,
            executed.computes_in,
            executed.scalars_in,
            stepped,
            executed.proof(),
        )


def as_handed_over(trace: Trace, dtype: str) -> Trace:
    """Return `trace` with parameters and gradients rounded to `dtype`, as it reaches an optimizer in a wider one."""

    def rounded(arrays: Mapping[str, Array | None]) -> dict[str, Array | None]:
        present = host_copies({name: each for name, each in arrays.items() if each is not None}, dtype)
        return {name: present.get(name) for name in arrays}

    initial = {name: each for name, each in rounded(trace.initial_parameters()).items() if each is not None}
    return MemoryTrace(
        trace.name,
        tuple(replace(parameter, dtype=dtype) for parameter in trace.parameters),
        trace.multipliers,
        initial,
        tuple(rounded(step.gradients) for step in trace.steps()),
    )


def _digest(before: str, arrays: Arrays) -> str:
    """Return a digest of `arrays` and of all that went before."""
    digest = hashlib.sha256(before.encode())
    for name in sorted(arrays):
        digest.update(f"{name}\0{arrays[name].dtype}\0{arrays[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
