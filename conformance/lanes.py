"""Lanes: parameters that can be replayed as one long vector.

The rules act element by element, so parameters may be laid end to end, which spares a small operation per
tensor. Parameters share a lane when they begin with the same step count and lack a gradient in the same steps,
since only then do their step counts agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.arrays import host_dtype
from .traces import Trace

_SEED = 20190506
"""ICLR 2019, the paper's venue; any fixed number serves."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Parameters laid end to end: their names, and the shape of each."""

    shapes: Mapping[str, tuple[int, ...]]

    def gather(self, arrays: Mapping[str, NDArray[Any] | None], dtype: str) -> NDArray[Any] | None:
        """Return the lane's parameters out of `arrays` as one vector of `dtype`; None where they are missing.

        A lane of one parameter that has that dtype already is not copied.
        """
        wanted = host_dtype(dtype)
        parts = [arrays[name] for name in self.shapes]
        with np.errstate(over="ignore"):  # what lies beyond the format's range is infinite, as it is fed
            present = [np.asarray(part).astype(wanted, copy=False).reshape(-1) for part in parts if part is not None]
        if len(present) < len(parts):
            return None
        return present[0] if len(present) == 1 else np.concatenate(present)

    def locate(self, element: int) -> tuple[str, tuple[int, ...]]:
        """Return the parameter and the index in it of one element of the vector."""
        offset = element
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            if offset < size:
                return name, tuple(int(index) for index in np.unravel_index(offset, shape)) if shape else ()
            offset -= size
        raise IndexError(f"element {element} lies beyond the lane's end")


def lanes_of(trace: Trace, counts: Mapping[str, int] | None = None) -> tuple[Lane, ...]:
    """Return the lanes of `trace`: one for every pattern of missing gradients and step count, empty tensors left out.

    `counts` are the updates that a parameter has had before the first step, by name; zero for those left out.
    """
    groups: dict[tuple[frozenset[int], int], dict[str, tuple[int, ...]]] = {}
    for parameter in trace.parameters:
        if parameter.size:
            absent = frozenset(step for step, names in trace.missing.items() if parameter.name in names)
            begun = (counts or {}).get(parameter.name, 0)
            groups.setdefault((absent, begun), {})[parameter.name] = parameter.shape
    return tuple(Lane(shapes) for shapes in groups.values())


def sampled_elements(sizes: Sequence[int], total: int) -> list[NDArray[np.intp]]:
    """Return the seeded sample of the elements of each of several vectors, in rising order.

    About `total` of them, shared out by size, at least one of each vector that has any.
    """
    rng = np.random.default_rng(_SEED)
    whole = max(1, sum(sizes))
    shares = (min(size, max(1, total * size // whole)) for size in sizes)
    return [np.sort(rng.choice(size, share, replace=False)) for size, share in zip(sizes, shares, strict=True)]
