"""What is drawn at random: hyperparameters, schedules, parameters and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[np.random.Generator], float]


def _log_uniform(low: float, high: float) -> Draw:
    return lambda rng: float(10.0 ** rng.uniform(np.log10(low), np.log10(high)))


def _below_one(least: float, most: float) -> Draw:
    return lambda rng: 1.0 - _log_uniform(1.0 - most, 1.0 - least)(rng)


def _one_of(*draws: Draw) -> Draw:
    return lambda rng: draws[rng.integers(len(draws))](rng)


def _zero(rng: np.random.Generator) -> float:
    return 0.0


def _usual(*values: float) -> Draw:
    return lambda rng: float(rng.choice(values))


_MOMENTUM = _one_of(_below_one(0.0, 0.99), _below_one(0.0, 0.99), _usual(0.0, 0.9, 0.99))
DRAWS: Mapping[str, Draw] = {
    "lr": _log_uniform(1e-6, 1.0),
    "weight_decay": _one_of(_log_uniform(1e-6, 1.0), lambda rng: float(rng.uniform()), _usual(0.0, 1e-2)),
    "beta1": _MOMENTUM,
    "beta2": _one_of(_below_one(0.5, 0.9999), _below_one(0.5, 0.9999), _usual(0.5, 0.99, 0.999, 0.9999)),
    "eps": _log_uniform(1e-12, 1e-3),
    "momentum": _MOMENTUM,
    "dampening": _one_of(_zero, lambda rng: float(rng.uniform())),
}
"""Hyperparameter -> how it is drawn: log-uniform over its whole range, with the usual values and exact zeros."""


def hyperparameters(names: Sequence[str], rng: np.random.Generator, *, nesterov: bool = False) -> dict[str, float]:
    """Draw those of `names`."""
    drawn = {name: DRAWS[name](rng) for name in names}
    if nesterov:  # with neither momentum 0 nor dampening, both of which torch refuses
        drawn["momentum"] = drawn["momentum"] or 0.9
    if nesterov or not drawn.get("momentum"):  # torch dampens only what enters a buffer
        drawn.pop("dampening", None)
    return drawn


def schedule(steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the multipliers eta_t: constant, cosine down to 0 with restarts, or another one every step."""
    kind = rng.integers(3)
    if kind == 0:
        return np.ones(steps)
    if kind == 1:
        period = int(rng.integers(2, steps + 1))
        return 0.5 + 0.5 * np.cos(np.pi * (np.arange(steps) % period) / (period - 1))
    return np.asarray(10.0 ** rng.uniform(-3.0, 0.0, steps))


_SIGNS = np.array((1.0, -1.0) * 9 + (0.0,) * 2)


def magnitudes(size: int, low: float, high: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw log-uniform magnitudes between 10**low and 10**high, with random signs; a tenth are zero."""
    values = np.exp(np.log(10.0) * (low + (high - low) * rng.random(size, np.float32).astype(np.float64)))
    values *= _SIGNS[rng.integers(len(_SIGNS), size=size, dtype=np.uint8)]
    return values


def initial_parameters(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw theta_0: standard normal, the last quarter log-uniform over 1e-8 to 1e4 with zeros."""
    theta = rng.standard_normal(size)
    wide = size // 4
    theta[size - wide :] = magnitudes(wide, -8.0, 4.0, rng)
    return theta


def gradients(size: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Yield gradients without end: |g| log-uniform over 1e-12 to 1e4, a tenth zeros.

    Half of the elements draw another magnitude every step. The next quarter keeps its own and adds noise of that
    size, as in training; the last repeats one value with a sign that may turn, so that moments cancel or settle.
    """
    half, quarter = size // 2, size // 4
    own = magnitudes(quarter, -12.0, 4.0, rng)
    repeated = magnitudes(size - half - quarter, -12.0, 4.0, rng)
    turning = rng.random(len(repeated)) < 0.5
    while True:
        noisy = np.clip(own * (1.0 + rng.standard_normal(quarter)), -1e4, 1e4)
        repeated = np.where(turning & (rng.random(len(repeated), np.float32) < 0.5), -repeated, repeated)
        yield np.concatenate((magnitudes(half, -12.0, 4.0, rng), noisy, repeated))
