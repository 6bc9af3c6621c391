"""What Keras on TensorFlow rounds to float32 although the weights are float64, by class; as data, without Keras.

`ops.cast(self.beta_1, variable.dtype)` makes a float32 tensor of the Python float and only then widens
it, while `1 - self.beta_1`, a Python float to the end, stays double. So the same beta is exact in the
moments and rounded in the bias correction. Read from Keras 3.15 and measured over six steps: with these
casts a float64 model is at most 2.5e-16 (relative) from Adam, AdamW, SGD, Adamax, Nadam, Lion, Lamb, RMSprop and
Adagrad, most of them 0.0; without any one of them it is 5e-11 to 3e-7 away, where the cast shows at all.
"""

from __future__ import annotations

from collections.abc import Mapping

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

_STEPS_AS = {"AdamW": "Adam"}
"""Keras class -> the one whose `update_step` it inherits."""


def casts_of_class(name: str, dtype: str) -> tuple[Cast, ...]:
    """Return what Keras's own class `name` rounds over weights of `dtype`, its learning rate left out.

    Only float64 weights are wider than what Keras rounds to.
    """
    return (*DECAY_CASTS, *UPDATE_CASTS.get(_STEPS_AS.get(name, name), ())) if dtype == "float64" else ()
