"""What a cut keeps of a trace, read step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.protocol import SparseRows
from ...adapters.recording import Gradient, GroupValues
from .directory import DirectoryTrace, GradientShard
from .errors import TraceError, printable
from .rows import row_size
from .run import Group, Segment
from .trace import Array, Parameter, Trace

THETA_0 = "theta_0 of the whole"


@dataclass(frozen=True, slots=True)
class Kept:
    """One parameter of the cut, and how its values are found in those of the whole trace."""

    source: Parameter
    positions: NDArray[np.int64] | None
    """Elements of the source that are kept, rising; None for all of them."""
    coordinates: NDArray[np.int64] | None
    """Where the elements lie in the original tensor; None where that is whole."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.source.name

    @property
    def parameter(self) -> Parameter:
        """The parameter as the cut declares it."""
        if self.positions is None:
            return self.source
        whole = self.source.sampled_from or self.source.shape
        return replace(self.source, shape=(len(self.positions),), sampled_from=whole)

    def of(self, values: Array) -> Array:
        """What is kept of `values`, an array of the source's shape; a scalar of state stays as it is."""
        if self.positions is None or values.shape != self.source.shape:
            return values
        return np.ascontiguousarray(values.reshape(-1)[self.positions])

    def of_gradient(self, gradient: Gradient) -> Gradient:
        """What is kept of a gradient. One that is sparse stays so unless it is sampled."""
        if gradient is None or self.positions is None:
            return gradient
        return _of_rows(gradient, self.positions) if isinstance(gradient, SparseRows) else self.of(gradient)


def _of_rows(gradient: SparseRows, positions: NDArray[np.int64]) -> Array:
    """The elements of a sparse gradient at `positions` of the dense one, which is not made."""
    rows, columns = np.divmod(positions, row_size(gradient.shape))
    there = np.isin(rows, gradient.indices)
    kept = np.zeros(len(rows), gradient.values.dtype)
    entries = gradient.values.reshape(len(gradient.indices), row_size(gradient.shape))
    kept[there] = entries[np.searchsorted(gradient.indices, rows[there]), columns[there]]
    return kept


class CutSource:
    """The part of a trace that a cut keeps, as it is read step by step."""

    def __init__(self, trace: Trace, steps: range, kept: tuple[Kept, ...]) -> None:
        self.trace, self.steps, self.kept = trace, steps, kept
        self.first = steps.start
        self._by_name = {each.name: each for each in kept}
        self.names = frozenset(self._by_name)
        self._recorded = trace if isinstance(trace, DirectoryTrace) and trace.run is not None else None
        self.run = self._recorded.run if self._recorded else None
        segments = self.run.segments if self.run else ()
        begins = {1, *(segment.step for segment in segments)}
        self._whole_stretches = all(step in begins for step in steps if step - 1 not in steps)
        self.segments = [each for each in segments if self._whole_stretches and each.step in steps]
        self.has_after = self.run is not None and bool(self.run.after) and self._whole_stretches
        self.start, self.start_is = self._start()

    def lost(self) -> tuple[str, ...]:
        """What the cut does not have although the trace does, a sentence each."""
        found = []
        if self.run is not None and not self._whole_stretches and (self.run.after or self.run.segments):
            begins = [segment.step for segment in self.run.segments] or [1]
            found.append(
                "the steps kept begin or go on where the optimizer's state was not recorded, so that the recorded run "
                "cannot be judged from there: theta after each step and the states are left out; there is a state "
                f"before step {', '.join(map(str, begins[:8]))}{', ...' if len(begins) > 8 else ''}"
            )
        if self.start_is == THETA_0 and self.first > 1:
            found.append(f"theta before step {self.first} was not recorded: the cut begins from theta_0 of the whole")
        return tuple(found)

    def present(self) -> list[Kept]:
        """The parameters that take part from the first step on: all, unless the run says that some join later.

        Raises `TraceError` where none does.
        """
        theta = self.after(self.first)
        found = [each for each in self.kept if theta is None or each.name in theta]
        if not found:
            raise TraceError(
                self.trace.name,
                f"no theta of '{printable(self.kept[0].name)}' after step {self.first}",
                "a parameter that takes part from the first step kept on",
                "Keep another parameter besides, or later steps: it joined the run later.",
            )
        return found

    def state(self, segment: Segment) -> dict[str, dict[str, Array]]:
        """What the optimizer had before `segment`, of the parameters kept."""
        assert self._recorded is not None, "only a recorded run has segments"
        return {
            slot: {name: self._by_name[name].of(value) for name, value in values.items()}
            for slot, values in self._recorded.state_before(segment, self.names).items()
        }

    def after(self, step: int) -> dict[str, Array] | None:
        """Theta after `step` of the parameters kept that had joined, where the cut has it."""
        if self._recorded is None or not self.has_after:
            return None
        theta = self._recorded.parameters_after(step, self.names)
        return None if theta is None else {name: self._by_name[name].of(value) for name, value in theta.items()}

    def gradients(self) -> Iterator[dict[str, Gradient]]:
        """The gradients of each step kept, sparse where they are kept so."""
        if not isinstance(self.trace, DirectoryTrace):
            for whole in self.trace.steps(self.steps.stop - 1):
                if whole.index in self.steps:
                    yield {each.name: each.of_gradient(whole.gradients[each.name]) for each in self.kept}
            return
        for shard in self.trace.index.gradients:
            here = [step for step in range(shard.first_step, shard.last_step + 1) if step in self.steps]
            if not here:
                continue
            opened = GradientShard(self.trace, shard)
            for step in here:
                absent = self.trace.missing.get(step, frozenset())
                yield {
                    each.name: None if each.name in absent else each.of_gradient(opened.read_kept(each.source, step))
                    for each in self.kept
                }

    def groups(self) -> Iterator[tuple[GroupValues, ...]]:
        """The parameter groups of each step kept, those left out that no kept parameter is in."""
        groups = [] if self.run is None else [each for each in self.run.groups if self.names & set(each.parameters)]
        owned = [tuple(name for name in each.parameters if name in self.names) for each in groups]
        values = [each.at(self.first) for each in groups]
        changes = [_changes(each) for each in groups]
        for step in range(self.first, self.steps.stop):
            for held, changed in zip(values, changes, strict=True):
                held |= changed.get(step, {})
            if step in self.steps:
                yield tuple(GroupValues(names, dict(held)) for names, held in zip(owned, values, strict=True))

    def _start(self) -> tuple[dict[str, Array], str]:
        """Theta before the first step kept, and what that is, in words."""
        theta, what = self.trace.initial_parameters(), THETA_0
        if self._recorded is not None and self.first > 1:
            segments = self.run.segments if self.run else ()
            begins = next((each for each in segments if each.step == self.first), None)
            found = (
                self._recorded.state_before(begins, self.names).get("theta")
                if begins
                else self._recorded.parameters_after(self.first - 1, self.names)
            )
            if found:
                theta, what = theta | found, f"theta before step {self.first}"
        return {each.name: each.of(theta[each.name]) for each in self.kept}, what


def _changes(group: Group) -> dict[int, dict[str, Any]]:
    """Step -> the hyperparameters that change with it."""
    found: dict[int, dict[str, Any]] = {}
    for name, course in group.hyperparameters.items():
        for step, value in course:
            found.setdefault(step, {})[name] = value
    return found
