"""How far one step of two runs is from showing the same decay, element by element or as a whole.

Each figure is the largest distance from the hypothesis in units of what rounding explains: at most 1 fits.
"""

from __future__ import annotations

import numpy as np

from .targets import Moved


def element_wise(one: Moved, other: Moved) -> float:
    """Return how far both are from r = -d * theta with one d >= 0 for each element.

    Compared crosswise, r1*theta2 = r2*theta1, so that a theta near zero counts for no more than it tells.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        apart = np.abs(one.displacement * other.theta - other.displacement * one.theta)
        allowed = one.rounding * np.abs(other.theta) + other.rounding * np.abs(one.theta)
        alike = np.where(apart == 0.0, 0.0, apart / allowed)
        growing = np.where(one.theta == 0.0, np.abs(one.displacement), one.displacement * np.sign(one.theta))
        ratio = float(max(np.max(alike), np.max(growing / one.rounding)))
    return np.inf if np.isnan(ratio) else ratio


def symmetric_map(one: Moved, other: Moved) -> float:
    """Return how far both are from r = -P theta with one symmetric P that shrinks theta: <t2, P t1> = <t1, P t2>."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        apart = np.abs(np.sum(other.theta * one.displacement) - np.sum(one.theta * other.displacement))
        allowed = np.sum(np.abs(other.theta) * one.rounding) + np.sum(np.abs(one.theta) * other.rounding)
        growth = [np.sum(moved.theta * moved.displacement) for moved in (one, other)]
        explained = [np.sum(np.abs(moved.theta) * moved.rounding) for moved in (one, other)]
        distances = np.array([apart, *growth])
        ratios = np.where(distances == 0.0, 0.0, distances / np.array([allowed, *explained]))
    return np.inf if np.isnan(ratios).any() else float(np.max(ratios))


def is_float32(moved: Moved) -> bool:
    """Whether the step without decay, or theta after it, holds float32 numbers, as far as their subtraction shows it.

    A float64 number is 2**-26 of itself away from one on average; what the subtraction of theta leaves is 2**-52.
    A step that moves nothing shows nothing.
    """
    after = moved.theta + moved.free
    with np.errstate(over="ignore", invalid="ignore"):
        noise = 2.0**-52 * (np.abs(moved.theta) + np.abs(after))
        narrow = any(bool(np.all(np.abs(value.astype(np.float32) - value) <= noise)) for value in (moved.free, after))
    return narrow and bool(moved.free.any())
