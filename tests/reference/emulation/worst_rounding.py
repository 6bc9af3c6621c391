"""Directions of rounding: constant, alternating, and those that drive theta away from the reference the farthest."""

from __future__ import annotations

import itertools

import numpy as np

CONSTANT = {
    "away from zero": lambda: itertools.repeat(1.0),
    "towards zero": lambda: itertools.repeat(-1.0),
    "alternating": lambda: itertools.cycle([1.0, -1.0]),
}


def worst_directions(attempt):
    """Return one direction per operation and element that are the worst to first order.

    `attempt(push)` runs an implementation whose machines draw from the iterator `push` and returns its distance from
    the reference per element. Each operation is moved alone first, and then all by the signs of what that did.
    """
    count = itertools.count()
    exact = attempt(0.0 * next(count) for _ in itertools.repeat(None))
    operations = next(count)
    effects = [
        attempt(itertools.chain(itertools.repeat(0.0, k), [1.0], itertools.repeat(0.0))) - exact
        for k in range(operations)
    ]
    return np.where(np.asarray(effects) < 0.0, -1.0, 1.0)
