"""Gradients that any library makes where they are needed, the same to the bit: a counter in, a number out.

The gradient of coordinate i in step t is a function of (seed, t, i) alone, so that a device makes 1e8 of them itself,
and the host the few that it judges. It takes 32-bit integer arithmetic that wraps around, which NumPy, PyTorch, JAX
(without its 64-bit mode) and TensorFlow share, and puts the bits of a float32 together: nothing is ever rounded.
Parameters to start from are made alike, as those of step 0.

The hash is two rounds of the finaliser of MurmurHash3 (Austin Appleby, public domain), with a key before each.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import host_dtype
from .protocol import Array

VERSION = 1
"""Raised whenever one bit that is made would change."""
MOST_ELEMENTS = 2**31 - 1
"""Coordinates are counted in signed 32-bit integers."""
BLOCK_ELEMENTS = 2**16
"""What the host makes at a time: the temporaries, 256 KB each, stay in the cache."""

_MULTIPLIERS = (0x85EBCA6B, 0xC2B2AE35)
_FRACTION_BITS = 23
_EXPONENT_BIAS = 127

Key = tuple[Any, Any]
"""Two 32-bit words, as signed integers: plain numbers, or scalars of the library whose arrays meet them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the bits of one format become numbers: 31 of 32 are zero in 1, and the rest spread over some binades.

    Bits of the coordinate itself choose one of `scales`, for all steps, so that some coordinates only ever see small
    gradients and the epsilon of Adam counts; bits of the hash choose one of four neighbouring binades below it.
    """

    precision: int
    """Significant bits, the hidden one among them."""
    scales: int
    """How many, a power of two."""
    apart: int
    """Binades from one scale to the next."""
    shift: int
    """The lowest bit of the coordinate that chooses."""
    largest: int = 1
    """Exponent of the largest binade."""


GRADIENTS = {
    # 2**-32 < |g| < 4: the smallest are below the epsilon of 1e-8 that is usual.
    "float64": Layout(24, 16, 2, 0),
    "float32": Layout(24, 16, 2, 0),
    "bfloat16": Layout(8, 16, 2, 0),
    # 2**-9 <= |g| < 4, so that g * g neither overflows nor underflows to zero.
    "float16": Layout(11, 8, 1, 0),
}
"""dtype -> how its gradients are made. Every one is exact in it."""
PARAMETERS = {name: Layout(layout.precision, 8, 1, 4) for name, layout in GRADIENTS.items()}
"""dtype -> how its parameters are made: 2**-9 <= |theta| < 4, whatever the size of their gradients."""


def key_of(seed: int, step: int) -> Key:
    """Return the key of one step of one seed, both >= 0: SplitMix64 of their mixture, in two signed words."""
    mixed = _splitmix(_splitmix(seed) ^ step)
    return _signed(mixed & 0xFFFF_FFFF), _signed(mixed >> 32)


def generated_bits(
    coordinates: Any, key: Key, layout: Layout, *, shift_right: Callable[[Any, int], Any] = operator.rshift
) -> Any:
    """Return the bits of one float32 for each coordinate, as an array of 32-bit integers in the same place.

    `coordinates` is a 1-D array of int32, >= 0, of any library whose integers wrap around and have `* + & | ^`;
    `shift_right` is its arithmetic shift, where that is no `>>`. Read as float32 the values are exact in the format
    of `layout`.
    """

    def logical(words: Any, by: int) -> Any:
        return shift_right(words, by) & ((1 << (32 - by)) - 1)

    words = coordinates
    for each in key:
        words = words ^ each
        words = (words ^ logical(words, 16)) * _signed(_MULTIPLIERS[0])
        words = (words ^ logical(words, 13)) * _signed(_MULTIPLIERS[1])
        words = words ^ logical(words, 16)
    kept = layout.precision - 1
    sign = words & _signed(0x8000_0000)
    fraction = words & (((1 << kept) - 1) << (_FRACTION_BITS - kept))
    scale = shift_right(coordinates, layout.shift) & (layout.scales - 1)
    exponent = (_EXPONENT_BIAS + layout.largest) + scale * -layout.apart + (logical(words, 28) & 3) * -1
    # 0 where five bits are all zero, else all ones.
    present = logical((logical(words, 23) & 31) + 31, 5) * -1
    return (sign | fraction | (exponent * (1 << _FRACTION_BITS))) & present


def generated_gradient(coordinates: NDArray[np.int32], step: int, dtype: str, *, seed: int = 0) -> Array:
    """Return the gradient in step `step` >= 1 at `coordinates`, a 1-D array, in `dtype`.

    >>> generated_gradient(np.arange(4, dtype=np.int32), 1, "bfloat16").tolist()
    [-3.421875, 0.462890625, -0.0311279296875, -0.04052734375]
    """
    return _values(coordinates, key_of(seed, step), GRADIENTS[dtype], dtype)


def generated_parameters(coordinates: NDArray[np.int32], dtype: str, *, seed: int = 0) -> Array:
    """Return theta_0 at `coordinates`, a 1-D array, in `dtype`."""
    return _values(coordinates, key_of(seed, 0), PARAMETERS[dtype], dtype)


def in_blocks(make: Callable[[NDArray[np.int32]], Array], start: int, stop: int, dtype: str) -> Array:
    """Return what `make` makes of the coordinates `start` .. `stop` - 1, in `dtype`, block by block."""
    made = np.empty(stop - start, dtype=host_dtype(dtype))
    for first in range(start, stop, BLOCK_ELEMENTS):
        last = min(first + BLOCK_ELEMENTS, stop)
        made[first - start : last - start] = make(np.arange(first, last, dtype=np.int32))
    return made


def _values(coordinates: NDArray[np.int32], key: Key, layout: Layout, dtype: str) -> Array:
    bits: NDArray[np.int32] = generated_bits(coordinates, key, layout)
    return bits.view(np.float32).astype(host_dtype(dtype))


def _splitmix(number: int) -> int:
    """Return the next output of SplitMix64 (Steele, Lea & Flood 2014) from the state `number`."""
    word = (number + 0x9E37_79B9_7F4A_7C15) & 0xFFFF_FFFF_FFFF_FFFF
    word = ((word ^ (word >> 30)) * 0xBF58_476D_1CE4_E5B9) & 0xFFFF_FFFF_FFFF_FFFF
    word = ((word ^ (word >> 27)) * 0x94D0_49BB_1331_11EB) & 0xFFFF_FFFF_FFFF_FFFF
    return word ^ (word >> 31)


def _signed(word: int) -> int:
    """Return a word of 32 bits as the signed integer that has these bits."""
    return word - (1 << 32) if word >= 1 << 31 else word
