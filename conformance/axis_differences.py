"""Where two hypotheses differ: axes of the rule, and hyperparameters; and what one difference alone would change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..reference.options import InvalidOption
from .hypotheses import Hypothesis, with_casts

KIND, CASTS = "rule", "casts"
"""Axes that are not a field of the options."""
VALUES = ("lr", "weight_decay", "beta1", "beta2", "eps", "momentum", "dampening")
"""Hyperparameters, under their canonical names, in the order in which they are shown."""
DECAY = frozenset({KIND, "law", "order", "weight_decay"})
"""What together decides how much decay there is: differences here may make up for each other."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One axis or hyperparameter in which two optimizers differ."""

    name: str
    """Of an axis (`rule`, `law`, `epsilon`, ...) or of a hyperparameter (`lr`, `eps`, ...)."""
    first: str | float
    second: str | float
    shows: bool | None = None
    """Whether it alone takes the first optimizer's rule off its own trajectory; None where that was not tried."""
    step: int | None = None
    """The first step in which it does."""


def differences(first: Hypothesis, second: Hypothesis) -> list[Difference]:
    """Return every axis and hyperparameter in which the two differ, those that one of them lacks left out."""
    axes, others = first.axes(), second.axes()
    named = [name for name in axes if name in others and name != "constant" and axes[name] != others[name]]
    found = [Difference(name, axes[name], others[name]) for name in named]
    for name in VALUES:
        here, there = getattr(first.options, name, None), getattr(second.options, name, None)
        if here is not None and there is not None and here != there:
            found.append(Difference(name, here, there))
    return found


def nearest_pair(
    first: Iterable[Hypothesis], second: Iterable[Hypothesis]
) -> tuple[Hypothesis, Hypothesis, list[Difference]]:
    """Return the pair with the fewest differences, one of each: what cannot be told apart is not held to differ."""
    pairs = ((one, other, differences(one, other)) for one, other in itertools.product(first, second))
    return min(pairs, key=lambda pair: len(pair[2]))


def with_differences(
    own: Hypothesis, held: Mapping[str, Any], other: Hypothesis, found: Iterable[Difference]
) -> Hypothesis | None:
    """Return `own` with differences taken over from `other`; None where that is not defined.

    `held` are the hyperparameters that the optimizer of `own` holds.
    """
    changed: Hypothesis | None = own
    for each in found:
        if changed is None:
            return None
        try:
            changed = _with(changed, held, other, each.name)
        except InvalidOption:
            return None
    return changed


def _with(own: Hypothesis, held: Mapping[str, Any], other: Hypothesis, name: str) -> Hypothesis | None:
    if name == KIND:
        return _of_rule(own, other)
    if name == CASTS:
        return with_casts(own, held, other.casts)
    if not hasattr(own.options, name):  # law and order, where the kind of decay has neither
        return own
    return replace(own, options=replace(own.options, **{name: getattr(other.options, name)}))


def _of_rule(own: Hypothesis, other: Hypothesis) -> Hypothesis:
    """Return `own` under the rule of `other`, with its law and order; of another family, `other` as it is."""
    if own.rule.family != other.rule.family:
        return other
    names = {field.name for field in fields(other.rule.options)}
    values = {name: getattr(own.options, name, getattr(other.options, name)) for name in names}
    return replace(own, rule=other.rule, options=other.rule.options(**values))
