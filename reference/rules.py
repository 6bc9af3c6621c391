"""The four rules under one signature, so that a caller can hold "a rule" without knowing its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from .adam import AdamState, adam_init, adam_l2, adamw
from .adam_bound import adam_bound, adam_no_error
from .arithmetic import Arithmetic, arithmetic
from .decay import Float64Array
from .options import AdamOptions, AdamWOptions, SGDOptions, SGDWOptions
from .sgd import SGDState, sgd_init, sgd_l2, sgdw
from .sgd_bound import sgd_bound, sgd_no_error

State = SGDState | AdamState
Options = SGDOptions | AdamOptions
StepFunction = Callable[[Float64Array, Float64Array, Any, Any, float], tuple[Float64Array, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """An update rule: its pure step function and the options it takes."""

    name: str
    options: type[Options]
    step: StepFunction
    """(theta, grad, state, options, schedule_multiplier) -> (new theta, new state)."""

    @property
    def decoupled(self) -> bool:
        """Whether weight decay stays out of the gradient."""
        return issubclass(self.options, SGDWOptions | AdamWOptions)

    @property
    def family(self) -> str:
        """`adam` or `sgd`."""
        return "adam" if issubclass(self.options, AdamOptions) else "sgd"


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Rule("sgd_l2", SGDOptions, sgd_l2),
            Rule("sgdw", SGDWOptions, sgdw),
            Rule("adam_l2", AdamOptions, adam_l2),
            Rule("adamw", AdamWOptions, adamw),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A rule's state together with the running bound on its rounding errors."""

    state: Any
    error: Any


FLOAT64 = arithmetic("float64")


def track(theta: Float64Array, options: Options) -> Tracked:
    """Return the tracked state before the first step on parameters of the shape of `theta`."""
    if isinstance(options, AdamOptions):
        return Tracked(adam_init(theta, options), adam_no_error(theta, options))
    return Tracked(sgd_init(theta), sgd_no_error(theta))


def tracked_step(
    rule: Rule,
    theta: Float64Array,
    grad: Float64Array,
    tracked: Tracked,
    options: Options,
    schedule_multiplier: float = 1.0,
    arithmetic: Arithmetic = FLOAT64,
    theta_error: Float64Array | float = 0.0,
) -> tuple[Float64Array, Float64Array, Tracked]:
    """Return (theta_t, P, tracked state) of one step of `rule` from `theta`, which is off by `theta_error` at most.

    An implementation of `rule` in `arithmetic` that started the step there lies within
    `arithmetic.allowance * P` of theta_t in every element; where P is not finite, nothing can be said.
    """
    with np.errstate(all="ignore"):  # where an implementation overflows, so may the reference beside it
        new_theta, state = rule.step(theta, grad, tracked.state, options, schedule_multiplier)
    bound_of: Any = adam_bound if isinstance(options, AdamOptions) else sgd_bound
    bound, error = bound_of(
        theta,
        grad,
        tracked.state,
        tracked.error,
        options,
        schedule_multiplier,
        after=state,
        new_theta=new_theta,
        arithmetic=arithmetic,
        theta_error=theta_error,
    )
    return new_theta, bound, Tracked(state, error)
