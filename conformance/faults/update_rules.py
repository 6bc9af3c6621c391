"""The update rules that faults are planted in, each written once, in operations that every framework has.

Sound, they take in step t, with learning rate lr_t and gradient g of one parameter theta, the step u, and decay
adds to it (|.| is the length of a tensor):

    adam     m <- beta1*m + (1 - beta1)*g;  v <- beta2*v + (1 - beta2)*g*g;  c_i = 1 - beta_i**t
             u = lr_t * (m/c_1) / (sqrt(v/c_2) + eps)
    sgd      b <- momentum*b + g;  u = lr_t * b
    lion     u = lr_t * sign(beta1*m + (1 - beta1)*g);  m <- beta2*m + (1 - beta2)*g
    rmsprop  v <- rho*v + (1 - rho)*g*g;  u = lr_t * g / (sqrt(v) + eps)
    trust    b <- momentum*b + g/|g|;  u = lr_t * r*b, with the damped trust ratio r = |theta|/(1 + |theta|)

    theta <- theta - u - lr_t*weight_decay*theta

`advance` takes one step of one parameter; the optimizers of the collection do nothing but walk through their
parameters with it. What a `Departure` changes stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .decays import Array, Rates, Scalar
from .departures import Departure, Maximize

SMALLEST_LENGTH = 1e-30
"""Keeps a gradient of zeros divisible by its length; lost in the rounding of any other gradient's length."""


@dataclass(frozen=True, slots=True)
class Operations:
    """What the rules need of a framework besides +, -, *, / and **."""

    sqrt: Callable[[Array], Array]
    sign: Callable[[Array], Array]
    length: Callable[[Array], Scalar]
    """Square root of the sum of squares."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one parameter."""

    theta: Array
    grad: Array
    state: Mapping[str, Array]
    """The rule's slots, zeros before the first step."""
    t: Scalar
    """Number of the step, counted from 1."""
    rates: Rates
    options: Mapping[str, Any]
    """Hyperparameters of the rule: those of `beta1`, `beta2`, `rho`, `momentum`, `eps` that it has."""
    maximize: bool = False
    dampened: bool = False
    """Whether what enters the momentum buffer is scaled by 1 - momentum: `Departure.dampened_foreach`, on that path."""


@dataclass(frozen=True, slots=True)
class Move:
    """What a rule does in one step: the step to be subtracted, its new state, and what it scaled the gradient by."""

    update: Array
    state: dict[str, Array]
    scale: Scalar = 1.0
    """The preconditioner or trust ratio, without the learning rate."""


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """One update rule: the state it keeps of each parameter, and the step it takes."""

    slots: tuple[str, ...]
    move: Callable[[Departure, Operations, Step], Move]


def _adam(departure: Departure, ops: Operations, step: Step) -> Move:
    beta1, beta2 = departure.betas(step.options["beta1"], step.options["beta2"])
    m = beta1 * step.state["m"] + (1.0 - beta1) * step.grad
    v = beta2 * step.state["v"] + (1.0 - beta2) * step.grad * step.grad
    c1, c2 = departure.corrections(beta1, beta2, step.t)
    denominator = departure.denominator(v, c2, step.options["eps"], ops.sqrt)
    return Move(step.rates.lr * (m / c1) / denominator, {"m": m, "v": v}, 1.0 / denominator)


def _rmsprop(departure: Departure, ops: Operations, step: Step) -> Move:
    rho = step.options["rho"]
    v = rho * step.state["v"] + (1.0 - rho) * step.grad * step.grad
    denominator = departure.denominator(v, 1.0, step.options["eps"], ops.sqrt)
    return Move(step.rates.lr * step.grad / denominator, {"v": v}, 1.0 / denominator)


def _lion(departure: Departure, ops: Operations, step: Step) -> Move:
    (beta1, beta2), m = (step.options["beta1"], step.options["beta2"]), step.state["m"]
    update = step.rates.lr * ops.sign(beta1 * m + (1.0 - beta1) * step.grad)
    return Move(update, {"m": beta2 * m + (1.0 - beta2) * step.grad})


def _sgd(departure: Departure, ops: Operations, step: Step) -> Move:
    entering = step.rates.lr * step.grad if departure.lr_inside else step.grad
    if step.dampened:
        entering = (1.0 - step.options["momentum"]) * entering
    buffer = step.options["momentum"] * step.state["momentum"] + entering
    return Move(buffer if departure.lr_inside else step.rates.lr * buffer, {"momentum": buffer})


def _trust(departure: Departure, ops: Operations, step: Step) -> Move:
    direction = step.grad / (ops.length(step.grad) + SMALLEST_LENGTH)
    buffer = step.options["momentum"] * step.state["momentum"] + direction
    length = ops.length(step.theta)
    # Undamped, a step is proportional to theta, and decay of the updated parameters is decay of the previous ones.
    ratio = length / (1.0 + length)
    left = departure.left_in_buffer(buffer, step.theta, step.rates.weight_decay)
    return Move(step.rates.lr * ratio * buffer, {"momentum": left}, ratio)


ADAM = UpdateRule(("m", "v"), _adam)
SGD = UpdateRule(("momentum",), _sgd)
LION = UpdateRule(("m",), _lion)
RMSPROP = UpdateRule(("v",), _rmsprop)
TRUST = UpdateRule(("momentum",), _trust)


def advance(rule: UpdateRule, departure: Departure, ops: Operations, step: Step) -> tuple[Array, dict[str, Array]]:
    """Return theta_t and the new state of the rule's slots."""
    rates = replace(step.rates, lr=step.rates.base_lr) if departure.lr_of_construction else step.rates
    ascending = step.maximize and departure.maximize is Maximize.GRADIENT
    grad = departure.gradient(-step.grad if ascending else step.grad, step.theta, rates.weight_decay)
    moved = rule.move(departure, ops, replace(step, grad=grad, rates=rates))
    coefficient = departure.coefficient(rates)
    if departure.preconditioned:
        coefficient = coefficient * moved.scale
    update = moved.update * departure.factor_of_step()
    theta = departure.decay(step.theta, update, coefficient)
    if step.maximize and departure.maximize is Maximize.WHOLE_STEP:
        theta = step.theta + (step.theta - theta)
    return theta, moved.state
