"""The law of a decoupled decay: how its coefficient depends on learning rate, weight decay and schedule.

Short paired runs over a grid of lr x wd give c at each point. The form is found first (`forms`), then the
exponents of x = k * lr**a * wd**b from ratios over steps of two, and the exponent of the schedule from a
run in which eta_t jumps, step by step against one in which it does not: so a coefficient with a course of its own
over the steps has exponents too. All grid values differ by powers of two, so that a framework's rounding of lr or
wd to float32 leaves the ratios exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .casts import as_used
from .courses import farthest
from .evidence import Evidence
from .fits import Fit
from .forms import FORMS, Form
from .identify import KindOfDecay
from .pairing import paired_steps
from .result import Decay
from .series import LawPoint, shown
from .subject import PROBE_LR, PROBE_WEIGHT_DECAY, Arrays, Subject
from .traces.trace import Step

Interval = tuple[float, float]

_SCALES = (0.5, 1.0, 2.0)
_SCHEDULE = (1.0, 0.5, 0.25, 1.0, 0.125, 1.0)
"""Multipliers of the run that asks whether decay follows the schedule; neighbours differ, so a lag shows."""
_SHORT = 2
"""Steps of a run at another learning rate or weight decay; the last of them is compared."""

_LAWS: Mapping[tuple[float, float, int], str] = {
    # (exponent of lr, of wd, of the schedule): law
    (1.0, 1.0, 1): "lr*wd",
    (0.0, 1.0, 1): "schedule*wd",
    (0.0, 1.0, 0): "wd",
}
OTHER = "other"
CAUTIOUS = "cautious"


@dataclass(frozen=True, slots=True)
class Law:
    """The decay as found, and what only the findings need to know of it."""

    decay: Decay
    form: Form | None = None
    stale: bool = False
    """The coefficient follows the learning rate of the step before."""
    fitting: tuple[Form, ...] = ()
    """Every form that makes the exponents integers; more than one where rounding hides the difference."""
    missing: str = ""
    """Why there is no law, where there is none."""
    late: int = 0
    """Steps before decay acts."""
    points: tuple[LawPoint, ...] = ()
    """The coefficients that it was found from, for pictures."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Coefficients over the grid: along lr, along wd, over the steps at a constant rate, and over the schedule."""

    by_lr: Sequence[Fit]
    by_wd: Sequence[Fit]
    constant: Sequence[Fit]
    scheduled: Sequence[Fit]

    def points(self) -> tuple[LawPoint, ...]:
        """Return every coefficient, each once."""
        along_lr = [(scale, 1.0, 1.0, fit) for scale, fit in zip(_SCALES, self.by_lr, strict=True) if scale != 1.0]
        along_wd = [(1.0, scale, 1.0, fit) for scale, fit in zip(_SCALES, self.by_wd, strict=True) if scale != 1.0]
        constant = [(1.0, 1.0, 1.0, fit) for fit in self.constant]
        scheduled = [(1.0, 1.0, eta, fit) for eta, fit in zip(_SCHEDULE, self.scheduled, strict=True)]
        return tuple(
            LawPoint(PROBE_LR * lr, PROBE_WEIGHT_DECAY * wd, eta, shown(fit.coefficient), shown(fit.uncertainty))
            for lr, wd, eta, fit in (*along_lr, *along_wd, *constant, *scheduled)
        )


def find_law(
    subject: Subject, theta: Arrays, steps: Sequence[Step], parameter: str, kind: KindOfDecay, *, late: int = 0
) -> Law:
    """Return the law that the decay of `parameter` obeys; its law is None where it has no coefficient at some point.

    `kind` is what the paired runs found of the parameter, `late` the number of steps before decay acts. `steps` are
    a few steps of a trace in which the parameter has a gradient, reused as often as needed with multipliers of this
    function's own.
    """
    target = kind.target or "previous"

    def fits(lr: float, weight_decay: float, multipliers: Sequence[float]) -> list[Fit]:
        values = {**subject.probe(), "lr": lr, "weight_decay": weight_decay}
        evidence = Evidence()
        path = _rescheduled(steps, (*(1.0,) * late, *multipliers))
        for paired in paired_steps(subject, theta, path, values, local=kind.local):
            evidence.add(paired, parameter)
        found = [step.fits.get(target) for step in evidence.steps[late:]]
        missing = "NaN or infinity" if not all(step.finite for step in evidence.steps) else _unfit(found)
        if missing or not found:
            raise _NoLaw(f"at lr={lr:.6g}, weight_decay={weight_decay:.6g} {missing or 'there is no step to judge'}")
        return [fit for fit in found if fit is not None]

    def points(along_lr: bool) -> list[Fit]:
        scales = {scale: (scale, 1.0) if along_lr else (1.0, scale) for scale in _SCALES if scale != 1.0}
        ends = {
            scale: fits(PROBE_LR * lr, PROBE_WEIGHT_DECAY * wd, (1.0,) * _SHORT)[-1]
            for scale, (lr, wd) in scales.items()
        }
        return [ends.get(scale, constant[_SHORT - 1]) for scale in _SCALES]

    try:
        constant = fits(PROBE_LR, PROBE_WEIGHT_DECAY, (1.0,) * len(_SCHEDULE))
        by_lr, by_wd = points(along_lr=True), points(along_lr=False)
        grid = _Grid(by_lr, by_wd, constant, fits(PROBE_LR, PROBE_WEIGHT_DECAY, _SCHEDULE))
    except _NoLaw as reason:
        return Law(Decay(applied_to=kind.applied_to), missing=str(reason))
    for denominators, wanted in ((1, FORMS), (2, FORMS[:1])):
        found = {form: pair for form in wanted if (pair := _exponents(form, grid, denominators)) is not None}
        if found:
            form, exponents = next(iter(found.items()))
            law = _law(subject, theta, kind, grid, form, exponents)
            return replace(law, fitting=tuple(found), late=late, points=grid.points())
    return Law(_without_form(grid, kind), points=grid.points())


class _NoLaw(Exception):
    """A point of the grid has no coefficient; the message says which, and why."""


def _unfit(found: Sequence[Fit | None]) -> str:
    """Return why a run has no coefficient in some step; nothing where it has one in each."""
    if any(fit is None or fit.ratio > 1.0 for fit in found):
        return "decay is no multiple of theta"
    if not all(fit.measurable for fit in found if fit is not None):
        return "decay does not show"
    return ""


@dataclass(frozen=True, slots=True)
class _Exponent:
    value: float
    uncertainty: float


def _law(
    subject: Subject,
    theta: Arrays,
    kind: KindOfDecay,
    grid: _Grid,
    form: Form,
    exponents: tuple[_Exponent, _Exponent],
) -> Law:
    lr, wd = exponents
    schedule = _schedule_exponent(form, grid)
    steady = farthest(grid.constant[1:], grid.constant[:-1]) <= 1.0
    factor, uncertainty = None, None
    if steady:
        first = grid.scheduled[0]
        interval = form.interval(first.coefficient, first.uncertainty)
        factor, uncertainty = _factor(interval, lr.value, wd.value, subject, theta)
    law = _LAWS.get((lr.value, wd.value, -1 if schedule is None else schedule), OTHER)
    decay = Decay(
        law=law if factor == 1.0 else OTHER,
        factor=factor,
        factor_uncertainty=uncertainty,
        lr_exponent=lr.value,
        lr_exponent_uncertainty=lr.uncertainty,
        wd_exponent=wd.value,
        wd_exponent_uncertainty=wd.uncertainty,
        follows_schedule=None if schedule is None else schedule > 0,
        applied_to=kind.applied_to,
        form=CAUTIOUS if kind.cautious else form.name,
    )
    return Law(decay, form, schedule is None and _is_stale(form, grid))


def _rescheduled(steps: Sequence[Step], multipliers: Sequence[float]) -> Iterator[Step]:
    """Yield the steps over and over, with the multipliers given."""
    for index, (multiplier, step) in enumerate(zip(multipliers, itertools.cycle(steps), strict=False), start=1):
        yield replace(step, index=index, multiplier=multiplier)


def _exponents(form: Form, grid: _Grid, denominator: int) -> tuple[_Exponent, _Exponent] | None:
    """Return the exponents of lr and wd that make x a power law, multiples of 1/denominator; None if none do."""
    lr, wd = (_exponent(form, points, denominator) for points in (grid.by_lr, grid.by_wd))
    return None if lr is None or wd is None else (lr, wd)


def _exponent(form: Form, points: Sequence[Fit], denominator: int) -> _Exponent | None:
    """Return the n with x proportional to scale**n over `_SCALES`, or None if no multiple of 1/denominator fits."""
    intervals = [form.interval(fit.coefficient, fit.uncertainty) for fit in points]
    ratios = [_ratio(after, before) for before, after in itertools.pairwise(intervals)]
    if not all(low > 0.0 for low, _ in ratios):
        return None
    bounds = [(math.log2(low), math.log2(high)) for low, high in ratios]
    low, high = max(bound[0] for bound in bounds), min(bound[1] for bound in bounds)
    nearest = round(denominator * (low + high) / 2.0) / denominator
    return _Exponent(nearest, max(nearest - low, high - nearest)) if low <= nearest <= high else None


def _schedule_exponent(form: Form, grid: _Grid) -> int | None:
    """Return 0 where c ignores the schedule, 1 where it follows, 2 where it follows its square, else None."""
    etas = {exponent: [eta**exponent for eta in _SCHEDULE] for exponent in (0, 1, 2)}
    return next((exponent for exponent, wanted in etas.items() if _follows(form, grid, wanted, 0)), None)


def _is_stale(form: Form, grid: _Grid) -> bool:
    """Return whether c_t follows eta_{t-1} instead of eta_t."""
    return _follows(form, grid, _SCHEDULE[:-1], 1)


def _follows(form: Form, grid: _Grid, wanted: Sequence[float], first: int) -> bool:
    """Whether x over the schedule is `wanted` times x at a constant rate, from step `first` on."""
    scheduled, constant = (
        [form.interval(fit.coefficient, fit.uncertainty) for fit in fits[first:]]
        for fits in (grid.scheduled, grid.constant)
    )
    ratios = [_ratio(one, other) for one, other in zip(scheduled, constant, strict=True)]
    return all(low <= value <= high for (low, high), value in zip(ratios, wanted, strict=True))


def _ratio(numerator: Interval, denominator: Interval) -> Interval:
    """Return the interval of quotients; empty of positive values where a sign is uncertain or differs."""
    quotients = [a / b for a in numerator for b in denominator if b != 0.0]
    if len(quotients) < 4 or denominator[0] * denominator[1] < 0.0:
        return (-math.inf, math.inf)
    return (min(quotients), max(quotients))


def _factor(
    x: Interval, lr_exponent: float, wd_exponent: float, subject: Subject, theta: Arrays
) -> tuple[float, float]:
    """Return k of x = k * lr**a * wd**b and how far rounding can move it.

    1 where it is 1 with the hyperparameters as given or as used (`casts`).
    """
    exact = {"lr": PROBE_LR, "weight_decay": PROBE_WEIGHT_DECAY}
    used = as_used(exact, subject.build(theta, subject.probe()).casts)
    for values in (exact, used):
        scale = values["lr"] ** lr_exponent * values["weight_decay"] ** wd_exponent
        low, high = sorted(bound / scale for bound in x)
        if low <= 1.0 <= high:
            return 1.0, max(1.0 - low, high - 1.0)
    scale = exact["lr"] ** lr_exponent * exact["weight_decay"] ** wd_exponent
    return (x[0] + x[1]) / (2.0 * scale), abs(x[1] - x[0]) / (2.0 * scale)


def _without_form(grid: _Grid, kind: KindOfDecay) -> Decay:
    """Return the decay where no form makes the exponents integers: the slopes as they are."""
    (lr, lr_error), (wd, wd_error) = (_slope(points) for points in (grid.by_lr, grid.by_wd))
    return Decay(
        law=OTHER,
        lr_exponent=lr,
        lr_exponent_uncertainty=lr_error,
        wd_exponent=wd,
        wd_exponent_uncertainty=wd_error,
        applied_to=kind.applied_to,
        form=CAUTIOUS if kind.cautious else OTHER,
    )


def _slope(points: Sequence[Fit]) -> tuple[float | None, float | None]:
    """Return the mean slope of log c over the grid and its uncertainty; None where the sign of c is not known."""
    first, last = ((fit.coefficient - fit.uncertainty, fit.coefficient + fit.uncertainty) for fit in points[::2])
    low, high = _ratio(last, first)
    if low <= 0.0:
        return None, None
    slopes = (math.log2(low) / 2.0, math.log2(high) / 2.0)
    return sum(slopes) / 2.0, (slopes[1] - slopes[0]) / 2.0
