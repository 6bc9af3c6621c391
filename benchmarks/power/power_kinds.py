"""The truths: optimizers with every kind of weight decay, emulated in a working precision. One table of data.

Every operation on arrays is rounded to the precision of the arrays; a scalar is formed in double and rounded once,
when it meets them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optconform.reference import (
    AdamOptions,
    BiasCorrection,
    DecayLaw,
    DecayOrder,
    Epsilon,
    Momentum,
    SGDOptions,
)

Array = NDArray[Any]
Options = AdamOptions | SGDOptions


@dataclass(frozen=True, slots=True)
class Moment:
    """What a decay may read in one step; arrays and `number` are of the working precision, the rest are doubles."""

    theta: Array
    update: Array
    """u_t, the step without decay."""
    denominator: Array | None
    """sqrt(vhat) + eps; None for SGD."""
    alpha: float
    eta: float
    weight_decay: float
    number: Callable[[float], Any]
    """Rounds a double to the working precision."""

    @property
    def coefficient(self) -> float:
        """Return eta_t * alpha * lambda, the coefficient of most kinds."""
        return self.eta * self.alpha * self.weight_decay


Decay = Callable[[Moment], Array]
"""theta_t from what a step holds."""


def untouched(at: Moment) -> Array:
    """Return theta - u."""
    return at.theta - at.update


def shrunk(coefficient: Callable[[Moment], float]) -> Decay:
    """Return theta * (1 - c) - u with the given c."""
    return lambda at: at.theta * at.number(1.0 - coefficient(at)) - at.update


def subtracted(target: Callable[[Moment], Array]) -> Decay:
    """Return theta - u - eta_t * alpha * lambda * x with the given x."""
    return lambda at: at.theta - at.update - at.number(at.coefficient) * target(at)


def post_update(at: Moment) -> Array:
    """Return (theta - u) * (1 - c)."""
    theta: Array = (at.theta - at.update) * at.number(1.0 - at.coefficient)
    return theta


def proximal(at: Moment) -> Array:
    """Return (theta - u) / (1 + c)."""
    theta: Array = (at.theta - at.update) / at.number(1.0 + at.coefficient)
    return theta


def trust_ratio(at: Moment) -> float:
    """Return c times LAMB's ratio |theta| / |q + lambda*theta| over the tensor: it scales the decay alone."""
    theta, update = at.theta.astype(np.float64), at.update.astype(np.float64)
    with_decay = float(np.linalg.norm(update / (at.eta * at.alpha) + at.weight_decay * theta))
    return at.coefficient * (float(np.linalg.norm(theta)) / with_decay if with_decay else 1.0)


def where_it_helps(at: Moment) -> Array:
    """Return theta where the step shrinks it too, else 0."""
    return np.where(np.sign(at.update) * np.sign(at.theta) >= 0, at.theta, np.zeros_like(at.theta))


LR_WD = shrunk(lambda at: at.coefficient)
BOTH = ("adam", "sgd")


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the matrix: how an optimizer decays, and how else it departs from the common form."""

    name: str
    decay: Decay
    rule: str | None
    """Name of the column that is this kind; None where the reference has no such rule."""
    in_gradient: bool = False
    """Whether lambda * theta enters the gradient besides."""
    axes: Mapping[str, Any] = field(default_factory=dict)
    """Options in which the rest of the optimizer departs."""
    families: tuple[str, ...] = BOTH


ADAM, SGD = ("adam",), ("sgd",)
OFF, OFF_BY_ONE = BiasCorrection.OFF, BiasCorrection.OFF_BY_ONE
KINDS = (
    Kind("none", untouched, "none"),
    Kind("ignored", untouched, "none"),
    Kind("l2", untouched, "l2", in_gradient=True),
    Kind("lr*wd", LR_WD, "lr*wd"),
    Kind("schedule*wd", shrunk(lambda at: at.eta * at.weight_decay), "schedule*wd"),
    Kind("wd", shrunk(lambda at: at.weight_decay), "wd"),
    Kind("lr^2*wd/lr_max", shrunk(lambda at: at.eta * at.coefficient), None),
    Kind("post-update", post_update, "post-update"),
    Kind("proximal", proximal, "proximal"),
    Kind("preconditioned", subtracted(lambda at: at.theta / at.denominator), None, families=ADAM),
    Kind("trust ratio", shrunk(trust_ratio), None),
    Kind("cautious", subtracted(where_it_helps), None),
    Kind("constant", subtracted(lambda at: np.ones_like(at.theta)), None),
    Kind("sign", subtracted(lambda at: np.sign(at.theta)), None),
    Kind("growing", shrunk(lambda at: -at.coefficient), None),
    Kind("eps hat", LR_WD, "eps hat", axes={"epsilon": Epsilon.HAT}, families=ADAM),
    Kind("eps inside", LR_WD, "eps inside", axes={"epsilon": Epsilon.INSIDE}, families=ADAM),
    Kind("no correction", LR_WD, "no correction", axes={"bias_correction": OFF}, families=ADAM),
    Kind("off by one", LR_WD, "off by one", axes={"bias_correction": OFF_BY_ONE}, families=ADAM),
    Kind("lr inside", LR_WD, "lr inside", axes={"momentum_form": Momentum.LR_INSIDE}, families=SGD),
    Kind("nesterov", LR_WD, "nesterov", axes={"nesterov": True}, families=SGD),
)
"""Every kind of decay found in the wild, then one departure along every axis that is orthogonal to decay."""

LAW, ORDER = {"law": DecayLaw.LR_WD}, {"order": DecayOrder.UPDATED}
COLUMNS: Mapping[str, Mapping[str, Any] | None] = {
    "none": {**LAW, "weight_decay": 0.0},
    "l2": None,
    "lr*wd": LAW,
    "schedule*wd": {"law": DecayLaw.SCHEDULE_WD},
    "wd": {"law": DecayLaw.WD},
    "post-update": {**LAW, "order": DecayOrder.UPDATED},
    "proximal": {**LAW, "order": DecayOrder.PROXIMAL},
    **{kind.name: {**LAW, **kind.axes} for kind in KINDS if kind.axes},
}
"""Rule of the reference -> the options that make it, on top of the common ones; None is L2."""


class Emulated:
    """One optimizer of one kind over a vector of parameters, every operation rounded to `theta`'s precision."""

    def __init__(self, kind: Kind, options: Options, theta: Array) -> None:
        self.kind, self.options, self.theta = kind, options, theta
        self.steps = 0
        zeros = np.zeros_like(theta)
        self.state: dict[str, Array] = {"m": zeros, "v": zeros} if isinstance(options, AdamOptions) else {"b": zeros}

    def step(self, grad: Array, eta: float) -> None:
        """Take one step with `grad`, which is of theta's precision, at learning rate eta * alpha."""
        options, number = self.options, self.theta.dtype.type
        self.steps += 1
        entering = grad + number(options.weight_decay) * self.theta if self.kind.in_gradient else grad
        denominator = None
        if isinstance(options, AdamOptions):
            update, denominator = self._adam(options, entering, eta)
        else:
            update = self._sgd(options, entering, eta)
        at = Moment(self.theta, update, denominator, options.lr, eta, options.weight_decay, number)
        self.theta = self.kind.decay(at)

    def _adam(self, options: AdamOptions, g: Array, eta: float) -> tuple[Array, Array]:
        number, state = g.dtype.type, self.state
        m = number(options.beta1) * state["m"] + number(1.0 - options.beta1) * g
        v = number(options.beta2) * state["v"] + number(1.0 - options.beta2) * (g * g)
        state.update(m=m, v=v)
        c1 = c2 = 1.0
        if options.bias_correction is not BiasCorrection.OFF:
            exponent = self.steps + (options.bias_correction is BiasCorrection.OFF_BY_ONE)
            c1, c2 = 1.0 - options.beta1**exponent, 1.0 - options.beta2**exponent
        v_hat = v / number(c2)
        match options.epsilon:
            case Epsilon.OUTSIDE:
                denominator = np.sqrt(v_hat) + number(options.eps)
            case Epsilon.HAT:
                denominator = np.sqrt(v_hat) + number(options.eps / math.sqrt(c2))
            case Epsilon.INSIDE:
                denominator = np.sqrt(v_hat + number(options.eps))
        return number(eta * options.lr) * ((m / number(c1)) / denominator), denominator

    def _sgd(self, options: SGDOptions, g: Array, eta: float) -> Array:
        number = g.dtype.type
        rate, mu = number(eta * options.lr), number(options.momentum)
        inside = options.momentum_form is Momentum.LR_INSIDE
        entering = rate * g if inside else g
        self.state["b"] = buffer = mu * self.state["b"] + entering
        direction = entering + mu * buffer if options.nesterov else buffer
        update: Array = direction if inside else rate * direction
        return update
