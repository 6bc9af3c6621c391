"""Ways of judging a large case: a sample or every element, on the device or on the host.

Where the device judges, the reference, its bound and the comparison are the reference's own functions, over the array
API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..adapters.large_steps import LargeSteps
from ..conformance.traces.generated import GeneratedTrace
from ..reference.adam import AdamState
from ..reference.adam_bound import AdamError
from ..reference.arithmetic import Arithmetic
from ..reference.comparison import Beside, Comparison, distances, merged
from ..reference.follow import Follower
from ..reference.namespace import namespace_of
from ..reference.options import AdamOptions, AdamWOptions, DecayLaw
from ..reference.replay import Engine
from ..reference.rules import RULES, Rule, Tracked, tracked_step

LR, WEIGHT_DECAY = 1e-3, 1e-2
BLOCK_ELEMENTS = 2**22
"""Elements that the device judges at a time: some fifty arrays of 32 MB are alive at once."""
OWN = AdamWOptions(lr=LR, weight_decay=WEIGHT_DECAY, law=DecayLaw.LR_WD)
RIVAL = AdamOptions(lr=LR, weight_decay=WEIGHT_DECAY)
"""L2 at the same hyperparameters: the nearest rule of the other kind."""
RULE_NAME, RIVAL_NAME = "adamw", "adam_l2"
OPTIONS: Mapping[str, AdamOptions] = {RULE_NAME: OWN, RIVAL_NAME: RIVAL}
"""By name of the rule."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one way of judging found, over all steps."""

    bound_ratio: float
    """Largest distance from AdamW's reference, in bounds; at most 1 conforms."""
    rival_ratio: float | None
    """The same of the rival, over elements on which the two rules can be told apart; None where it was not tried."""
    compared: int
    """Elements times steps of which the bound says something."""
    undecidable: int
    step: int | None
    """Where `bound_ratio` is: the step, counted from 1, and the coordinate."""
    element: int | None

    @property
    def conforms(self) -> bool:
        """Whether something was compared, all of it lies inside, and the rival, where it was tried, does not."""
        return self.compared > 0 and self.bound_ratio <= 1.0 and (self.rival_ratio is None or self.rival_ratio > 1.0)


@dataclass(frozen=True, slots=True)
class LargeRun:
    """One large case as every way of judging shares it."""

    on: LargeSteps
    trace: GeneratedTrace
    sampled: GeneratedTrace
    allowed: Arithmetic
    engine: Engine
    """What the host judges with, and on how many threads."""
    threads: int

    def each_step(self, look: Callable[[], Any], judge: Callable[[int, float, Any, Any], None]) -> None:
        """Take all steps; `judge` gets the number and multiplier of each, and what `look` returned before and after."""
        self.on.begin()
        before = look()
        for index, multiplier in enumerate(self.trace.multipliers, start=1):
            self.on.generate(index)
            self.on.step(multiplier * LR)
            after = look()
            judge(index, multiplier, before, after)
            before = after

    def places(self) -> Any:
        """Return the sample's coordinates on the device."""
        return self.on.placed(_coordinates(self.sampled))


@dataclass(slots=True)
class _Tally:
    """What has been found so far."""

    worst: Comparison = field(default_factory=Comparison)
    step: int | None = None
    rival: float | None = None

    def add(self, index: int, found: Comparison, rival: float | None = None, offset: int = 0) -> None:
        """Take in what was found of some elements in one step; they begin at `offset`."""
        if found.ratio > self.worst.ratio:
            self.step = index
        self.worst = merged(self.worst, found, offset)
        if rival is not None:
            self.rival = max(self.rival or 0.0, rival)

    def judged(self, coordinates: Any = None) -> Judged:
        """Return it; `coordinates` are those that elements are counted in, where it is a sample."""
        element = self.worst.element
        if element is not None and coordinates is not None:
            element = int(coordinates[element])
        worst = self.worst
        return Judged(worst.ratio, self.rival, worst.compared, worst.undecidable, self.step, element)


Moments = tuple[Any, Any, Any, Any]
"""m and v of Adam, and the bounds on them."""


class _OnDevice:
    """Rules in theta-resync beside some elements, where they live; each is told from the first.

    A step is one program where the framework makes one of it. Its numbers, such as the bias corrections, are part of
    it, so that there are as many programs as steps: all made in the round that is not timed. Nothing is waited for.
    """

    def __init__(self, on: LargeSteps, rules: tuple[Rule, ...], theta: Any, allowed: Arithmetic) -> None:
        self._on, self._rules, self._allowed, self._size = on, rules, allowed, len(theta)
        zeros = namespace_of(theta).zeros_like(theta, dtype=theta.dtype)
        self._moments: tuple[Moments, ...] = ((zeros,) * 4,) * len(rules)
        self._seen: list[tuple[int, tuple[Any, ...]]] = []

    def step(self, index: int, multiplier: float, before: Any, grad: Any, after: Any) -> None:
        """Take step `index` and compare; what it finds stays on the device."""
        advance = self._on.program(_advanced, self._rules, self._allowed, index, multiplier)
        self._moments, seen = advance(self._moments, before, grad, after)
        self._seen.append((index, seen))

    def told(self, tally: _Tally, offset: int = 0) -> None:
        """Fetch what was found and add it to `tally`; the elements begin at `offset`."""
        for index, (own, *rivals) in self._seen:
            ratio, element, compared = float(own[0]), int(own[1]), int(own[2])
            found = Comparison(ratio, element, compared=compared, undecidable=self._size - compared)
            tally.add(index, found, max((float(rival[0]) for rival in rivals), default=None), offset)


def _advanced(
    rules: tuple[Rule, ...],
    allowed: Arithmetic,
    index: int,
    multiplier: float,
    moments: tuple[Moments, ...],
    before: Any,
    grad: Any,
    after: Any,
) -> tuple[tuple[Moments, ...], tuple[Any, ...]]:
    """Return the moments of each rule after step `index`, and (largest ratio, its element, elements decided)."""
    moved, seen = [], []
    first: Beside | None = None
    xp = namespace_of(before)
    for rule, state in zip(rules, moments, strict=True):
        state, reached = _reached(rule, allowed, index, multiplier, state, before, grad)
        ratio, says = distances(before, after, reached.theta, reached.bound, first)
        first = first or reached
        moved.append(state)
        seen.append((xp.max(ratio), xp.argmax(ratio), xp.count_nonzero(says)))
    return tuple(moved), tuple(seen)


def _reached(
    rule: Rule, allowed: Arithmetic, index: int, multiplier: float, moments: Moments, before: Any, grad: Any
) -> tuple[Moments, Beside]:
    """Return the moments after step `index` of a rule, and theta_t with its bound."""
    m, v, m_error, v_error = moments
    tracked = Tracked(AdamState(index - 1, m, v), AdamError(m_error, v_error))
    theta, bound, after = tracked_step(rule, before, grad, tracked, OPTIONS[rule.name], multiplier, allowed)
    return (after.state.m, after.state.v, after.error.m, after.error.v), Beside(theta, allowed.allowance * bound)


def _sample_on_device(run: LargeRun) -> Judged:
    """Gather the sample and judge it where it is, beside the rival."""
    on, tally = run.on, _Tally()
    with on.judging():
        on.begin()
        where = run.places()
        start = on.take(on.parameters(), where)
        beside = _OnDevice(on, (RULES["adamw"], RULES["adam_l2"]), start, run.allowed)

        def judge(index: int, multiplier: float, before: Any, after: Any) -> None:
            beside.step(index, multiplier, before, on.take(on.gradient(), where), after)

        run.each_step(lambda: on.take(on.parameters(), where), judge)
        beside.told(tally)
    return tally.judged(_coordinates(run.sampled))


def _sample_on_host(run: LargeRun) -> Judged:
    """Gather the sample, and judge it on the host with gradients that the host makes, while the device goes on."""
    on, tally = run.on, _Tally()
    size = run.sampled.parameters[0].size
    theta = run.sampled.initial_parameters()["theta"]
    own = Follower(RULES["adamw"], OWN, theta, run.allowed, engine=run.engine, threads=run.threads)
    rival = Follower(RULES["adam_l2"], RIVAL, theta, run.allowed, engine=run.engine, threads=run.threads)
    everything = np.arange(size)

    def follow(index: int, multiplier: float, before: Any, after: Any) -> None:
        grad = run.sampled.block("theta", index, 0, size)
        assert grad is not None, "a generated trace has a gradient in every step"
        followed = own.step(before, grad, after, multiplier, keep=everything)
        other = rival.step(before, grad, after, multiplier, beside=followed.kept)
        tally.add(index, followed.comparison, other.comparison.ratio)

    waiting: list[Future[None]] = []
    with on.judging(), ThreadPoolExecutor(1) as behind:
        where = run.places()

        def gathered() -> Any:
            return on.to_host(on.take(on.parameters(), where))

        def judge(index: int, multiplier: float, before: Any, after: Any) -> None:
            waiting.append(behind.submit(follow, index, multiplier, before, after))

        run.each_step(gathered, judge)
    for each in waiting:
        each.result()
    return tally.judged(_coordinates(run.sampled))


def _full(run: LargeRun) -> Judged:
    """Judge every element where it is, block by block; the reference's state takes 32 bytes an element there."""
    on, tally, size = run.on, _Tally(), run.trace.size
    blocks = [slice(start, min(start + BLOCK_ELEMENTS, size)) for start in range(0, size, BLOCK_ELEMENTS)]
    with on.judging():
        on.begin()
        beside = [_OnDevice(on, (RULES["adamw"],), on.take(on.parameters(), block), run.allowed) for block in blocks]

        def judge(index: int, multiplier: float, before: Any, after: Any) -> None:
            grad = on.gradient()
            for block, own in zip(blocks, beside, strict=True):
                was, fed, now = (on.take(array, block) for array in (before, grad, after))
                own.step(index, multiplier, was, fed, now)

        run.each_step(on.kept, judge)
        for block, own in zip(blocks, beside, strict=True):
            own.told(tally, block.start)
    return tally.judged()


WAYS: Mapping[str, Callable[[LargeRun], Judged]] = {
    "sample_on_device": _sample_on_device,
    "sample_on_host": _sample_on_host,
    "full": _full,
}
"""Ways of judging, by name."""


def _coordinates(trace: GeneratedTrace) -> Any:
    """Return the coordinates that a sample holds; all of them where it is the whole."""
    return np.arange(trace.size) if trace.coordinates is None else trace.coordinates


def reference_apart(run: LargeRun, most: int = 4096, most_steps: int = 3) -> dict[str, float]:
    """Step the reference over a few coordinates on the device and in NumPy, and return how far they are apart.

    In every step both start from NumPy's theta; each keeps its own moments and bounds.
    """
    few = run.sampled.sampled(most)
    theta = few.initial_parameters()["theta"].astype(np.float64)
    furthest, share = 0.0, 0.0
    with run.on.judging(), np.errstate(all="ignore"):
        here: Moments = (np.zeros_like(theta),) * 4
        there: Moments = (run.on.on_device(np.zeros_like(theta)),) * 4
        for step in few.steps(most_steps):
            grad = np.asarray(step.gradients["theta"], dtype=np.float64)
            constants = RULES["adamw"], run.allowed, step.index, step.multiplier
            here, expected = _reached(*constants, here, theta, grad)
            program = run.on.program(_reached_arrays, *constants)
            there, found = program(there, run.on.on_device(theta), run.on.on_device(grad))
            found_theta, found_bound = (np.asarray(run.on.to_host(each), dtype=np.float64) for each in found)
            ulp = np.spacing(np.maximum(abs(theta), abs(expected.theta)))
            furthest = max(furthest, float(np.max(abs(found_theta - expected.theta) / ulp)))
            # Equal where both are infinite, or both 0.
            apart = np.where(found_bound == expected.bound, 0.0, abs(found_bound / expected.bound - 1.0))
            share = max(share, float(np.max(np.where(np.isnan(apart), np.inf, apart))))
            theta = expected.theta
    return {"theta_ulp": furthest, "bound_share": share}


def _reached_arrays(*arguments: Any) -> tuple[Moments, tuple[Any, Any]]:
    """Return what `_reached` does, as arrays alone."""
    moments, reached = _reached(*arguments)
    return moments, (reached.theta, reached.bound)
