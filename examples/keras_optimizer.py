"""A hand-written Keras optimizer: Lion, a rule the reference does not know, with Keras' own weight decay.

optconform audit examples/keras_optimizer.py:SignMomentum
"""

from __future__ import annotations

import keras
from keras import ops


class SignMomentum(keras.optimizers.Optimizer):
    """Lion: step along sign(beta1*m + (1 - beta1)*g); m <- beta2*m + (1 - beta2)*g."""

    def __init__(self, learning_rate=1e-4, beta_1=0.9, beta_2=0.99, weight_decay=None, **kwargs):
        """Take the usual hyperparameters; Keras applies `weight_decay` before `update_step`."""
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def build(self, var_list):
        """Make one momentum for each variable."""
        if not self.built:
            super().build(var_list)
            self.momentums = [self.add_variable_from_reference(variable, "momentum") for variable in var_list]

    def update_step(self, gradient, variable, learning_rate):
        """Apply one update to `variable`."""
        m = self.momentums[self._get_variable_index(variable)]
        lr = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        direction = ops.sign(m * self.beta_1 + gradient * (1 - self.beta_1))
        self.assign_sub(variable, lr * direction)
        self.assign(m, m * self.beta_2 + gradient * (1 - self.beta_2))
