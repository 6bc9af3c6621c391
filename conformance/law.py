"""The law of a decoupled decay: how its coefficient depends on learning rate, weight decay and schedule.

Short paired runs over a grid of lr x wd give c at each point. The form is found first (`forms`), then the
exponents of x = k * lr**a * wd**b from ratios over steps of two, and the exponent of the schedule from a
run in which eta_t jumps. All grid values differ by powers of two, so that a framework's rounding of lr or
wd to float32 leaves the ratios exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .casts import as_used
from .forms import FORMS, Form
from .identify import Evidence, Fit
from .pairing import paired_steps
from .result import Decay
from .subject import PROBE_LR, PROBE_WEIGHT_DECAY, Arrays, Subject
from .traces.trace import Step

Interval = tuple[float, float]

_SCALES = (0.5, 1.0, 2.0)
_SCHEDULE = (1.0, 0.5, 0.25, 1.0, 0.125, 1.0)
"""Multipliers of the run that asks whether decay follows the schedule; neighbours differ, so a lag shows."""

_LAWS: Mapping[tuple[int, int, int], str] = {
    # (exponent of lr, of wd, of the schedule): law
    (1, 1, 1): "lr*wd",
    (0, 1, 1): "schedule*wd",
    (0, 1, 0): "wd",
}
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Law:
    """The decay as found, and what only the findings need to know of it."""

    decay: Decay
    form: Form | None = None
    stale: bool = False
    """The coefficient follows the learning rate of the step before."""


def find_law(
    subject: Subject, theta: Arrays, steps: Sequence[Step], parameter: str, applied_to: str, *, local: bool
) -> Law:
    """Return the law that the decay of `parameter` obeys; its law is None where it has no coefficient at some point.

    `steps` are a few steps of a trace in which the parameter has a gradient, reused as often as needed with
    multipliers of this function's own.
    """

    def fits(lr: float, weight_decay: float, multipliers: Sequence[float]) -> list[Fit]:
        values = {**subject.probe(), "lr": lr, "weight_decay": weight_decay}
        evidence = Evidence()
        for paired in paired_steps(subject, theta, _rescheduled(steps, multipliers), values, local=local):
            evidence.add(paired, parameter)
        target = "updated" if applied_to == "updated" else "previous"
        return [step.fits[target] for step in evidence.steps if step.finite]

    constant = (1.0, 1.0)
    by_lr = [fits(PROBE_LR * scale, PROBE_WEIGHT_DECAY, constant) for scale in _SCALES]
    by_wd = [fits(PROBE_LR, PROBE_WEIGHT_DECAY * scale, constant) for scale in _SCALES]
    scheduled = fits(PROBE_LR, PROBE_WEIGHT_DECAY, _SCHEDULE)
    grid = [*by_lr, *by_wd, scheduled]
    # A coefficient that is not measured, or not one number for the whole tensor, has no law.
    if not all(points and all(fit.measurable and fit.ratio <= 1.0 for fit in points) for points in grid):
        return Law(Decay(applied_to=applied_to))

    for form in FORMS:
        lr_exponent = _exponent(form, [points[-1] for points in by_lr])
        wd_exponent = _exponent(form, [points[-1] for points in by_wd])
        if lr_exponent is None or wd_exponent is None:
            continue
        schedule_exponent = _schedule_exponent(form, scheduled)
        low, high = form.interval(scheduled[0].coefficient, scheduled[0].uncertainty)
        factor = _factor((low, high), lr_exponent, wd_exponent, subject, theta)
        law = _LAWS.get((lr_exponent, wd_exponent, -1 if schedule_exponent is None else schedule_exponent), OTHER)
        decay = Decay(
            law=law if factor == 1.0 else OTHER,
            factor=factor,
            lr_exponent=float(lr_exponent),
            wd_exponent=float(wd_exponent),
            follows_schedule=None if schedule_exponent is None else schedule_exponent > 0,
            applied_to=applied_to,
            form=form.name,
        )
        return Law(decay, form, _is_stale(form, scheduled))
    return Law(_without_form(by_lr, by_wd, applied_to))


def _rescheduled(steps: Sequence[Step], multipliers: Sequence[float]) -> Iterator[Step]:
    """Yield the steps over and over, with the multipliers given."""
    for index, (multiplier, step) in enumerate(zip(multipliers, itertools.cycle(steps), strict=False), start=1):
        yield replace(step, index=index, multiplier=multiplier)


def _exponent(form: Form, points: Sequence[Fit]) -> int | None:
    """Return the integer n with x proportional to scale**n over `_SCALES`, or None if no integer fits."""
    intervals = [form.interval(fit.coefficient, fit.uncertainty) for fit in points]
    ratios = [_ratio(after, before) for before, after in itertools.pairwise(intervals)]
    if not all(low > 0.0 for low, _ in ratios):
        return None
    bounds = [(math.log2(low), math.log2(high)) for low, high in ratios]
    nearest = round(sum(sum(bound) for bound in bounds) / (2 * len(bounds)))
    return nearest if all(low <= nearest <= high for low, high in bounds) else None


def _schedule_exponent(form: Form, scheduled: Sequence[Fit]) -> int | None:
    """Return 0 where c ignores the schedule, 1 where it follows, 2 where it follows its square, else None."""
    return next((exponent for exponent in (0, 1, 2) if _follows(form, scheduled, _SCHEDULE, exponent)), None)


def _is_stale(form: Form, scheduled: Sequence[Fit]) -> bool:
    """Return whether c_t follows eta_{t-1} instead of eta_t."""
    return _follows(form, scheduled[1:], _SCHEDULE[:-1], 1)


def _follows(form: Form, fits: Sequence[Fit], multipliers: Sequence[float], exponent: int) -> bool:
    intervals = [form.interval(fit.coefficient, fit.uncertainty) for fit in fits]
    ratios = [_ratio(interval, intervals[0]) for interval in intervals[1:]]
    wanted = [(multiplier / multipliers[0]) ** exponent for multiplier in multipliers[1:]]
    return all(low <= value <= high for (low, high), value in zip(ratios, wanted, strict=True))


def _ratio(numerator: Interval, denominator: Interval) -> Interval:
    """Return the interval of quotients; empty of positive values where a sign is uncertain or differs."""
    quotients = [a / b for a in numerator for b in denominator if b != 0.0]
    if len(quotients) < 4 or denominator[0] * denominator[1] < 0.0:
        return (-math.inf, math.inf)
    return (min(quotients), max(quotients))


def _factor(x: Interval, lr_exponent: int, wd_exponent: int, subject: Subject, theta: Arrays) -> float:
    """Return k of x = k * lr**a * wd**b; 1 where it is 1 with the hyperparameters as given or as used (`casts`)."""
    probe = subject.probe()
    exact = {"lr": PROBE_LR, "weight_decay": PROBE_WEIGHT_DECAY}
    used = as_used(exact, subject.build(theta, probe).casts)
    for values in (exact, used):
        scale = values["lr"] ** lr_exponent * values["weight_decay"] ** wd_exponent
        low, high = sorted(bound / scale for bound in x)
        if low <= 1.0 <= high:
            return 1.0
    return (x[0] + x[1]) / (2.0 * exact["lr"] ** lr_exponent * exact["weight_decay"] ** wd_exponent)


def _without_form(by_lr: Sequence[Sequence[Fit]], by_wd: Sequence[Sequence[Fit]], applied_to: str) -> Decay:
    """Return the decay where no form makes the exponents integers: the slopes as they are."""

    def slope(points: Sequence[Sequence[Fit]]) -> float | None:
        first, last = points[0][-1].coefficient, points[-1][-1].coefficient
        return math.log2(last / first) / 2.0 if first * last > 0.0 else None

    return Decay(law=OTHER, lr_exponent=slope(by_lr), wd_exponent=slope(by_wd), applied_to=applied_to, form=OTHER)
