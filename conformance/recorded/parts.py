"""A recorded run in parts that can be judged: one parameter group in one dtype over one stretch of training steps.

Every part is a trace of its own. It begins with theta and state as they were recorded, and its steps carry the
hyperparameters of the group. What cannot be judged of a run is said besides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np

from ...adapters.protocol import Array
from ..traces import DirectoryTrace, Parameter, Step, Trace
from ..traces.files import names_in
from ..traces.run import Segment
from ..traces.trace import clamp_stop
from ..traces.view import TraceView
from .hyperparameters import Hyperparameters

State = dict[str, dict[str, Array]]

_ADDED = "momentums"
"""The slot of Keras's SGD, which adds its buffer to theta: the negative of the `momentum` that is subtracted."""
_MOST_UPDATES = 2**53
"""From here on a float64 counts no longer."""


@dataclass(frozen=True)
class RunPart(TraceView):
    """Some parameters of a recorded run over consecutive training steps: a `Trace` with the steps' own numbers."""

    whole: DirectoryTrace
    parameters: tuple[Parameter, ...]
    hyperparameters: Hyperparameters
    first: int
    last: int
    segment: Segment | None
    """That begins with the first step, where theta and state were recorded before it."""

    @property
    def n_steps(self) -> int:
        """Steps of this part."""
        return self.last - self.first + 1

    @cached_property
    def multipliers(self) -> tuple[float, ...]:
        """The eta_t of every step, in units of the base rate that the group is judged by."""
        return tuple(map(self.hyperparameters.multiplier, range(self.first, self.last + 1)))

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the parameters."""
        return frozenset(parameter.name for parameter in self.parameters)

    @cached_property
    def missing(self) -> Mapping[int, frozenset[str]]:
        """Step -> names of the parameters that had no gradient in it."""
        absent = self.whole.missing
        inside = {step: absent[step] & self.names for step in range(self.first, self.last + 1) if step in absent}
        return {step: names for step, names in inside.items() if names}

    def initial_parameters(self) -> dict[str, Array]:
        """Theta before the first step, by name; of parameters that join later, theta before they do."""
        recorded = {} if self.segment is None else self.whole.state_before(self.segment, self.names).get("theta", {})
        theta = {} if recorded.keys() == self.names else self.whole.initial_parameters()
        return {each.name: _shaped(recorded.get(each.name, theta.get(each.name)), each) for each in self.parameters}

    def state_before(self) -> State:
        """Return the state before the first step: slot -> name -> array, and in `step` the updates so far."""
        if self.segment is None:
            return {}
        state = self.whole.state_before(self.segment, self.names)
        added = state.pop(_ADDED, None)
        if added is not None:
            state["momentum"] = {name: np.negative(buffer) for name, buffer in added.items()}
        counts = {name: np.asarray(updates_of(name, state) or 0) for name in self.names}
        return {**{slot: each for slot, each in state.items() if slot != "theta"}, "step": counts}

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """The first `stop` steps (None: all), each read when it is asked for."""
        last = self.first - 1 + clamp_stop(stop, self.n_steps)
        maximizes = bool(self.hyperparameters.held.get("maximize"))
        for step in self.whole.steps_of(self.parameters, self.first, last):
            multiplier, changed = self.hyperparameters.multiplier(step.index), self.hyperparameters.changed(step.index)
            gradients = _turned(step.gradients) if maximizes else step.gradients
            yield replace(step, multiplier=multiplier, gradients=gradients, changed=changed)

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates of one gradient as it was recorded; see `Trace.block`."""
        if name not in self.names:
            raise KeyError(name)
        if not self.first <= step <= self.last:
            raise IndexError(f"step {step} of steps {self.first}..{self.last}")
        return self.whole.block(name, step, start, stop)


def updates_of(name: str, state: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Return how many updates a parameter has had by its recorded `state`; None where that is not known.

    Of an optimizer that does not count, as SGD, the buffer says that there was one.
    """
    count = state.get("step", {}).get(name)
    if count is not None:
        number = float(np.asarray(count).item()) if np.size(count) == 1 else -1.0
        return int(number) if 0.0 <= number < _MOST_UPDATES and number.is_integer() else None
    return 1 if name in state.get("momentum", {}) else None


@dataclass(frozen=True, slots=True)
class RunGroup:
    """One parameter group in one dtype: what is held against one set of hypotheses."""

    hyperparameters: Hyperparameters
    dtype: str
    parts: tuple[RunPart, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All that are judged in any part, each once."""
        return tuple({each.name: each for part in self.parts for each in part.parameters}.values())

    def only(self, name: str) -> RunGroup:
        """Return the same with one parameter alone."""
        alone = (
            replace(part, parameters=tuple(each for each in part.parameters if each.name == name))
            for part in self.parts
        )
        return replace(self, parts=tuple(part for part in alone if part.parameters))

    def without_decay(self) -> RunGroup:
        """Return the same, held against rules that do not decay it."""
        held = self.hyperparameters.group
        courses = {**held.hyperparameters, "weight_decay": ((1, 0.0),)}
        spared = Hyperparameters(replace(held, hyperparameters=courses))
        return replace(
            self, hyperparameters=spared, parts=tuple(replace(p, hyperparameters=spared) for p in self.parts)
        )


def keeps_theta(trace: Trace) -> TypeGuard[DirectoryTrace]:
    """Whether `trace` is that of a recorded run which kept theta after its steps, so that the run can be judged."""
    return isinstance(trace, DirectoryTrace) and trace.run is not None and bool(trace.run.after)


def groups_of(trace: DirectoryTrace) -> tuple[list[RunGroup], list[str]]:
    """Return the groups of a recorded run that can be judged, and what cannot, a sentence each."""
    run = trace.run
    assert run is not None, "only a recorded run has groups"
    groups: list[RunGroup] = []
    unjudged: list[str] = []
    owned = frozenset(name for group in run.groups for name in group.parameters)
    strangers = [each.name for each in trace.parameters if each.name not in owned]
    if strangers:
        unjudged.append(
            f"{names_shown(strangers)}: the recording names no hyperparameters of theirs; record a run with its "
            "learning rate and weight decay"
        )
    for group in run.groups:
        inside = [each for each in trace.parameters if each.name in group.parameters and each.size]
        if inside and not group.hyperparameters.get("lr"):
            unjudged.append(f"{names_shown([each.name for each in inside])}: the recording holds no learning rate")
            continue
        hyperparameters = Hyperparameters(group)
        for dtype in dict.fromkeys(each.dtype for each in inside):
            alike = tuple(each for each in inside if each.dtype == dtype)
            parts = tuple(_parts(trace, alike, hyperparameters, unjudged))
            if parts:
                groups.append(RunGroup(hyperparameters, dtype, parts))
    return groups, list(dict.fromkeys(unjudged))


def changed_before(trace: DirectoryTrace) -> list[Segment]:
    """Return the segments that begin right where the one before ended, since theta was no longer what that had left."""
    segments = () if trace.run is None else trace.run.segments
    return [
        segment
        for previous, segment in itertools.pairwise(segments)
        if segment.training_step - previous.training_step == segment.step - previous.step
    ]


def _parts(
    trace: DirectoryTrace, parameters: Sequence[Parameter], hyperparameters: Hyperparameters, unjudged: list[str]
) -> Iterator[RunPart]:
    run = trace.run
    assert run is not None
    kept = run.after[-1].last_step if run.after else 0
    if kept < trace.n_steps:
        unjudged.append(f"steps {kept + 1} to {trace.n_steps}: theta after them was not kept")
    segments: list[Segment | None] = [*run.segments] or [None]
    starts = [1 if each is None else each.step for each in segments]
    for segment, first, following in zip(segments, starts, [*starts[1:], trace.n_steps + 1], strict=True):
        last = min(following - 1, kept)
        alike = hyperparameters.last_alike(first, last) if first <= last else last
        if alike < last:
            unjudged.append(
                f"steps {max(alike + 1, first)} to {last} of {names_shown([each.name for each in parameters])}: a flag "
                "changes there, or a hyperparameter is no number in its range"
            )
        if first > alike:
            continue
        state, first_of_run = _outline(trace, segment), segment is None or segment.training_step == 1
        held = hyperparameters.held
        known = tuple(each for each in parameters if _knows(state, first_of_run, each.name, held))
        if len(known) < len(parameters):
            unknown = [each.name for each in parameters if each not in known]
            unjudged.append(
                f"{names_shown(unknown)} from step {first} on: the recording holds no moments of theirs before "
                "that step, or does not say how many updates they had had"
            )
        if known:
            yield RunPart(trace, known, hyperparameters, first, alike, segment)


def _knows(state: State, first_of_run: bool, name: str, held: Mapping[str, Any]) -> bool:
    """Whether `state`, recorded before a segment, holds of a parameter what a rule that holds `held` needs."""
    needed = {"m", "v"} if "beta1" in held else {"momentum"} if held.get("momentum") else set()
    needed |= {"v_max"} if held.get("amsgrad") else set()
    if not needed or name not in state.get("theta", {}):
        return True  # it needs none, or joins later and begins anew
    updates = updates_of(name, state)
    if updates:
        return all(name in state.get(slot, {}) for slot in needed)
    return updates == 0 or (first_of_run and not any(name in state.get(slot, {}) for slot in needed))


def _outline(trace: DirectoryTrace, segment: Segment | None) -> State:
    """Return the state before a segment without its numbers, but for the step counts: what has a parameter's shape."""
    found: dict[str, dict[str, Any]] = {}
    shapes = {each.name: each.shape for each in trace.parameters}
    if segment is not None:
        handle = trace.tensors(segment.state)
        for key in names_in(handle):
            slot, _, name = key.partition("/")
            slot = "momentum" if slot == _ADDED else slot
            if slot == "step":
                found.setdefault(slot, {})[name] = handle.get_tensor(key)
            elif tuple(handle.get_slice(key).get_shape()) == shapes[name]:
                found.setdefault(slot, {})[name] = np.empty(0)
    return found


def _shaped(theta: Array | None, parameter: Parameter) -> Array:
    assert theta is not None, "every parameter has theta_0"
    return theta.reshape(parameter.shape)


def _turned(gradients: Mapping[str, Array | None]) -> dict[str, Any]:
    """Return the gradients of an optimizer that maximizes as its rule sees them."""
    return {name: None if grad is None else np.negative(grad) for name, grad in gradients.items()}


_MOST = 3
"""Names in a sentence."""


def names_shown(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(repr, names[:_MOST])) + more
