"""Targets of the gate's tests, in NumPy: each sound but for one thing."""

import os

import numpy as np

from optconform.adapters.numpy_optimizers import AdamW


class Sound(AdamW):
    """Nothing is wrong with it."""


class OneUlpMore(AdamW):
    """Every step moves every parameter by one unit in the last place more."""

    def step(self, params, grads, lr):
        moved = super().step(params, grads, lr)
        return {name: np.nextafter(theta, np.full_like(theta, np.inf)) for name, theta in moved.items()}


class Swapped(AdamW):
    """Decay enters the gradient: Adam with L2 regularisation under the name of AdamW."""

    def step(self, params, grads, lr):
        decay, self.weight_decay = self.weight_decay, 0.0
        coupled = {name: None if g is None else g + decay * params[name] for name, g in grads.items()}
        moved = super().step(params, coupled, lr)
        self.weight_decay = decay
        return moved


class Restless(AdamW):
    """A chance draw of its own decides how each step is rounded: no two runs give the same bits."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.draws = np.random.default_rng()

    def step(self, params, grads, lr):
        moved = super().step(params, grads, lr)
        return {
            name: theta
            + np.where(self.draws.random(theta.shape) < 0.5, 0.0, np.spacing(theta) * 0.51).astype(theta.dtype)
            for name, theta in moved.items()
        }


class Hangs(AdamW):
    """Its first step never ends."""

    def step(self, params, grads, lr):
        while True:
            pass


class Dies(AdamW):
    """Its first step ends the process."""

    def step(self, params, grads, lr):
        os._exit(7)


class Raises(AdamW):
    """Its first step raises."""

    def step(self, params, grads, lr):
        raise ArithmeticError("planted")


class WorseLater(AdamW):
    """Sound while the gate builds and plays it first, and half as large again in every run after that."""

    built = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        type(self).built += 1
        self.later = type(self).built > 2

    def step(self, params, grads, lr):
        moved = super().step(params, grads, lr)
        return {name: theta * 1.5 for name, theta in moved.items()} if self.later else moved


class LateCorrection(AdamW):
    """The bias correction is that of the step after."""

    def step(self, params, grads, lr):
        self.t = {name: self.t.get(name, 0) or 1 for name in params}
        return super().step(params, grads, lr)


class RoundedRate(AdamW):
    """The learning rate is rounded to half precision before it is used."""

    def step(self, params, grads, lr):
        return super().step(params, grads, float(np.float16(lr)))


class DecayAfterwards(AdamW):
    """Decay shrinks the parameters that the step has reached, not those it began with."""

    def step(self, params, grads, lr):
        decay, self.weight_decay = self.weight_decay, 0.0
        moved = super().step(params, grads, lr)
        self.weight_decay = decay
        return {name: t if grads[name] is None else t - lr * decay * t for name, t in moved.items()}


class NaNs(AdamW):
    """Every step leaves NaN and nothing else."""

    def step(self, params, grads, lr):
        return {name: np.full_like(theta, np.nan) for name, theta in params.items()}
