"""Where Keras on TensorFlow rounds a hyperparameter to float32 although the weights are float64.

`ops.cast(self.beta_1, variable.dtype)` makes a float32 tensor of the Python float and only then widens
it, while `1 - self.beta_1`, a Python float to the end, stays double. So the same beta is exact in the
moments and rounded in the bias correction. Read from Keras 3.15 and measured over six steps: with these
casts a float64 model is at most 2.5e-16 (relative) from Adam, AdamW, SGD, Adamax, Nadam, Lion, Lamb, RMSprop and
Adagrad, most of them 0.0; without any one of them it is 5e-11 to 3e-7 away, where the cast shows at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .keras_import import is_variable, keras
from .protocol import Cast

FLOAT32 = "float32"

UPDATE_CASTS: Mapping[str, tuple[Cast, ...]] = {
    "SGD": (Cast("momentum", FLOAT32),),
    "Adagrad": (Cast("initial_accumulator_value", FLOAT32),),
    "Adam": (Cast("beta1", FLOAT32, "bias_correction"), Cast("beta2", FLOAT32, "bias_correction")),
    "Adamax": (Cast("beta1", FLOAT32, "bias_correction"),),
    "Lamb": (Cast("beta1", FLOAT32, "bias_correction"), Cast("beta2", FLOAT32, "bias_correction")),
    "Lion": (Cast("beta1", FLOAT32), Cast("beta2", FLOAT32)),
    "Nadam": (Cast("beta1", FLOAT32), Cast("beta2", FLOAT32)),
    "ScheduleFreeAdamW": (Cast("beta1", FLOAT32), Cast("beta2", FLOAT32), Cast("eps", FLOAT32)),
}
"""Keras class whose `update_step` runs -> what that method rounds."""

DECAY_CASTS = (Cast("weight_decay", FLOAT32),)
"""What Keras's own `_apply_weight_decay` rounds, whatever the class."""


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
