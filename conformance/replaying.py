"""Replay a trace through an optimizer with hypotheses beside it, step by step, each with its bound.

Accepting a hypothesis takes every element; to reject a rival, a seeded sample of coordinates is enough, and
once it is rejected it need not be followed to the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.errors import BuildFailed
from ..adapters.protocol import MissingGradient, Target, Trajectory
from ..adapters.text import escape_control
from ..reference.comparison import Beside, Comparison
from ..reference.follow import Follower, Mode, state_slots
from .hypotheses import Hypothesis, multiplier_as_used, options_in_step
from .judging import Judging
from .lanes import Lane, lanes_of, sampled_elements
from .step_distances import NOTHING, StepDistances
from .traces import Trace
from .traces.trace import Step
from .walking import Walker

SAMPLE_SIZE = 512
"""Coordinates on which rivals are tried; drawn once per trace with a fixed seed."""
RIVAL_STEPS = 256
"""Steps after which a rival that is rejected is no longer followed: its separation is known by then."""
COMPILED_PAYS = 2e8
"""Elements times steps from which the compiled engine earns back the seconds that compiling takes."""

Array = NDArray[Any]
OnStep = Callable[[int], None]


@dataclass(slots=True)
class Run:
    """One hypothesis as it is replayed, and the worst of it so far."""

    hypothesis: Hypothesis
    sampled: bool
    followers: list[Follower] = field(default_factory=list)
    """One for each lane of the trace under way."""
    ratio: float = 0.0
    elements: int = 0
    undecidable: int = 0
    first_violation: dict[str, Any] = field(default_factory=dict)
    distances: list[StepDistances] = field(default_factory=list)
    """Trace by trace, for pictures."""
    in_step: float = NOTHING
    """The largest distance in the step under way."""

    @property
    def inside(self) -> bool:
        """Whether no element has left its bound."""
        return self.ratio <= 1.0

    def add(self, comparison: Comparison, step: int, lane: Lane, sample: NDArray[np.intp]) -> None:
        """Take in one step of one lane."""
        self.elements += comparison.compared
        self.undecidable += comparison.undecidable
        self.ratio = max(self.ratio, comparison.ratio)
        if comparison.ratio > self.in_step and (comparison.compared or comparison.ratio):
            self.in_step = comparison.ratio
        if comparison.ratio > 1.0 and comparison.element is not None and not self.first_violation:
            element = int(sample[comparison.element]) if self.sampled else comparison.element
            name, index = lane.locate(element)
            self.first_violation = {
                "step": step,
                "parameter": name,
                "element": index,
                "found": comparison.found,
                "expected": comparison.expected,
                "bound": comparison.bound,
                "factor": comparison.ratio,
            }

    def end_step(self, trace: str, step: int) -> None:
        """Keep the largest distance of the step, in all lanes. Parts of one recorded run are one trace."""
        last = self.distances[-1] if self.distances else None
        if last is None or last.trace != trace or step <= last.last_step:
            last = StepDistances(trace)
            self.distances.append(last)
        last.add(step, self.in_step)
        self.in_step = NOTHING


def replay(
    subject: Walker,
    trace: Trace,
    values: Mapping[str, Any],
    runs: Sequence[Run],
    steps: Iterable[Step],
    judging: Judging | None,
    on_step: OnStep | None = None,
    rival_steps: int = RIVAL_STEPS,
) -> dict[str, Any]:
    """Step the optimizer, built with `values`, through `steps` of `trace` and every run beside it.

    The figures are added to `runs`; without any, the optimizer is stepped and nothing compared. The first run
    that is not sampled is the one that rivals must be told from; those rejected are followed over `rival_steps`.
    `on_step` is called after each step with its number. Returns where the optimizer first left a parameter NaN or
    infinite (`trace`, `step`, `parameter`) although all it had been given was finite; nothing where it did not.
    """
    optimizer = subject.begin(trace, values)
    lr = base_learning_rate(subject.target, optimizer)
    before = subject.state_before(trace)
    counts = {name: int(count) for name, count in before.get("step", {}).items()}
    lanes = [_LaneReplay(lane, subject.dtype, optimizer, before, counts) for lane in lanes_of(trace, counts)]
    for lane, sample in zip(lanes, sampled_elements([len(lane.before) for lane in lanes], SAMPLE_SIZE), strict=True):
        lane.sample = sample
    if judging is not None:
        for run in runs:
            run.followers = [_follower(run, lane, trace.n_steps, judging) for lane in lanes]
    own = next((run for run in runs if not run.sampled), None)
    full = judging is not None and judging.mode is Mode.FULL_RESYNC
    slots = {slot for run in runs for slot in state_slots(run.hypothesis.options)} if full else set()
    broken: dict[str, Any] = {}
    for step in steps:
        optimizer.step(step.gradients, step.multiplier * lr)
        reached = optimizer.read_parameters()
        state = {slot: each for slot, each in optimizer.read_state().items() if slot in slots} if slots else {}
        missing = optimizer.missing_gradient
        if subject.steered:  # a recorded run had other parameters beside those that are looked at
            missing = _convention(missing, step)
        followed = [run for run in runs if not (run.sampled and step.index > rival_steps and not run.inside)]
        for index, lane in enumerate(lanes):
            lane.take(step, reached, state, missing)
            beside = None
            for run in followed:
                beside = lane.follow(run, index, step, run is own, beside, missing)
            lane.before = lane.after
            if not broken and lane.breaks():
                broken = {"trace": trace.name, "step": step.index, "parameter": lane.first_not_finite()}
        for run in followed:
            run.end_step(trace.name, step.index)
        if on_step is not None:
            on_step(step.index)
    return broken


class _LaneReplay:
    """One lane of a trace while it is replayed: theta before and after the step at hand, its gradient and state."""

    def __init__(
        self,
        lane: Lane,
        dtype: str,
        optimizer: Trajectory,
        state_before: Mapping[str, Mapping[str, Array]],
        counts: Mapping[str, int],
    ) -> None:
        self.lane, self.dtype = lane, dtype
        self.state_before = self._state(state_before)
        self.steps_before = max((counts.get(name, 0) for name in lane.shapes), default=0)
        """Updates that each of its parameters has had: of all the same number."""
        self.before = self._vector(optimizer.read_parameters())
        self.after: Array = self.before
        self.grad: Array | None = None
        self.state: Mapping[str, Array] = {}
        self.sample: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._valid = bool(np.isfinite(self.before).all())

    def breaks(self) -> bool:
        """Whether parameters are NaN or infinite now, from gradients and parameters that never were."""
        self._valid = self._valid and (self.grad is None or bool(np.isfinite(self.grad).all()))
        return self._valid and not np.isfinite(self.after).all()

    def first_not_finite(self) -> str:
        """Return the first parameter that is NaN or infinite now."""
        return self.lane.locate(int(np.argmin(np.isfinite(self.after))))[0]

    def take(
        self,
        step: Step,
        reached: Mapping[str, Array],
        state: Mapping[str, Mapping[str, Array]],
        missing: MissingGradient,
    ) -> None:
        """Take what the step brought: its gradient as it was fed, and the parameters and state it reached."""
        self.after = self._vector(reached)
        self.grad = self.lane.gather(step.gradients, self.dtype)
        if self.grad is None and missing is MissingGradient.ZERO:
            self.grad = np.zeros_like(self.before)
        self.state = self._state(state)

    def follow(
        self, run: Run, index: int, step: Step, is_own: bool, beside: Beside | None, missing: MissingGradient
    ) -> Beside | None:
        """Take one run through the step; return what rivals must be told from: that of `run` if it is the own one."""
        follower = run.followers[index]
        options = options_in_step(run.hypothesis, step.changed)
        if options is not follower.options:
            follower.change(options)
        before, after = self._chosen(run, self.before), self._chosen(run, self.after)
        if self.grad is None:
            counts = missing is MissingGradient.SKIPPED_SHARED_COUNT
            run.add(follower.skip(before, after, counts_step=counts), step.index, self.lane, self.sample)
            return None
        followed = follower.step(
            before,
            self._chosen(run, self.grad),
            after,
            multiplier_as_used(run.hypothesis, step.multiplier),
            state_after={slot: self._chosen(run, each) for slot, each in self.state.items()},
            beside=beside if run.sampled else None,
            keep=self.sample if is_own else None,
        )
        run.add(followed.comparison, step.index, self.lane, self.sample)
        return followed.kept if is_own else beside

    def _chosen(self, run: Run, vector: Array) -> Array:
        return vector[self.sample] if run.sampled else vector

    def _state(self, state: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
        """Return the slots that all parameters of the lane have, each as one vector.

        State is taken at its own precision: some optimizers keep it wider than the parameters.
        """
        complete = {slot: each for slot, each in state.items() if self.lane.shapes.keys() <= each.keys()}
        return {
            slot: np.concatenate([np.asarray(each[name], dtype=np.float64).reshape(-1) for name in self.lane.shapes])
            for slot, each in complete.items()
            if all(np.size(each[name]) == math.prod(shape) for name, shape in self.lane.shapes.items())
        }

    def _vector(self, arrays: Mapping[str, Array]) -> Array:
        vector = self.lane.gather(arrays, self.dtype)
        assert vector is not None, "parameters are never missing"
        return vector


def _follower(run: Run, lane: _LaneReplay, n_steps: int, judging: Judging) -> Follower:
    large = not run.sampled and len(lane.before) * n_steps >= COMPILED_PAYS
    chosen = lane.sample if run.sampled else slice(None)
    return Follower(
        run.hypothesis.rule,
        run.hypothesis.options,
        lane.before[chosen],
        judging.arithmetic,
        mode=judging.mode_of(run.hypothesis),
        engine="auto" if large else "numpy",
        state_before={slot: each[chosen] for slot, each in lane.state_before.items()},
        steps_before=lane.steps_before,
    )


def base_learning_rate(target: Target, optimizer: Trajectory) -> float:
    """Return the base learning rate that the optimizer holds. Raises `BuildFailed` where it is no number."""
    held = optimizer.held.get("lr")
    try:
        return float(held)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        spec, shown = escape_control(target.spec), escape_control(repr(held))
        raise BuildFailed(f"{spec} holds lr = {shown}, but should hold a number; use --set lr=0.001") from None


def with_multipliers(steps: Iterable[Step], multipliers: Sequence[float]) -> Iterator[Step]:
    """Yield `steps` with other schedule multipliers, taken in turn."""
    for multiplier, step in zip(itertools.cycle(multipliers), steps, strict=False):
        yield replace(step, multiplier=multiplier)


def _convention(missing: MissingGradient, step: Step) -> MissingGradient:
    """Return what happens to missing gradients in `step`: without any gradient, a shared count does not move."""
    nothing = all(grad is None for grad in step.gradients.values())
    return MissingGradient.SKIPPED if nothing and missing is MissingGradient.SKIPPED_SHARED_COUNT else missing
