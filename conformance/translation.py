"""The hyperparameters with which one optimizer would walk another's path, as far as algebra has any.

What is found here are candidates and reasons; that a candidate does it is for a replay to say (`compare`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..adapters.options import accepts, default_of
from ..adapters.protocol import Target
from ..reference.adam import bias_corrections
from ..reference.decay import decay_coefficient
from ..reference.options import AdamOptions, AdamWOptions, BiasCorrection, DecayLaw, DecayOrder, Epsilon, SGDWOptions
from ..reference.rules import Options
from .axis_differences import VALUES, differences
from .hypotheses import Hypothesis


@dataclass(frozen=True, slots=True)
class Obstacle:
    """An axis whose difference no hyperparameter makes up for, and why."""

    axis: str
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hyperparameters to try, and what stands in the way of their being exact."""

    values: Mapping[str, Any]
    """Canonical name -> value; only what has to change."""
    obstacles: tuple[Obstacle, ...]
    switches: bool = False
    """Whether options among them choose on an axis, so that what is followed with them remains to be seen."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """The rule to be followed, the rule that is to follow it, and the schedule along which it must."""

    own: Hypothesis
    other: Hypothesis
    multipliers: Sequence[float]
    """Every schedule multiplier above 0 that occurs, each once."""
    steps: int
    """Steps of the longest trace."""

    @property
    def constant_rate(self) -> bool:
        return len(self.multipliers) <= 1

    @property
    def decays(self) -> bool:
        return self.own.options.weight_decay != 0.0

    @property
    def memoryless(self) -> bool:
        """Whether neither side carries gradients from step to step: SGD without momentum."""
        return all(getattr(each.options, "momentum", 1.0) == 0.0 for each in (self.own, self.other))


def _eps(pair: _Pair) -> float:
    return float(getattr(pair.own.options, "eps", 0.0))


def _epsilon_reason(pair: _Pair) -> str:
    """Return why no epsilon makes up for another place of it, with the values that it would need to have."""
    own, other = pair.own.options, pair.other.options
    assert isinstance(own, AdamOptions), "the axis is Adam's alone"
    assert isinstance(other, AdamOptions), "the axis is Adam's alone"
    if Epsilon.INSIDE in (own.epsilon, other.epsilon):
        return "inside the root and outside of it, what makes up for epsilon changes from element to element"
    first, last = (math.sqrt(bias_corrections(step, own)[1]) for step in (1, pair.steps))
    needed = (own.eps * first, own.eps * last) if other.epsilon is Epsilon.HAT else (own.eps / first, own.eps / last)
    return (
        f"it is added to {_PLACES[own.epsilon]} in A, to {_PLACES[other.epsilon]} in B, where it would have to be "
        f"{needed[0]:.3g} in step 1 and {needed[1]:.3g} in step {pair.steps}"
    )


_PLACES = {Epsilon.OUTSIDE: "sqrt(vhat)", Epsilon.HAT: "the uncorrected sqrt(v)"}


def _same_epsilon(pair: _Pair) -> bool:
    """Whether both places of epsilon come to the same: without epsilon, or without a correction to divide it by."""
    places = {getattr(each.options, "epsilon", None) for each in (pair.own, pair.other)}
    uncorrected = getattr(pair.own.options, "bias_correction", None) is BiasCorrection.OFF
    return _eps(pair) == 0.0 or (uncorrected and places == {Epsilon.OUTSIDE, Epsilon.HAT})


def _laws(pair: _Pair) -> set[DecayLaw]:
    return {law for each in (pair.own, pair.other) if (law := _law(each.options)) is not None}


def _law(options: Options) -> DecayLaw:
    """Return the law of decay; of L2, which reaches the parameters multiplied by the learning rate, `lr*wd`."""
    return getattr(options, "law", DecayLaw.LR_WD)


def _order(options: Options) -> DecayOrder:
    """Return the order of decay; L2 reads the parameters before the step."""
    return getattr(options, "order", DecayOrder.PREVIOUS)


def _steady(pair: _Pair) -> bool:
    """Whether the coefficient of decay is the same in every step."""
    return pair.constant_rate or _laws(pair) == {DecayLaw.WD}


_AFTER_THE_STEP = frozenset({DecayOrder.UPDATED, DecayOrder.PROXIMAL})

_EXACT: Mapping[str, tuple[Callable[[_Pair], bool], str | Callable[[_Pair], str]]] = {
    "rule": (
        lambda pair: pair.own.rule.family == pair.other.rule.family and (not pair.decays or pair.memoryless),
        "no coefficient makes L2 and decoupled decay the same under a memory of gradients or a preconditioner",
    ),
    "law": (
        lambda pair: not pair.decays or pair.constant_rate or DecayLaw.WD not in _laws(pair),
        "the learning rate changes along the trace, and only one of the two decays follows it",
    ),
    "order": (
        lambda pair: (
            not pair.decays
            or (_steady(pair) and {_order(pair.own.options), _order(pair.other.options)} <= _AFTER_THE_STEP)
        ),
        "one decays the parameters before the step, the other after it: they differ by the coefficient times the step",
    ),
    "epsilon": (
        _same_epsilon,
        _epsilon_reason,
    ),
    "bias_correction": (
        lambda pair: False,
        "the moments are divided by another power of beta, whose effect changes from step to step",
    ),
    "amsgrad": (lambda pair: False, "the denominator takes another maximum"),
    "momentum_form": (
        lambda pair: pair.constant_rate,
        "the learning rate changes along the trace, and only one of the two buffers holds the old rates",
    ),
    "nesterov": (lambda pair: False, "one steps ahead of its buffer (Nesterov), the other along it"),
    "dampen_first_step": (lambda pair: False, "only one of the two dampens the first gradient"),
    "casts": (
        lambda pair: False,
        "one rounds hyperparameters to another precision before it uses them; compare in that precision",
    ),
}
"""Axis -> (whether hyperparameters carry over its difference exactly, why they do not where they do not)."""


def _proximal(coefficient: float) -> float:
    """Return the p of theta / (1 + p) = theta * (1 - c); c itself where nothing is left, which no division does."""
    return coefficient / (1.0 - coefficient) if coefficient < 1.0 else coefficient


_RETAINED: Mapping[tuple[DecayOrder, DecayOrder], Callable[[float], float]] = {
    (DecayOrder.UPDATED, DecayOrder.PROXIMAL): _proximal,
    (DecayOrder.PROXIMAL, DecayOrder.UPDATED): lambda p: p / (1.0 + p),
}
"""(order to be followed, order that follows) -> coefficient of the second that leaves as much of theta."""

_SWITCHES: Mapping[str, tuple[str, ...]] = {
    "rule": ("decoupled_weight_decay", "weight_decouple", "decoupled_decay", "decoupled", "decouple"),
    "nesterov": ("nesterov",),
    "amsgrad": ("amsgrad",),
    "bias_correction": ("bias_correction",),
}
"""Axis -> options of a constructor that choose on it, in the order in which they are looked for."""

_CHOICE: Mapping[str, Callable[[Hypothesis], bool]] = {
    "rule": lambda own: own.rule.decoupled,
    "nesterov": lambda own: bool(getattr(own.options, "nesterov", False)),
    "amsgrad": lambda own: getattr(own.options, "amsgrad", "off") != "off",
    "bias_correction": lambda own: getattr(own.options, "bias_correction", None) is not BiasCorrection.OFF,
}
"""Axis -> what such an option is set to."""


def translated(
    own: Hypothesis, other: Hypothesis, target: Target, options: Mapping[str, Any], schedules: Sequence[Sequence[float]]
) -> Candidate:
    """Return the hyperparameters with which `target`, which walks `other`, comes nearest to `own`.

    `options` are those that it was built with, `schedules` the learning-rate multipliers of every trace, step by
    step. Every value is `own`'s, but for weight decay, which is such that as much of the parameters is left. Where
    an axis differs that an option of the target's constructor chooses, that is set too.
    """
    multipliers = dict.fromkeys(each for schedule in schedules for each in schedule if each > 0.0)
    pair = _Pair(own, other, tuple(multipliers), max(map(len, schedules)))
    values: dict[str, Any] = {}
    obstacles: list[Obstacle] = []
    for each in differences(own, other):
        if each.name in VALUES:
            continue
        exact, why = _EXACT[each.name]
        switch = next((name for name in _SWITCHES.get(each.name, ()) if _is_switch(target, name, options)), None)
        if switch is not None:
            values[switch] = _CHOICE[each.name](own)
        elif not exact(pair):
            obstacles.append(Obstacle(each.name, why if isinstance(why, str) else why(pair)))
    if own.rule.family != other.rule.family:
        return Candidate({}, (Obstacle("rule", "SGD and Adam make different steps of the same gradients"),))
    switched = any(name in values for name in _SWITCHES["rule"])
    for name, wanted in _wanted(pair, carries_decay_over=not switched).items():
        if wanted in (getattr(other.options, name), options.get(name, default_of(target, name))):
            continue
        if accepts(target, name):
            values[name] = wanted
        else:
            obstacles.append(Obstacle(name, f"it has no option for it: {name} would have to be {wanted:.6g}"))
    return Candidate(values, tuple(obstacles), any(isinstance(value, bool) for value in values.values()))


def _is_switch(target: Target, name: str, options: Mapping[str, Any]) -> bool:
    """Whether the target's constructor has the option, by its signature: one that takes any keyword does not."""
    return isinstance(options.get(name, default_of(target, name)), bool)


def _wanted(pair: _Pair, *, carries_decay_over: bool) -> dict[str, float]:
    """Return the value of every hyperparameter that the two have in common."""
    wanted = {
        name: float(getattr(pair.own.options, name))
        for name in VALUES
        if hasattr(pair.own.options, name) and hasattr(pair.other.options, name)
    }
    if carries_decay_over:
        wanted["weight_decay"] = _weight_decay(pair)
    return wanted


def _weight_decay(pair: _Pair) -> float:
    """Return the weight decay of the other that leaves as much of theta in a step."""
    own, other = pair.own.options, replace(pair.other.options, lr=pair.own.options.lr)
    orders = _order(own), _order(other)
    if not pair.decays or (_law(own) is _law(other) and orders not in _RETAINED):
        return own.weight_decay
    multiplier = pair.multipliers[0] if pair.multipliers else 1.0
    coefficient = _RETAINED.get(orders, float)(_coefficient(own, multiplier))
    unit = _coefficient(replace(other, weight_decay=1.0), multiplier)
    return coefficient / unit if unit else own.weight_decay


def _coefficient(options: Options, multiplier: float) -> float:
    """Return c_t, of L2 what a memoryless step makes of it: eta_t * alpha * lambda."""
    if isinstance(options, SGDWOptions | AdamWOptions):
        return decay_coefficient(options, multiplier)
    return multiplier * options.lr * options.weight_decay


def values_in_common(
    first_held: Mapping[str, Any], second_held: Mapping[str, Any], target: Target, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the hyperparameters that both hold and that differ, as the first holds them, for the second to take.

    It is what is left to try where a trajectory follows no rule of the reference. `options` are those that
    `target`, the second, was built with.
    """
    return {
        name: value
        for name in VALUES
        if isinstance(value := first_held.get(name), int | float)
        and name in second_held
        and value not in (second_held[name], options.get(name, default_of(target, name)))
        and accepts(target, name)
    }
