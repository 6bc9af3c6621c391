"""What a trace holds, in numbers that fit on a screen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...adapters.text import counted
from .directory import DirectoryTrace
from .files import names_in
from .index import INDEX_FILE
from .run import RecordedRun
from .trace import DTYPES, Array, Parameter, Trace


@dataclass(frozen=True, slots=True)
class GradientSummary:
    """Range of one parameter's gradients over all steps that have one.

    `smallest` and `largest` are the least non-zero and the greatest |g|, None where there is no such value.
    `zero_fraction` is None where the parameter has no value at all. `steps` counts the steps with a gradient.
    `row_fraction` is the share of its rows that have an entry, over the steps in which they alone are kept; None where
    its gradients are kept whole throughout.
    """

    parameter: Parameter
    steps: int
    smallest: float | None
    largest: float | None
    zero_fraction: float | None
    row_fraction: float | None = None


def recorded_run(trace: Trace) -> RecordedRun | None:
    """What is known of the run that `trace` was recorded from; None where it was not, or is not in a directory."""
    return trace.run if isinstance(trace, DirectoryTrace) else None


def size_on_disk(trace: Trace) -> int | None:
    """Bytes of all files of `trace`; None where it has none."""
    if not isinstance(trace, DirectoryTrace):
        return None
    return trace.files.size(INDEX_FILE) + sum(shard.bytes for shard in trace.index.shards)


def counts_of(trace: Trace) -> str:
    """How much there is of what `trace` holds, on one line."""
    sampled = sum(parameter.sampled_from is not None for parameter in trace.parameters)
    parameters = counted(len(trace.parameters), "parameter")
    parts = [counted(trace.n_steps, "step"), f"{parameters} ({sampled} sampled)" if sampled else parameters]
    run = recorded_run(trace)
    if run is not None:
        parts += [counted(len(run.segments), "state")] if run.segments else []
        parts += ["theta after each step"] if run.after else []
        parts += [f"{counted(len(run.skipped), 'step')} skipped"] if run.skipped else []
    size = size_on_disk(trace)
    return ", ".join(parts if size is None else [*parts, f"{size} bytes"])


def trace_bytes(trace: Trace) -> int:
    """Bytes of theta_0 and all gradients, missing ones not counted off."""
    step = sum(p.size * DTYPES[p.dtype].itemsize for p in trace.parameters)
    return step * (1 + trace.n_steps)


def summarize_gradients(trace: Trace) -> tuple[GradientSummary, ...]:
    """One `GradientSummary` for each parameter, in one pass over the steps that keeps none of them."""
    running = {p.name: _Running() for p in trace.parameters}
    for step in trace.steps():
        for name, gradient in step.gradients.items():
            if gradient is not None:
                running[name].add(gradient)
    fractions = _row_fractions(trace)
    return tuple(replace(running[p.name].summary(p), row_fraction=fractions.get(p.name)) for p in trace.parameters)


def _row_fractions(trace: Trace) -> dict[str, float]:
    """Name of each parameter that has steps kept as rows -> share of its rows that have an entry in those."""
    if not isinstance(trace, DirectoryTrace):
        return {}
    rows = {p.name: p.shape[0] for p in trace.parameters if p.shape}
    found: dict[str, list[int]] = {}
    for shard in trace.index.gradients:
        if shard.file not in trace.index.rows:
            continue
        file = trace.tensors(trace.index.rows[shard.file])
        for name in sorted(names_in(file)):
            absent = (name in trace.missing.get(step, ()) for step in range(shard.first_step, shard.last_step + 1))
            there = found.setdefault(name, [0, 0])
            there[0] += file.get_slice(name).get_shape()[0]
            there[1] += rows[name] * (shard.n_steps - sum(absent))
    return {name: entries / of for name, (entries, of) in found.items() if of}


class _Running:
    """The range of the gradients seen so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.values = 0
        self.zeros = 0
        self.smallest = np.inf
        self.largest = 0.0

    def add(self, gradient: Array) -> None:
        magnitudes: np.ndarray[Any, np.dtype[np.float64]] = np.abs(gradient.astype(np.float64).reshape(-1))
        nonzero = magnitudes[magnitudes > 0.0]
        self.steps += 1
        self.values += magnitudes.size
        self.zeros += magnitudes.size - nonzero.size
        if nonzero.size:
            self.smallest = min(self.smallest, float(nonzero.min()))
            self.largest = max(self.largest, float(nonzero.max()))

    def summary(self, parameter: Parameter) -> GradientSummary:
        any_nonzero = self.zeros < self.values
        return GradientSummary(
            parameter=parameter,
            steps=self.steps,
            smallest=self.smallest if any_nonzero else None,
            largest=self.largest if any_nonzero else None,
            zero_fraction=self.zeros / self.values if self.values else None,
        )
