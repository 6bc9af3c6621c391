"""Search for `separating`: the gradients on which the hypotheses of the reference part most, in the fewest bytes.

The rules act element by element, so every coordinate of a trace - theta_0 and its course of gradients - is a test of
its own, and a pair of hypotheses parts as far as in the coordinate where it parts most. So the search draws many
coordinates, measures each against every pair once, and picks the few that cover the pairs (greedily, then one
against another), for several schedules; what it has picked it varies, and picks again.

Credits are integers, which every machine adds up alike (`separating_objective` says what earns them). All numbers
are small integers times powers of two, exact in bfloat16 and all wider formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recording import RECORDED_ON, versions
from separating_objective import CASES, CREDITS_PER_BYTE, PLATFORM, Case, as_provenance, credited, worth

from optconform.conformance.separability import Walk, every_pair
from optconform.conformance.traces import DTYPES, MemoryTrace, Parameter
from optconform.reference.arithmetic import arithmetic
from optconform.reference.platforms import PLATFORMS

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Maps a function over jobs, in order."""
Coordinates = NDArray[np.float64]
"""One coordinate a column: theta_0, then the gradients of all steps."""
Credits = NDArray[np.int8]
"""[coordinates, pairs]."""

NAME = "separating"
SEED = 20261125
DTYPE = "bfloat16"
"""In which the trace is stored, and every number is exact."""
SHAPES = ((4, 2), (4, 3), (4, 4), (6, 4))
"""Of the matrix; the vector has as many elements as the matrix rows."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried."""

    schedules: int = 10
    """Schedules, of which the best is kept."""
    scouts: int = 160
    """Coordinates drawn for each of them."""
    pool: int = 1200
    """Coordinates drawn for the schedule that is kept."""
    rounds: int = 6
    """Times that what was picked is varied."""
    variants: int = 400
    """Coordinates of such a round."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """eta_1 .. eta_T, and the step in which the vector has no gradient."""

    multipliers: tuple[float, ...]
    absent: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Coordinates to choose from, for parameters without a gradient in the step `absent`, and what they earn."""

    coordinates: Coordinates
    credits: Credits
    absent: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The coordinates picked for the matrix and for the vector, and what all of them earn together."""

    schedule: Schedule
    shape: tuple[int, int]
    matrix: Coordinates
    vector: Coordinates
    credits: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays."""
        return (self.matrix.size + self.vector.size) * DTYPES[DTYPE].itemsize

    @property
    def value(self) -> int:
        """What is maximised."""
        return self.credits - CREDITS_PER_BYTE * self.n_bytes


def search(effort: Effort, seed: int, run: Run) -> Answer:
    """Return the best trace found; the same for the same effort and seed. `run` maps a function over jobs."""
    rng = np.random.Generator(np.random.PCG64(seed))
    schedules = [drawn_schedule(rng) for _ in range(effort.schedules)]
    schedule = max(schedules, key=lambda each: scouted(rng, each, effort.scouts, run))
    pools = [
        measured(drawn_coordinates(rng, count, len(schedule.multipliers)), schedule, absent, run)
        for count, absent in ((effort.pool, None), (effort.pool // 4, schedule.absent))
    ]
    answer = answered(schedule, pools)
    for _ in range(effort.rounds):
        pools = [
            extended(pool, varied(rng, own, effort.variants), schedule, run)
            for pool, own in zip(pools, (answer.matrix, answer.vector), strict=True)
        ]
        answer = max(answer, answered(schedule, pools), key=lambda each: each.value)
    return answer


def drawn_schedule(rng: np.random.Generator) -> Schedule:
    """Return 5 to 8 multipliers, eighths up to 14, no two alike, and a step that is neither the first nor the last.

    The law of a decay is read from four steps with a gradient, so the vector needs five.
    """
    n_steps = int(rng.integers(5, 9))
    eighths = rng.choice(np.arange(1, 15), n_steps, replace=False)
    return Schedule(tuple(float(each) / 8.0 for each in eighths), int(rng.integers(2, n_steps)))


def scouted(rng: np.random.Generator, schedule: Schedule, count: int, run: Run) -> int:
    """Return the value of the best matrix of the smallest shape, out of `count` coordinates."""
    coordinates = drawn_coordinates(rng, count, len(schedule.multipliers))
    return answered(schedule, [measured(coordinates, schedule, None, run)], SHAPES[:1]).value


def extended(pool: Pool, more: Coordinates, schedule: Schedule, run: Run) -> Pool:
    """Return `pool` with `more` coordinates."""
    added = measured(more, schedule, pool.absent, run)
    return Pool(
        np.concatenate([pool.coordinates, added.coordinates], axis=1),
        np.concatenate([pool.credits, added.credits]),
        pool.absent,
    )


def drawn_numbers(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Coordinates:
    """Return numbers of eight significant bits and either sign, their exponents even in low .. high - 1."""
    mantissa = rng.integers(128, 256, shape) * rng.choice((-1, 1), shape)
    return np.ldexp(mantissa.astype(np.float64), rng.integers(low, high, shape) - 7)


def drawn_coordinates(rng: np.random.Generator, count: int, n_steps: int) -> Coordinates:
    """Return `count` coordinates; every fourth starts at zero.

    Every fifth gradient is zero, or three of four are: late gradients find bias corrections that are known better.
    theta_0 lies between 2**-24 and 8 in magnitude, the gradients of one coordinate within a factor of 64, around
    anything from 2**-31 to 2.
    """
    theta = drawn_numbers(rng, -24, 3, (1, count))
    grads = np.ldexp(drawn_numbers(rng, -3, 3, (n_steps, count)), rng.integers(-31, 2, count))
    theta[:, rng.integers(0, 4, count) == 0] = 0.0
    grads[rng.integers(0, 20, grads.shape) < rng.choice((4, 15), count)] = 0.0
    return np.concatenate([theta, grads])


def varied(rng: np.random.Generator, coordinates: Coordinates, count: int) -> Coordinates:
    """Return `count` coordinates that differ from one of `coordinates` in a third of their numbers."""
    parents = coordinates[:, rng.integers(0, coordinates.shape[1], count)]
    others = drawn_coordinates(rng, count, len(parents) - 1)
    scaled = np.ldexp(parents, rng.integers(-3, 4, parents.shape))
    choice = rng.integers(0, 12, parents.shape)
    return np.where(choice < 8, parents, np.where(choice < 10, scaled, np.where(choice < 11, 0.0, others)))


def measured(coordinates: Coordinates, schedule: Schedule, absent: int | None, run: Run) -> Pool:
    """Return `coordinates` with what each earns on every pair of every case."""
    jobs = [(coordinates, schedule.multipliers, absent, case) for case in CASES]
    return Pool(coordinates, np.concatenate(list(run(credits_of_case, jobs)), axis=1), absent)


def credits_of_case(job: tuple[Coordinates, tuple[float, ...], int | None, Case]) -> Credits:
    """Return what each coordinate earns on every pair of one case, without its gradient in the step that is absent."""
    coordinates, multipliers, absent, case = job
    theta, *grads = coordinates
    found = []
    for own, rivals in every_pair(case.values).items():
        walk = Walk(own, rivals, theta, case.dtype, arithmetic(case.dtype, PLATFORMS[PLATFORM]))
        for step, (grad, multiplier) in enumerate(zip(grads, multipliers, strict=True), start=1):
            if step != absent:
                walk.step(grad, multiplier)
        found.append(credited(walk.separation).T)
    return np.concatenate(found, axis=1)


def answered(schedule: Schedule, pools: Sequence[Pool], shapes: Sequence[tuple[int, int]] = SHAPES) -> Answer:
    """Return the best choice from the pools of the matrix and of the vector, if there is one, over all shapes."""
    answers = []
    for rows, columns in shapes:
        counts = (rows * columns, rows)
        chosen, credits = picked([(pool.credits, count) for pool, count in zip(pools, counts, strict=False)])
        parts = [pool.coordinates[:, taken] for pool, taken in zip(pools, chosen, strict=True)]
        vector = parts[1] if len(parts) > 1 else parts[0][:, :0]
        answers.append(Answer(schedule, (rows, columns), parts[0], vector, credits))
    return max(answers, key=lambda each: each.value)


def picked(sources: Sequence[tuple[Credits, int]]) -> tuple[list[list[int]], int]:
    """Return which coordinates of each source to take, and what all of them earn together.

    `sources` are credits, and how many coordinates to take. Greedy, one source after the other; then each choice
    is held against all others of its source until none is better.
    """
    slots = [source for source, (_, count) in enumerate(sources) for _ in range(count)]
    chosen: list[int] = []
    covered = np.zeros(sources[0][0].shape[1], np.int8)
    for source in slots:
        chosen.append(best_beside(covered, sources[source][0]))
        covered = np.maximum(covered, sources[source][0][chosen[-1]])
    total = 0
    while total < int(covered.sum()):
        total = int(covered.sum())
        for slot, source in enumerate(slots):
            others = [sources[i][0][k] for j, (i, k) in enumerate(zip(slots, chosen, strict=True)) if j != slot]
            rest = np.max([np.zeros_like(covered), *others], axis=0)
            better = best_beside(rest, sources[source][0])
            reached = np.maximum(rest, sources[source][0][better])
            if int(reached.sum()) > int(covered.sum()):
                chosen[slot], covered = better, reached
    taken = [[k for i, k in zip(slots, chosen, strict=True) if i == source] for source in range(len(sources))]
    return taken, total


def best_beside(covered: NDArray[np.int8], credits: Credits) -> int:
    """Return the coordinate that adds most to what is covered; the first of equals."""
    return int(np.argmax([int(np.maximum(covered, each).sum()) for each in credits]))


def record() -> MemoryTrace:
    """Search for some minutes, and return the trace found with what it is worth in its provenance."""
    effort = Effort()
    with ProcessPoolExecutor() as executor:
        trace = as_trace(search(effort, SEED, executor.map))
        found = dict(zip(CASES, executor.map(worth, [trace] * len(CASES), CASES), strict=True))
    return replace(trace, provenance=trace.provenance | as_provenance(trace, found))


def as_trace(answer: Answer) -> MemoryTrace:
    """Return the trace that an answer stands for."""
    schedule, rows = answer.schedule, answer.shape[0]
    parts = {"matrix": (answer.shape, answer.matrix), "vector": ((rows,), answer.vector)}
    arrays = {name: columns.astype(DTYPES[DTYPE]) for name, (_, columns) in parts.items()}
    shapes = {name: shape for name, (shape, _) in parts.items()}
    initial, *gradients = (
        {name: arrays[name][row].reshape(shape) for name, shape in shapes.items()}
        for row in range(1 + len(schedule.multipliers))
    )
    gradients[schedule.absent - 1]["vector"] = None
    return MemoryTrace(
        name=NAME,
        parameters=tuple(Parameter(name, shape, DTYPE) for name, shape in shapes.items()),
        multipliers=schedule.multipliers,
        initial=initial,
        gradients=tuple(gradients),
        provenance={
            "source": "search",
            "model": "none: every coordinate was chosen for what it tells apart",
            "seed": SEED,
            "generator": "numpy.random.PCG64",
            "search": asdict(Effort()),
            "script": "scripts/record_traces/search_separating.py",
            "versions": versions(),
            "date": RECORDED_ON,
        },
    )
