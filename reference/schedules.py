"""Schedules of the multiplier eta_t, and normalised weight decay.

A schedule is a function of the step t, counted from 1, to eta_t; the learning rate of the step is
eta_t * alpha. Sources: Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019,
section 2 and appendix B; the warm restarts are those of *SGDR*, ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

Schedule = Callable[[int], float]


def constant() -> Schedule:
    """eta_t = 1."""
    return lambda step: 1.0


def step_decay(period: int, factor: float) -> Schedule:
    """eta_t = factor ** floor((t - 1) / period): the rate is multiplied by `factor` every `period` steps."""
    _require_positive("period", period)
    _require_positive("factor", factor)
    return lambda step: float(factor ** ((step - 1) // period))


def linear_warmup(warmup: int, after: Schedule | None = None) -> Schedule:
    """eta_t = t / warmup for t <= warmup, then `after(t - warmup)`, by default 1."""
    _require_positive("warmup", warmup)
    then = constant() if after is None else after
    return lambda step: step / warmup if step <= warmup else then(step - warmup)


def cosine(total: int) -> Schedule:
    """eta_t = 0.5 + 0.5 * cos(pi * (t - 1) / total), from 1 at the first step towards 0; 0 beyond `total`."""
    _require_positive("total", total)
    return lambda step: 0.5 + 0.5 * math.cos(math.pi * min(step - 1, total) / total)


def cosine_with_restarts(first_period: int, growth: int = 1) -> Schedule:
    """The schedule of AdamWR and SGDWR: cosine annealing, restarted after T_0, T_0 * T_mult, ... steps.

    eta_t = 0.5 + 0.5 * cos(pi * T_cur / T_i), T_cur the steps since the last restart, T_i the length of
    the present run, T_{i+1} = `growth` * T_i (equation 14 of the paper). `growth` is at least 1.
    """
    _require_periods(first_period, growth)

    def multiplier(step: int) -> float:
        since, period = _since_restart(step - 1, first_period, growth)
        return 0.5 + 0.5 * math.cos(math.pi * since / period)

    return multiplier


def normalized_weight_decay(norm: float, batch_size: int, training_points: int, epochs: float) -> float:
    """Return lambda = lambda_norm * sqrt(b / (B * T)) (appendix B.1).

    b batch size, B number of training points, T epochs; with warm restarts, T is the length in epochs
    of the present run between restarts (`restart_periods`).
    """
    _require_positive("batch_size", batch_size)
    _require_positive("training_points", training_points)
    _require_positive("epochs", epochs)
    return norm * math.sqrt(batch_size / (training_points * epochs))


def restart_periods(first_period: int, growth: int = 1) -> Iterator[int]:
    """Yield T_0, T_1, ...: the lengths of the runs between warm restarts. `growth` is at least 1."""
    _require_periods(first_period, growth)
    period = first_period
    while True:
        yield period
        period *= growth


def _since_restart(steps_taken: int, first_period: int, growth: int) -> tuple[int, int]:
    """Return (T_cur, T_i) after `steps_taken` steps."""
    for period in restart_periods(first_period, growth):
        if steps_taken < period:
            return steps_taken, period
        steps_taken -= period
    raise AssertionError("unreachable: the periods never end")


def _require_periods(first_period: int, growth: int) -> None:
    """Raise ValueError unless the runs are positive and do not shrink: shrinking ones would end before some step."""
    _require_positive("first_period", first_period)
    _require_positive("growth", growth)
    if growth < 1:
        raise ValueError(f"growth = {growth!r}, but it must be at least 1: periods that shrink never reach every step")


def _require_positive(name: str, value: float) -> None:
    """Raise ValueError unless `value` is a positive finite number."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} = {value!r}, but it must be positive and finite")
