"""Hyperparameters as an implementation uses them: rounded to a narrower dtype where its adapter says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..adapters.arrays import host_dtype
from ..adapters.protocol import Cast

EVERYWHERE = "everywhere"
BIAS_CORRECTION = "bias_correction"


def rounded(value: float, dtype: str) -> float:
    """Return `value` rounded to `dtype`, as a Python float."""
    return float(np.asarray(value, dtype=host_dtype(dtype)))


def as_used(values: Mapping[str, Any], casts: Iterable[Cast], use: str = EVERYWHERE) -> dict[str, Any]:
    """Return `values` with those rounded that `casts` rounds for `use`."""
    result = dict(values)
    for cast in casts:
        if cast.use == use and isinstance(result.get(cast.hyperparameter), int | float):
            result[cast.hyperparameter] = rounded(result[cast.hyperparameter], cast.dtype)
    return result
