"""Hold an optimizer's trajectory against every hypothesis of the reference, step by step.

*Theta-resync*: before each step the reference takes the implementation's own parameters, so errors do not
accumulate in theta and only parameters need be read; the moments continue from the trace. The figure is
the ratio |implementation - reference| / threshold, at its worst over elements and steps: at most 1 accepts.

All hypotheses are tried on a few steps and a sample of coordinates; those left are then replayed in full,
beside their rivals, which a sample suffices to reject.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.errors import BuildFailed
from ..adapters.protocol import MissingGradient, Optimizer
from ..adapters.text import escape_control
from ..reference.rules import Tracked, track, tracked_step
from .hypotheses import Hypothesis, hypotheses, label, multiplier_as_used, neighbours
from .lanes import Lane, lanes_of
from .result import Match, Verdict
from .subject import Arrays, Float64Array, Subject, initial_parameters, read
from .traces import Trace
from .traces.trace import Step

SCREENING_STEPS = 6
_SCREENING_SCHEDULE = (1.0, 0.5, 1.0, 0.25, 0.75, 1.0)
"""Multipliers while screening: they change, so that laws and momentum forms part."""
SAMPLE_SIZE = 512
"""Coordinates on which rivals are tried; drawn once per trace with a fixed seed."""
_SEED = 20190506
"""ICLR 2019, the paper's venue; any fixed number serves."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The match, and what the findings need besides."""

    match: Match
    held: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters at which the trajectory was walked, as the optimizer holds them."""
    accepted: tuple[Hypothesis, ...] = ()
    first_violation: Mapping[str, Any] = field(default_factory=dict)
    """Where nothing matches: step, parameter, element and factor at which the nearest first left its threshold."""

    @property
    def rules(self) -> frozenset[str]:
        """Names of the rules that the trajectory follows."""
        return frozenset(hypothesis.rule.name for hypothesis in self.accepted)

    def contradicts(self, verdict: Verdict) -> bool:
        """Whether every rule that the trajectory follows has the kind of decay that `verdict` excludes."""
        decoupled = {hypothesis.rule.decoupled for hypothesis in self.accepted}
        return decoupled == {{Verdict.DECOUPLED: False, Verdict.L2: True}.get(verdict)}


@dataclass(slots=True)
class _Run:
    """One hypothesis as it is replayed: its state, and the worst ratio so far."""

    hypothesis: Hypothesis
    sampled: bool
    tracked: list[Tracked] = field(default_factory=list)
    """One for each lane."""
    ratio: float = 0.0
    elements: int = 0
    undecidable: int = 0
    first_violation: dict[str, Any] = field(default_factory=dict)


def match_trajectory(subject: Subject, traces: Sequence[Trace]) -> Matching:
    """Return which rule the optimizer walks on `traces` at the user's hyperparameters, and how far its rivals are."""
    usable = [trace for trace in traces if trace.n_steps]
    if not usable:
        return Matching(Match())
    values = subject.parity()
    probe = subject.build(initial_parameters(usable[0]), values)
    held = {"weight_decay": 0.0, **probe.held}
    everything = hypotheses(held, probe.casts)
    if not everything:
        _replay(subject, usable[0], values, [], screening=True)  # it must run at the user's values all the same
        return Matching(Match(), held)
    screened = _replay(subject, usable[0], values, [_Run(each, sampled=True) for each in everything], screening=True)
    left = [run.hypothesis for run in screened if run.ratio <= 1.0]
    if not left:
        nearest = min(screened, key=lambda run: run.ratio)
        return _without_match(nearest, held)
    own = left[0]
    rivals = [each for each in neighbours(own, everything, held) if each not in left]
    runs = [_Run(each, sampled=False) for each in left] + [_Run(each, sampled=True) for each in rivals]
    for trace in usable:
        runs = _replay(subject, trace, values, [replace(run, tracked=[]) for run in runs], screening=False)
    return _decide(runs, len(left), held)


def _decide(runs: Sequence[_Run], candidates: int, held: Mapping[str, Any]) -> Matching:
    accepted = [run for run in runs[:candidates] if run.ratio <= 1.0 and run.elements]
    if not accepted:
        return _without_match(min(runs[:candidates], key=lambda run: run.ratio), held)
    own = accepted[0]
    axes = [run.hypothesis.axes() for run in accepted]

    def agreed(axis: str) -> str | None:
        """Return the value on which all accepted hypotheses agree; None where they differ or lack the axis."""
        values = {each[axis] for each in axes if axis in each}
        return values.pop() if len(values) == 1 else None

    has_buffer = bool(getattr(own.hypothesis.options, "momentum", 0.0))
    correction = agreed("bias_correction")
    return Matching(
        Match(
            rule=own.hypothesis.rule.name,
            law=agreed("law"),
            order=agreed("order"),
            epsilon=agreed("epsilon"),
            bias_correction=correction == "on" if correction is not None else None,
            momentum=agreed("momentum_form") if has_buffer else None,
            bound_ratio=own.ratio,
            rivals={label(run.hypothesis, own.hypothesis): run.ratio for run in runs if run is not own},
            elements=own.elements,
            undecidable=own.undecidable,
        ),
        held,
        tuple(run.hypothesis for run in accepted),
    )


def _without_match(nearest: _Run, held: Mapping[str, Any]) -> Matching:
    axes = nearest.hypothesis.axes()
    shown = ",".join(f"{axis}={value}" for axis, value in axes.items() if axis != "rule" and value != "none")
    return Matching(
        Match(
            bound_ratio=None,
            rivals={f"{nearest.hypothesis.rule.name}[{shown}]": nearest.ratio},
            elements=nearest.elements,
            undecidable=nearest.undecidable,
            nearest=f"{nearest.hypothesis.rule.name}[{shown}]",
        ),
        held,
        first_violation=nearest.first_violation,
    )


def _replay(
    subject: Subject, trace: Trace, values: Mapping[str, Any], runs: list[_Run], *, screening: bool
) -> list[_Run]:
    """Step the optimizer through `trace` and every run beside it; return the runs with their figures."""
    theta = initial_parameters(trace)
    optimizer = subject.build(theta, values)
    lr = _learning_rate(subject, optimizer)
    lanes = lanes_of(trace)
    before = [_vector(lane, theta) for lane in lanes]
    samples = _samples([len(vector) for vector in before])
    for run in runs:
        starts = (_chosen(vector, sample, run) for vector, sample in zip(before, samples, strict=True))
        run.tracked = [track(start, run.hypothesis.options) for start in starts]
    for step in _screening_steps(trace) if screening else trace.steps():
        optimizer.step(step.gradients, step.multiplier * lr)
        reached = read(optimizer)
        after = [_vector(lane, reached) for lane in lanes]
        missing = _convention(optimizer.missing_gradient, step)
        for index, lane in enumerate(lanes):
            grad = _gradient(lane, step, before[index], missing)
            for run in runs:
                values_of_lane = (before[index], grad, after[index])
                _advance(run, step, lane, index, values_of_lane, samples[index], missing)
        before = after
    return runs


def _learning_rate(subject: Subject, optimizer: Optimizer) -> float:
    """Return the base learning rate that the optimizer holds. Raises `BuildFailed` where it is no number."""
    held = optimizer.held.get("lr")
    try:
        return float(held)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        spec, shown = escape_control(subject.target.spec), escape_control(repr(held))
        raise BuildFailed(f"{spec} holds lr = {shown}, but should hold a number; use --set lr=0.001") from None


def _screening_steps(trace: Trace) -> Iterator[Step]:
    for multiplier, step in zip(itertools.cycle(_SCREENING_SCHEDULE), trace.steps(SCREENING_STEPS), strict=False):
        yield replace(step, multiplier=multiplier)


def _vector(lane: Lane, arrays: Arrays) -> Float64Array:
    vector = lane.gather(arrays)
    assert vector is not None, "parameters are never missing"
    return vector


def _convention(missing: MissingGradient, step: Step) -> MissingGradient:
    """Return what happens to missing gradients in `step`: without any gradient, a shared count does not move."""
    nothing = all(grad is None for grad in step.gradients.values())
    return MissingGradient.SKIPPED if nothing and missing is MissingGradient.SKIPPED_SHARED_COUNT else missing


def _gradient(lane: Lane, step: Step, theta: Float64Array, missing: MissingGradient) -> Float64Array | None:
    """Return the lane's gradient, zeros where the framework takes a missing one for that; None: it is skipped."""
    grad = lane.gather(step.gradients)
    return np.zeros_like(theta) if grad is None and missing is MissingGradient.ZERO else grad


def _samples(sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """Return the seeded sample of each lane's elements, shared out by size, at least one each."""
    rng = np.random.default_rng(_SEED)
    total = sum(sizes)
    shares = (min(size, max(1, SAMPLE_SIZE * size // total)) for size in sizes)
    return [np.sort(rng.choice(size, size=share, replace=False)) for size, share in zip(sizes, shares, strict=True)]


def _chosen(vector: Float64Array, sample: NDArray[np.intp], run: _Run) -> Float64Array:
    return vector[sample] if run.sampled else vector


def _advance(
    run: _Run,
    step: Step,
    lane: Lane,
    index: int,
    values: tuple[Float64Array, Float64Array | None, Float64Array],
    sample: NDArray[np.intp],
    missing: MissingGradient,
) -> None:
    """Take one step of one hypothesis on one lane from the implementation's own parameters, and compare.

    `values` are (theta_{t-1}, g_t or None where the step is skipped, theta_t), the thetas the implementation's.
    """
    before, grad, after = values
    theta, reached, tracked = _chosen(before, sample, run), _chosen(after, sample, run), run.tracked[index]
    if grad is None:
        if missing is MissingGradient.SKIPPED_SHARED_COUNT:
            state = replace(tracked.state, step=tracked.state.step + 1)
            run.tracked[index] = replace(tracked, state=state)
        wanted, threshold = theta, np.zeros_like(theta)
    else:
        multiplier = multiplier_as_used(run.hypothesis, step.multiplier)
        options = run.hypothesis.options
        chosen = _chosen(grad, sample, run)
        wanted, threshold, run.tracked[index] = tracked_step(
            run.hypothesis.rule, theta, chosen, tracked, options, multiplier
        )
    worst = _compare(run, reached, wanted, threshold, counted=grad is not None)
    if worst is not None and not run.first_violation:
        name, element = lane.locate(int(sample[worst]) if run.sampled else worst)
        run.first_violation = {
            "step": step.index,
            "parameter": name,
            "element": element,
            "found": float(reached[worst]),
            "expected": float(wanted[worst]),
            "threshold": float(threshold[worst]),
        }


def _compare(
    run: _Run, reached: Float64Array, wanted: Float64Array, threshold: Float64Array, *, counted: bool
) -> int | None:
    """Add one comparison to the run; return the worst element if it lies outside its threshold.

    A step that is skipped can refute a hypothesis but not support it: every rule stays where it is. It is
    not `counted`.
    """
    distance = np.abs(reached - wanted)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance == 0.0, 0.0, distance / threshold)
    decidable = np.isfinite(threshold) & np.isfinite(wanted)
    if counted:
        run.elements += int(np.count_nonzero(decidable))
        run.undecidable += int(np.count_nonzero(~decidable))
    ratio = np.where(decidable, np.where(np.isnan(ratio), np.inf, ratio), 0.0)
    worst = int(np.argmax(ratio))
    run.ratio = max(run.ratio, float(ratio[worst]))
    return worst if ratio[worst] > 1.0 else None
