"""One run: every truth of one family in one precision, held against every rule of the reference, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from power_kinds import COLUMNS, KINDS, Emulated, Kind

from optconform.reference import RULES, Momentum, Rule, schedules
from optconform.reference.arithmetic import Arithmetic, arithmetic
from optconform.reference.follow import Mode
from optconform.reference.rules import Options, Tracked, track, tracked_step

Array = NDArray[Any]
Float64Array = NDArray[np.float64]

HORIZON = 10_000
"""Steps over which the learning rate falls to 0, however few of them are taken."""
CHECKPOINTS = (10, 100, 1_000, HORIZON)
"""Steps after which the matrix is recorded."""
SCHEDULE = schedules.linear_warmup(8, schedules.cosine(HORIZON))

SETTINGS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "probe": {"lr": 0.05, "weight_decay": 0.5, "beta2": 0.99},
        "ordinary": {"lr": 1e-3, "weight_decay": 1e-2, "beta2": 0.999},
    }
)
DTYPES: Mapping[str, type] = MappingProxyType(
    {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
)
SIXTEEN_BIT = frozenset({"bfloat16", "float16"})
EPS: Mapping[str, float] = MappingProxyType({"float16": 1e-6})
"""dtype -> eps where the usual 1e-8 rounds to 0."""
USUAL_EPS = 1e-8
ADAM_ONLY = frozenset({"beta2", "eps"})
FAMILIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "adam": {},
        "sgd with momentum": {"momentum": 0.9, "momentum_form": Momentum.LR_OUTSIDE},
        "plain sgd": {"momentum": 0.0, "momentum_form": Momentum.LR_OUTSIDE},
    }
)
"""Family -> the options that all its truths and rules have in common, on top of the setting's."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run is of."""

    family: str
    dtype: str
    setting: str
    elements: int
    steps: int
    seed: int

    @property
    def base(self) -> str:
        """`adam` or `sgd`."""
        return "sgd" if "momentum" in FAMILIES[self.family] else "adam"

    @property
    def mode(self) -> Mode:
        """What the reference takes over before every step."""
        return Mode.FULL_RESYNC if self.base == "adam" and self.dtype in SIXTEEN_BIT else Mode.THETA_RESYNC

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The truths of the family, in the order of the rows."""
        return tuple(kind for kind in KINDS if self.base in kind.families)

    @property
    def rules(self) -> dict[str, tuple[Rule, Options]]:
        """The rules of the reference with their options, in the order of the columns."""
        departures = {kind.name for kind in KINDS if self.base not in kind.families}
        rules = {}
        for name, departure in COLUMNS.items():
            if name in departures:
                continue
            rule = RULES[f"{self.base}_l2" if departure is None else f"{self.base}w"]
            rules[name] = rule, rule.options(**{**self.hyperparameters, **(departure or {})})
        return rules

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Return what all truths and rules have in common."""
        values = {**SETTINGS[self.setting], "eps": EPS.get(self.dtype, USUAL_EPS), **FAMILIES[self.family]}
        return {name: value for name, value in values.items() if self.base == "adam" or name not in ADAM_ONLY}


def parameters(run: Run) -> Array:
    """Standard normal theta_0, in the precision of the run."""
    return np.random.default_rng([run.seed, 0]).standard_normal(run.elements).astype(DTYPES[run.dtype])


def gradients(run: Run) -> Iterator[Array]:
    """Yield gradients as training gives them: every coordinate on a scale of its own, signs that lean, 5% zeros.

    Scales are log-normal about .01; those of every fourth coordinate lie about eps.
    """
    rng = np.random.default_rng([run.seed, 1])
    scale = np.minimum(10.0 ** rng.normal(-2.0, 1.0, run.elements), 1.0)
    scale[::4] = EPS.get(run.dtype, USUAL_EPS) * 10.0 ** rng.uniform(-1.0, 2.0, len(scale[::4]))
    leaning = rng.uniform(0.45, 0.55, run.elements)
    while True:
        signs = np.where(rng.random(run.elements) < leaning, 1.0, -1.0)
        signs[rng.random(run.elements) < 0.05] = 0.0
        yield (signs * scale * np.exp(0.5 * rng.standard_normal(run.elements))).astype(DTYPES[run.dtype])


class Matrix:
    """Largest figures so far: a row per truth, a column per rule."""

    def __init__(self, own: Sequence[int | None], columns: int) -> None:
        rows = len(own)
        known = [(row, column) for row, column in enumerate(own) if column is not None]
        self._row, self._column = (np.array(indices, dtype=np.intp) for indices in zip(*known, strict=True))
        self.factor = np.zeros((rows, columns))
        """|implementation - reference| in bounds, where it tells the rule from the row's own; on the diagonal
        everywhere."""
        self.apart = np.full((rows, columns), np.nan)
        """How far the rule's reference lies from that of the row's own, in bounds of the latter; NaN without one."""
        self.apart[self._row] = 0.0

    def record(self, found: Float64Array, expected: Float64Array, bound: Float64Array) -> None:
        """Enter one step: `found` is (rows, elements), `expected` and `bound` are (columns, rows, elements).

        What is not finite, as after an overflow, says nothing.
        """
        distance = np.abs(found - expected)
        finite = np.isfinite(distance) & np.isfinite(bound)
        row, column = self._row, self._column
        own_bound = bound[column, row]
        between = np.abs(expected[:, row] - expected[column, row])
        counts = finite.copy()
        counts[:, row] &= between > own_bound
        counts[column, row] = finite[column, row]
        ratio = np.divide(distance, bound, out=np.zeros_like(distance), where=counts & (distance != 0.0))
        self.factor = np.maximum(self.factor, ratio.max(axis=2).T)
        known = np.isfinite(between) & np.isfinite(own_bound) & (between != 0.0)
        between = np.divide(between, own_bound, out=np.zeros_like(between), where=known)
        self.apart[row] = np.maximum(self.apart[row], between.max(axis=2).T)

    def record_moment(self, found: Float64Array, expected: Float64Array, bound: Float64Array) -> None:
        """Enter a moment that is about to be taken over; shapes as for `record`."""
        distance = np.abs(found - expected)
        counts = np.isfinite(distance) & np.isfinite(bound) & (distance != 0.0)
        ratio = np.divide(distance, bound, out=np.zeros_like(distance), where=counts)
        self.factor = np.maximum(self.factor, ratio.max(axis=2).T)


def follow(run: Run) -> Iterator[tuple[int, Matrix]]:
    """Yield (steps, matrix) at every checkpoint up to `run.steps`, and there; the same matrix, further on.

    Coordinates are independent, so all truths stand side by side in one vector for the reference.
    """
    kinds, rules = run.kinds, run.rules
    names = list(rules)
    in_units = arithmetic(run.dtype)
    theta = parameters(run)
    truths = [Emulated(kind, replace(rules["lr*wd"][1], **kind.axes), theta) for kind in kinds]
    size = run.elements * len(truths)
    tracked = [track(np.zeros(size), options) for _, options in rules.values()]
    matrix = Matrix([None if kind.rule is None else names.index(kind.rule) for kind in kinds], len(names))
    shape = (len(truths), run.elements)
    for step, grad in zip(range(1, run.steps + 1), gradients(run), strict=False):
        eta = SCHEDULE(step)
        before = side_by_side(truth.theta for truth in truths)
        for truth in truths:
            truth.step(grad, eta)
        after = side_by_side(truth.theta for truth in truths)
        reached = [
            tracked_step(rule, before, np.tile(grad.astype(np.float64), len(truths)), held, options, eta, in_units)
            for held, (rule, options) in zip(tracked, rules.values(), strict=True)
        ]
        tracked = [held for _, _, held in reached]
        expected = np.stack([values.reshape(shape) for values, _, _ in reached])
        bound = in_units.allowance * np.stack([values.reshape(shape) for _, values, _ in reached])
        matrix.record(after.reshape(shape), expected, bound)
        if run.mode is Mode.FULL_RESYNC:
            tracked = resynced(tracked, truths, matrix, in_units)
        if step in CHECKPOINTS or step == run.steps:
            yield step, matrix


def side_by_side(arrays: Iterator[Array]) -> Float64Array:
    """Return all arrays as one vector of float64."""
    return np.concatenate([array.astype(np.float64) for array in arrays])


def resynced(tracked: list[Tracked], truths: list[Emulated], matrix: Matrix, in_units: Arithmetic) -> list[Tracked]:
    """Compare both moments of every rule with the truths', then take those over."""
    shape = (len(truths), len(truths[0].theta))
    for name in ("m", "v"):
        found = side_by_side(truth.state[name] for truth in truths)
        expected = np.stack([getattr(held.state, name).reshape(shape) for held in tracked])
        error = np.stack([getattr(held.error, name).reshape(shape) for held in tracked])
        matrix.record_moment(found.reshape(shape), expected, in_units.allowance * error)
        zeros = np.zeros_like(found)
        tracked = [
            Tracked(replace(held.state, **{name: found}), replace(held.error, **{name: zeros})) for held in tracked
        ]
    return tracked
