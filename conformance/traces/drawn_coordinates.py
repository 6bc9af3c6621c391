"""Which coordinates of a tensor a sample holds."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def drawn_coordinates(name: str, size: int, sample: int, seed: int) -> NDArray[np.int64] | None:
    """`sample` of the coordinates 0 .. `size` - 1 of the tensor `name`, rising; None where it has no more than that.

    They are drawn at random without replacement, by `seed` and the name alone: the same in every step and every run.
    """
    if size <= sample:
        return None
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return np.sort(rng.choice(size, sample, replace=False)).astype(np.int64)
