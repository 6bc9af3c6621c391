"""What one Keras optimizer on TensorFlow rounds to float32 although the weights are float64."""

from __future__ import annotations

from typing import Any

from .keras_import import is_variable, keras
from .keras_rounding import DECAY_CASTS, FLOAT32, UPDATE_CASTS
from .protocol import Cast


def casts_of(optimizer: Any, dtype: str) -> tuple[Cast, ...]:
    """Return what a Keras optimizer over weights of `dtype` rounds below their precision.

    Only float64 weights are wider than what Keras rounds to. Which casts hold is decided by the class
    whose `update_step` runs: an optimizer that brings its own is not Keras's, whatever it inherits from.
    """
    if dtype != "float64":
        return ()
    rate: Any = getattr(optimizer, "_learning_rate", None)
    rate_dtype = keras.backend.standardize_dtype(rate.dtype) if is_variable(rate) else FLOAT32
    casts: tuple[Cast, ...] = (Cast("lr", rate_dtype),) if rate_dtype != dtype else ()
    if _owner(optimizer, "_apply_weight_decay") is not None:
        casts += DECAY_CASTS
    return casts + UPDATE_CASTS.get(_owner(optimizer, "update_step") or "", ())


def _owner(optimizer: Any, method: str) -> str | None:
    """Return the name of the Keras class that defines `method` for this optimizer, None if it is no Keras class."""
    cls = next((base for base in type(optimizer).__mro__ if method in vars(base)), None)
    return cls.__name__ if cls is not None and cls.__module__.partition(".")[0] == "keras" else None
