"""The orders in which frameworks evaluate SGD and Adam, and others as good, mixed freely.

Written with plain operators, so that `rounded_numbers` runs them in any arithmetic. A scalar is a Python float
(a host that computes in double) or a `Number` of the format in which the framework holds its scalars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rounded_numbers import Machine, Number, sqrt

from optconform.reference import AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum


def repeated_product(beta, n):
    power = beta
    for _ in range(n - 1):
        power = power * beta
    return power


def by_squaring(beta, n):
    if n == 1:
        return beta
    half = by_squaring(beta * beta, n // 2)
    return half * beta if n % 2 else half


def library_power(beta, n):
    if isinstance(beta, Number):
        return Number(beta.machine.round(np.power(np.float64(beta.value), n)), beta.machine)
    return beta**n


POWERS = {"library": library_power, "repeated product": repeated_product, "squaring": by_squaring}


def lerp(a, x, beta):
    """torch.lerp: from weight 1/2 on it counts from the other end."""
    weight = x.entering(1 - beta)
    return a + weight * (x - a) if weight < 0.5 else x - (x - a) * (1 - weight)


AVERAGES = {  # (average, new value, beta) -> new average
    "two products": lambda a, x, beta: beta * a + (1 - beta) * x,
    "difference (Keras)": lambda a, x, beta: a + (x - a) * (1 - beta),
    "lerp (torch)": lerp,
}

SQUARES = {  # (v, g, beta2) -> new v
    "square first (Optax)": lambda v, g, beta: (1 - beta) * (g * g) + beta * v,
    "addcmul (torch)": lambda v, g, beta: v * beta + ((1 - beta) * g) * g,
    "difference (Keras)": lambda v, g, beta: v + (g * g - v) * (1 - beta),
}

ROOTS = {  # (v, c2) -> the root of vhat
    "root of the quotient": lambda v, c2: sqrt(v / c2),
    "quotient of the roots": lambda v, c2: sqrt(v) / sqrt(c2),
    "reciprocal": lambda v, c2: sqrt(v * (1 / c2)),
}

DIRECTIONS = {  # (rate, m, c1, d) -> (rate or None, direction); the step is their product
    "corrected moments (Optax)": lambda rate, m, c1, d: (rate, (m / c1) / d),
    "step size (torch)": lambda rate, m, c1, d: (rate / c1, m / d),
    "step size first (addcdiv)": lambda rate, m, c1, d: (None, ((rate / c1) * m) / d),
    "reciprocals": lambda rate, m, c1, d: (rate, (m * (1 / c1)) * (1 / d)),
}


def torch_capturable(rate, m, v, c1, c2, eps):
    """The step size divides numerator and denominator, on the device."""
    size = m.entering(rate) / m.entering(c1)
    return None, m / (sqrt(v) / (sqrt(m.entering(c2)) * size) + m.entering(eps) / size)


def keras(rate, m, v, c1, c2, eps):
    """Epsilon hat: everything scalar in one factor."""
    return None, (m * (rate * sqrt(c2) / c1)) / (sqrt(v) + eps)


def keras_on_the_device(rate, m, v, c1, c2, eps):
    rate, c1, c2 = (m.entering(scalar) for scalar in (rate, c1, c2))
    return None, (m * (rate * sqrt(c2) / c1)) / (sqrt(v) + eps)


WHOLE = {
    Epsilon.OUTSIDE: {"torch capturable": torch_capturable},
    Epsilon.HAT: {"keras": keras, "keras, scalars on the device": keras_on_the_device},
    Epsilon.INSIDE: {},
}

DECAYS = {  # (theta, u, c) -> theta_t
    DecayOrder.PREVIOUS: {
        "factor first (torch)": lambda theta, u, c: theta * (1 - c) - u,
        "factor formed on the device": lambda theta, u, c: theta * (1 - theta.entering(c)) - u,
        "subtract first (Keras)": lambda theta, u, c: (theta - theta * c) - u,
        "step first": lambda theta, u, c: (theta - u) - c * theta,
        "one sum": lambda theta, u, c: theta + -(u + c * theta),
    },
    DecayOrder.UPDATED: {
        "factor": lambda theta, u, c: (theta - u) * (1 - c),
        "subtract": lambda theta, u, c: (moved := theta - u) - c * moved,
    },
    DecayOrder.PROXIMAL: {
        "divide": lambda theta, u, c: (theta - u) / (1 + c),
        "multiply": lambda theta, u, c: (theta - u) * (1 / (1 + c)),
    },
}

BUFFERS = ("at once", "late")


@dataclass
class Choice:
    """One evaluation order: a name out of each table."""

    power: str = "library"
    average: str = "two products"
    square: str = "square first (Optax)"
    root: str = "root of the quotient"
    direction: str = "corrected moments (Optax)"
    whole: str | None = None
    decay: str | None = None
    """None where decay is in the gradient; "Optax" multiplies the learning rate by q + lambda*theta."""
    buffer: str = "at once"
    """Whether SGD multiplies the learning rate by g and by the buffer one by one ("late")."""


OVERFLOWING = ("torch capturable", "reciprocals")
"""Orders that divide by the step size or by the denominator alone: float16 overflows in them at ordinary values."""


def choices(rule, options, working):
    """Return the names from which each field of `Choice` may be taken in a working format."""
    names = {}
    if rule.family == "adam":
        whole = [] if options.amsgrad is AMSGrad.CORRECTED else list(WHOLE[options.epsilon])
        names = {
            "power": list(POWERS),
            "average": list(AVERAGES),
            "square": list(SQUARES),
            "root": list(ROOTS),
            "direction": list(DIRECTIONS),
            "whole": [None, *whole],
        }
    else:
        names = {"buffer": list(BUFFERS)}
    if working == "float16":
        names = {field: [name for name in of if name not in OVERFLOWING] for field, of in names.items()}
    if rule.decoupled:
        names["decay"] = list(DECAYS[options.order])
        if options.order is DecayOrder.PREVIOUS and options.law is DecayLaw.LR_WD:
            names["decay"].append("Optax")
    return names


class Implementation:
    """An optimizer that evaluates `rule` in one order on one machine.

    `scalars` is the machine that forms scalars; None is a host with doubles. With `storage`, theta and state are
    rounded to that machine's format after every step. `state` holds them by the reference's names.
    """

    def __init__(self, rule, options, choice: Choice, machine: Machine, scalars=None, storage=None):
        self.rule, self.options, self.choice = rule, options, choice
        self.machine, self.scalars, self.storage = machine, scalars, storage
        self.state = {}
        self.taken = 0

    def step(self, theta, grad, eta):
        """Return theta_t as float64; `theta` and `grad` are exact."""
        self.taken += 1
        theta, grad = (Number(self.machine.flushed(array), self.machine) for array in (theta, grad))
        g = grad if self.rule.decoupled else grad + self.scalar(self.options.weight_decay) * theta
        rate = self.scalar(eta * self.options.lr)
        if self.rule.family == "adam":
            factor, direction = self._adam(g, rate)
        else:
            factor, direction = self._sgd(g, rate)
        return self.stored(self._decayed(theta, factor, direction, rate, eta)).value

    def scalar(self, value):
        return value if self.scalars is None else self.scalars.number(float(value))

    def stored(self, number):
        if self.storage is None:
            return Number(number.value, self.machine)
        return Number(self.storage.round(number.value), self.machine)

    def kept(self, name, like):
        value = self.state.get(name)
        return Number(np.zeros_like(like.value) if value is None else value, self.machine)

    def keep(self, **numbers):
        self.state |= {name: self.stored(number).value for name, number in numbers.items()}

    def keep_maximum(self, new):
        """Return the larger of the maximum so far and `new`; what is stored already is not rounded again."""
        before = self.kept("v_max", new)
        self.state["v_max"] = before.maximum(self.stored(new)).value
        return before.maximum(new)

    def corrections(self):
        if self.options.bias_correction is BiasCorrection.OFF:
            return 1, 1
        n = self.taken + (self.options.bias_correction is BiasCorrection.OFF_BY_ONE)
        power = POWERS[self.choice.power]
        return tuple(1 - power(self.scalar(beta), n) for beta in (self.options.beta1, self.options.beta2))

    def _adam(self, g, rate):
        options, choice = self.options, self.choice
        m = AVERAGES[choice.average](self.kept("m", g), g, self.scalar(options.beta1))
        v = SQUARES[choice.square](self.kept("v", g), g, self.scalar(options.beta2))
        self.keep(m=m, v=v)
        c1, c2 = self.corrections()
        used, eps = v.maximum(0), self.scalar(options.eps)  # the difference form may leave less than zero
        if options.amsgrad is AMSGrad.RAW:
            used = self.keep_maximum(used)
        if choice.whole is not None:
            return WHOLE[options.epsilon][choice.whole](rate, m, used, c1, c2, eps)
        if options.amsgrad is AMSGrad.CORRECTED:
            v_hat = self.keep_maximum(used / c2)
            root = sqrt(v_hat + eps) if options.epsilon is Epsilon.INSIDE else sqrt(v_hat)
        elif options.epsilon is Epsilon.INSIDE:
            root = sqrt((used * (1 / c2) if choice.root == "reciprocal" else used / c2) + eps)
        else:
            root = ROOTS[choice.root](used, c2)
        below = root
        if options.epsilon is not Epsilon.INSIDE:
            below = root + (eps / sqrt(c2) if options.epsilon is Epsilon.HAT else eps)
        return DIRECTIONS[choice.direction](rate, m, c1, below)

    def _sgd(self, g, rate):
        options, choice = self.options, self.choice.buffer
        dampened = options.dampen_first_step or self.taken > 1
        scale = self.scalar(1.0 - options.dampening) if dampened and options.dampening else None
        entering = g if scale is None else g * scale
        b, mu = self.kept("buffer", g), self.scalar(options.momentum)
        if options.momentum_form is Momentum.LR_INSIDE:
            late = choice == "late" and scale is not None
            new = b * mu + ((g * rate) * scale if late else rate * entering)
            self.keep(buffer=new)
            return None, (rate * g + new * mu if options.nesterov else new)
        new = b * mu + entering
        self.keep(buffer=new)
        if not options.nesterov:
            return rate, new
        if choice == "late":
            return None, rate * g + rate * (mu * new)
        return rate, g + mu * new

    def _decayed(self, theta, factor, direction, rate, eta):
        options, choice = self.options, self.choice.decay
        if choice == "Optax" and factor is rate:
            return theta - rate * (direction + self.scalar(options.weight_decay) * theta)
        u = direction if factor is None else factor * direction
        if not self.rule.decoupled:
            return theta - u
        if choice == "Optax":
            choice = "one sum"
        return DECAYS[options.order][choice](theta, u, self._coefficient(rate, eta))

    def _coefficient(self, rate, eta):
        wd = self.scalar(self.options.weight_decay)
        match self.options.law:
            case DecayLaw.LR_WD:
                return rate * wd
            case DecayLaw.SCHEDULE_WD:
                return self.scalar(float(eta)) * wd
            case DecayLaw.WD:
                return wd


def rounded_like(array, storage):
    """Return `array` as values that a format holds."""
    return Machine(storage).round(np.asarray(array, dtype=np.float64))
