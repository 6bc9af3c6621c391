"""Arrays on the host side of a framework: working dtypes, and one buffer for all gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import NamedTuple

import ml_dtypes
import numpy as np

from .errors import NotSupported
from .protocol import Array, Gradients, SparseRows

Shape = tuple[int, ...]

HOST_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""Working precision -> NumPy dtype. Rounding happens here, on the host, alike for every framework.

It is to nearest; from float64 to bfloat16 it passes through float32, which turns some near-ties the other way.
"""


class Piece(NamedTuple):
    """Where one parameter's gradient lies in the packed buffer."""

    name: str
    start: int
    stop: int
    shape: Shape


def host_dtype(dtype: str) -> np.dtype[np.generic]:
    """Return the NumPy dtype called `dtype`. Raises `ValueError` for one that is not supported."""
    try:
        return HOST_DTYPES[dtype]
    except KeyError:
        expected = ", ".join(HOST_DTYPES)
        raise ValueError(f"dtype={dtype!r} is not supported; use one of {expected}.") from None


def host_copies(arrays: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """Return contiguous copies in `dtype`, shapes kept (a 0-d array stays 0-d).

    What lies beyond the range of `dtype` becomes infinite, without a warning: that is for whoever judges to see.
    """
    wanted = host_dtype(dtype)
    with np.errstate(over="ignore"):
        return {name: np.array(array, dtype=wanted, order="C", copy=True) for name, array in arrays.items()}


def shapes_of(arrays: Mapping[str, Array]) -> dict[str, Shape]:
    """Return the shape of every array."""
    return {name: np.shape(array) for name, array in arrays.items()}


def checked(gradients: Gradients, shapes: Mapping[str, Shape]) -> dict[str, Array | SparseRows]:
    """Return the gradients that are there, dense and sparse, in the parameters' order.

    Raises `ValueError` where a parameter is not mentioned at all (None says "no gradient"), where a
    gradient belongs to no parameter, and where a shape differs: broadcasting would hide it.
    """
    if gradients.keys() != shapes.keys():
        missing = sorted(shapes.keys() - gradients.keys())
        unknown = sorted(gradients.keys() - shapes.keys())
        raise ValueError(
            f"gradients must name every parameter once; missing: {_names(missing)}, unknown: {_names(unknown)}. "
            "Give None where a parameter has no gradient in this step."
        )
    found: dict[str, Array | SparseRows] = {}
    for name, shape in shapes.items():
        gradient = gradients[name]
        if gradient is None:
            continue
        given = gradient.shape if isinstance(gradient, SparseRows) else np.shape(gradient)
        if given != shape:
            raise ValueError(f"the gradient of {name!r} has shape {given}, but should have the parameter's, {shape}.")
        found[name] = gradient
    return found


def present(gradients: Gradients, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Return the gradients that are there, in the parameters' order, for a use that takes dense ones only.

    Raises `ValueError` as `checked` does, and `NotSupported` for a sparse gradient.
    """
    found: dict[str, Array] = {}
    for name, gradient in checked(gradients, shapes).items():
        if isinstance(gradient, SparseRows):
            raise NotSupported(f"the gradient of {name!r} is sparse, and this framework has no sparse gradients.")
        found[name] = gradient
    return found


def pack(gradients: Gradients, shapes: Mapping[str, Shape], dtype: str) -> tuple[Array, list[Piece]]:
    """Lay all gradients that are there end to end in one new buffer of `dtype`.

    One buffer crosses to a device in one transfer, however many parameters there are. Returns the
    buffer, 1-D, and where each gradient lies in it. Raises `ValueError` as `present` does.
    """
    found = present(gradients, shapes)
    pieces: list[Piece] = []
    end = 0
    for name in found:
        size = prod(shapes[name])
        pieces.append(Piece(name, end, end + size, shapes[name]))
        end += size
    buffer = np.empty(end, dtype=host_dtype(dtype))
    with np.errstate(over="ignore"):  # as in `host_copies`
        for piece in pieces:
            buffer[piece.start : piece.stop] = np.ravel(found[piece.name])
    return buffer, pieces


def chosen(names: Iterable[str] | None, shapes: Mapping[str, Shape]) -> list[str]:
    """Return `names`, or all parameters for None. Raises `KeyError` for a name that is no parameter."""
    if names is None:
        return list(shapes)
    wanted = list(names)
    unknown = [name for name in wanted if name not in shapes]
    if unknown:
        raise KeyError(f"no parameter is called {_names(unknown)}; there are {_names(list(shapes))}")
    return wanted


def _names(names: list[str], at_most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:at_most]) or "none"
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
