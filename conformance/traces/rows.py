"""Sparse gradients as they are kept: the rows that have an entry, step by step."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...adapters.protocol import SparseRows
from .errors import TraceError
from .files import DAMAGED
from .shards import Shard
from .trace import Parameter, check_array


def row_size(shape: tuple[int, ...]) -> int:
    """Elements of one row of a tensor of this shape."""
    return math.prod(shape[1:])


def check_rows(rows: NDArray[np.int64], shape: tuple[int, ...], shard: Shard, file: object, name: str) -> None:
    """Raise `TraceError` unless `rows` [n, 2] are (step, row) pairs of `shard` and `shape`, rising, each once."""
    inside = (
        (rows[:, 0] >= shard.first_step) & (rows[:, 0] <= shard.last_step) & (rows[:, 1] >= 0) & (rows[:, 1] < shape[0])
    )
    step, row = np.diff(rows[:, 0]), np.diff(rows[:, 1])
    rising = (step > 0) | ((step == 0) & (row > 0))
    wrong = np.flatnonzero(~inside) if not inside.all() else np.flatnonzero(~rising) + 1
    if len(wrong):
        at = tuple(int(value) for value in rows[wrong[0]])
        raise TraceError(
            file,
            f"(step, row) {at} as entry {int(wrong[0])}",
            f"pairs in rising order, each once, of steps {shard.first_step}..{shard.last_step} and {shape[0]} rows",
            DAMAGED,
            name,
        )


def check_sparse(gradient: SparseRows, parameter: Parameter, file: object, what: str) -> None:
    """Raise `TraceError` unless `gradient`, called `what`, is one of `parameter`: rising rows, their values finite."""
    rows, declared = gradient.indices, (len(gradient.indices), *parameter.shape[1:])
    if not parameter.shape or gradient.shape != parameter.shape or gradient.values.shape != declared:
        raise TraceError(
            file,
            f"{len(rows)} rows {gradient.values.shape} of {gradient.shape} as {what}",
            f"rows of {parameter.shape}",
            "Give the values of each row in the shape of the parameter's rows.",
            parameter.name,
        )
    if len(rows) and (rows[0] < 0 or rows[-1] >= parameter.shape[0] or not (np.diff(rows) > 0).all()):
        raise TraceError(
            file, f"rows {rows} as {what}", "rising rows, each once", "Coalesce the gradient first.", parameter.name
        )
    values = Parameter(parameter.name, declared, parameter.dtype)
    check_array(gradient.values, values, file, what)
