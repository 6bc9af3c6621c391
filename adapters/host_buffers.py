"""Large buffers on the host that are used again: their pages are there, and those of a fresh one are zeroed first."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_BYTES = 4 * 2**20
"""From here on NumPy asks for huge pages: to put 100 MB of them together took up to 250 ms, to copy into them 6."""
MOST_KEPT = 8
"""Buffers of one size, and sizes."""


class _Lease(np.ndarray[Any, Any]):
    """A buffer on loan. Every view of it holds it, and when the last one is gone the buffer goes back."""


class HostBuffers:
    """Vectors to copy into; those of at least `LEAST_BYTES` come back by themselves when nothing looks at them.

    They may be given up in another thread than they are taken in, and in the middle of `take`, where the garbage
    collector finds some: there is no lock, and nothing here that takes more than one step.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[int, str], deque[NDArray[Any]]] = {}

    def take(self, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """A vector of `size` elements with any values, which nothing else looks at."""
        if size * dtype.itemsize < LEAST_BYTES:
            return np.empty(size, dtype)
        if len(self._free) > MOST_KEPT:  # rows of sparse gradients have another size in every step
            self._free.clear()
        free = self._free.setdefault((size, dtype.name), deque(maxlen=MOST_KEPT))
        try:
            buffer = free.pop()
        except IndexError:
            buffer = np.empty(size, dtype)
        lease = buffer.view(_Lease)
        weakref.finalize(lease, free.append, buffer).atexit = False
        return lease
