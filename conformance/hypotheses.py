"""The hypotheses a trajectory is held against: the four rules, along every axis on which they vary.

A hypothesis is a rule with options. What an optimizer holds (betas, eps, momentum ...) is taken from it;
what it does with them - law, order, place of epsilon, bias correction, maximum, momentum form - is open,
and every combination is a hypothesis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..adapters.protocol import Cast
from ..reference import RULES, AMSGrad, BiasCorrection, DecayLaw, DecayOrder, Epsilon, Momentum, Rule
from ..reference.options import InvalidOption
from ..reference.rules import Options
from .casts import BIAS_CORRECTION, EVERYWHERE, as_used


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A rule of the reference, with the options under which it is tried."""

    rule: Rule
    options: Options
    casts: tuple[Cast, ...] = ()
    """Roundings on use that the options already include, and the learning rate of a step still needs."""
    constant: str = "none"
    """The constant that was changed in it, where one was."""

    def axes(self) -> dict[str, str]:
        """Return what the hypothesis says on every axis, by axis name."""
        named = {"rule": self.rule.name, "casts": _described(self.casts), "constant": self.constant}
        named |= {axis: str(getattr(self.options, axis)) for axis in AXES if hasattr(self.options, axis)}
        return named


def _described(casts: tuple[Cast, ...]) -> str:
    """Return what is rounded, the same way for the same casts; `none` where nothing is."""
    return "; ".join(f"{cast.hyperparameter} to {cast.dtype} {cast.use}" for cast in casts) or "none"


AXES: Mapping[str, tuple[Any, ...]] = {
    "law": tuple(DecayLaw),
    "order": tuple(DecayOrder),
    "epsilon": tuple(Epsilon),
    "bias_correction": tuple(BiasCorrection),
    "amsgrad": tuple(AMSGrad),
    "momentum_form": tuple(Momentum),
    "nesterov": (False, True),
    "dampen_first_step": (True, False),
}
"""Axis -> its values, the most common first."""


_RULES = {"adam": ("adamw", "adam_l2"), "sgd": ("sgdw", "sgd_l2")}
"""Decoupled first: where the two are the same algebra, that name is given."""
_VALUES = {
    "adam": ("lr", "weight_decay", "beta1", "beta2", "eps"),
    "sgd": ("lr", "weight_decay", "momentum", "dampening"),
}
_ADAM_ONLY = frozenset({"beta1", "beta2", "eps"})


def hypotheses(held: Mapping[str, Any], casts: tuple[Cast, ...]) -> tuple[Hypothesis, ...]:
    """Return every hypothesis for an optimizer that holds `held`; none where it is neither Adam- nor SGD-like.

    Adam-like holds beta1, beta2 and eps; SGD-like holds none of them. None either where a value lies outside
    the range on which the rules are defined (a negative learning rate, beta1 = 1). Values are taken as used,
    that is, rounded where `casts` say so.
    """
    adam_like = _ADAM_ONLY & _numbers(held)
    if adam_like and adam_like != _ADAM_ONLY:
        return ()
    family = "adam" if adam_like else "sgd"
    values = {name: float(held[name]) for name in _VALUES[family] if name in _numbers(held)}
    if not {"lr", "weight_decay"} <= values.keys():
        return ()
    try:
        return tuple(
            Hypothesis(RULES[rule], options, casts)
            for rule in _RULES[family]
            for options in _variants(RULES[rule], _used(values, casts), held)
        )
    except InvalidOption:
        return ()


def _numbers(held: Mapping[str, Any]) -> set[str]:
    return {name for name, value in held.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def _used(values: Mapping[str, float], casts: tuple[Cast, ...]) -> dict[str, float]:
    """Return `values` as used, with the betas of the bias correction apart where they are rounded there only."""
    # The learning rate is rounded step by step, after the schedule: see `multiplier_as_used`.
    used = as_used(values, (cast for cast in casts if cast.hyperparameter != "lr"), EVERYWHERE)
    corrected = as_used(used, casts, BIAS_CORRECTION)
    for beta in ("beta1", "beta2"):
        if beta in used and corrected[beta] != used[beta]:
            used[f"correction_{beta}"] = corrected[beta]
    return used


def _variants(rule: Rule, values: Mapping[str, float], held: Mapping[str, Any]) -> Iterator[Options]:
    """Yield the rule's options over all axes that can show at these values."""
    names = {field.name for field in fields(rule.options)}
    axes = {axis: _open_values(axis, choices, values, held) for axis, choices in AXES.items() if axis in names}
    for combination in itertools.product(*axes.values()):
        arguments: dict[str, Any] = {**values, **dict(zip(axes, combination, strict=True))}
        yield rule.options(**arguments)


_SHOWS: Mapping[str, Callable[[Mapping[str, float], Mapping[str, Any]], bool]] = {
    "law": lambda values, held: values["weight_decay"] != 0.0,
    "order": lambda values, held: values["weight_decay"] != 0.0,
    "amsgrad": lambda values, held: bool(held.get("amsgrad")),
    "momentum_form": lambda values, held: values.get("momentum", 0.0) != 0.0,
    "nesterov": lambda values, held: values.get("momentum", 0.0) != 0.0,
    "dampen_first_step": lambda values, held: values.get("dampening", 0.0) != 0.0,
}
"""Axis -> whether its values differ in effect; an axis that is not here always may."""


def _open_values(
    axis: str, choices: tuple[Any, ...], values: Mapping[str, float], held: Mapping[str, Any]
) -> tuple[Any, ...]:
    shows = _SHOWS.get(axis)
    return choices if shows is None or shows(values, held) else choices[:1]


def multiplier_as_used(hypothesis: Hypothesis, multiplier: float) -> float:
    """Return eta_t such that eta_t * alpha is the learning rate of the step after it was rounded."""
    lr = hypothesis.options.lr
    used = as_used({"lr": multiplier * lr}, hypothesis.casts)["lr"]
    return multiplier if used == multiplier * lr else used / lr


def options_in_step(hypothesis: Hypothesis, changed: Mapping[str, float]) -> Options:
    """Return the options in a step in which the hyperparameters `changed` have other values.

    Those win over a constant that was changed in the hypothesis. Raises `InvalidOption` for a value out of range.
    """
    if not changed:
        return hypothesis.options
    values = {name: value for name, value in changed.items() if hasattr(hypothesis.options, name)}
    corrections: dict[str, Any] = {f"correction_{name}": None for name in values if name.startswith("beta")}
    return replace(hypothesis.options, **{**corrections, **_used(values, hypothesis.casts)})


def with_casts(hypothesis: Hypothesis, held: Mapping[str, Any], casts: tuple[Cast, ...]) -> Hypothesis | None:
    """Return the hypothesis with `casts` in place of its own; None where that changes nothing or is not defined."""
    plain: dict[str, Any] = {
        field.name: None for field in fields(hypothesis.options) if field.name.startswith("correction_")
    }
    values = {name: float(held[name]) for name in _numbers(held) if hasattr(hypothesis.options, name)}
    try:
        options = replace(hypothesis.options, **{**plain, **_used(values, casts)})
    except InvalidOption:
        return None
    rounds_lr = any(cast.hyperparameter == "lr" for cast in casts)
    if casts == hypothesis.casts or (casts and options == hypothesis.options and not rounds_lr):
        return None
    return Hypothesis(hypothesis.rule, options, casts)


def neighbours(accepted: Hypothesis, everything: Iterable[Hypothesis], held: Mapping[str, Any]) -> list[Hypothesis]:
    """Return the rivals of `accepted`: all that differ from it in one axis, and the same on the other kind of decay.

    Law and order belong to decoupled decay alone, so L2 is one axis away from every one of them.
    """
    own = accepted.axes()
    rivals = []
    for other in everything:
        axes = other.axes()
        shared = own.keys() & axes.keys()
        if sum(own[axis] != axes[axis] for axis in shared) == 1:
            rivals.append(other)
    plain = with_casts(accepted, held, ())
    return rivals if plain is None else [*rivals, plain]


def label(rival: Hypothesis, own: Hypothesis) -> str:
    """Return the rival's name: its rule, and in brackets the axis on which it differs from `own`."""
    mine, theirs = own.axes(), rival.axes()
    differing = [axis for axis in theirs if axis != "rule" and mine.get(axis, theirs[axis]) != theirs[axis]]
    extra = [axis for axis in ("law", "order") if axis in theirs and axis not in mine]
    shown = ",".join(f"{axis}={theirs[axis]}" for axis in (*differing, *extra))
    return f"{rival.rule.name}[{shown}]" if shown else rival.rule.name
