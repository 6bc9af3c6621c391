"""The four rules under one signature, so that a caller can hold "a rule" without knowing its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .adam import AdamState, adam_init, adam_l2, adamw
from .decay import Float64Array
from .options import AdamOptions, AdamWOptions, SGDOptions, SGDWOptions
from .roundoff import adam_roundoff_init, adam_threshold, sgd_roundoff_init, sgd_threshold
from .sgd import SGDState, sgd_init, sgd_l2, sgdw

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
    roundoff: Any


def track(theta: Float64Array, options: Options) -> Tracked:
    """Return the tracked state before the first step on parameters of the shape of `theta`."""
    if isinstance(options, AdamOptions):
        return Tracked(adam_init(theta, options), adam_roundoff_init(theta, options))
    return Tracked(sgd_init(theta), sgd_roundoff_init(theta))


def tracked_step(
    rule: Rule,
    theta: Float64Array,
    grad: Float64Array,
    tracked: Tracked,
    options: Options,
    schedule_multiplier: float = 1.0,
) -> tuple[Float64Array, Float64Array, Tracked]:
    """Return (theta_t, threshold, tracked state) of one step of `rule` from `theta`, taken as exact.

    A float64 implementation of `rule` that started the step at `theta` lies within the threshold of
    theta_t in every element; where the threshold is not finite, nothing can be said.
    """
    arguments = (theta, grad, tracked.state)
    new_theta, state = rule.step(*arguments, options, schedule_multiplier)
    threshold: Float64Array
    roundoff: Any
    if isinstance(options, AdamOptions):
        threshold, roundoff = adam_threshold(*arguments, tracked.roundoff, options, schedule_multiplier, after=state)
    else:
        threshold, roundoff = sgd_threshold(*arguments, tracked.roundoff, options, schedule_multiplier)
    return new_theta, threshold, Tracked(state, roundoff)
