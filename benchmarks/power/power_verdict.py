"""What the figures say: which pairs cannot be told apart, and why. Two tables of data and their use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from power_run import FAMILIES, Matrix, Run

from optconform.reference.formats import FORMATS

IDENTITY, BELOW_ROUNDING = "identity", "below rounding"


@dataclass(frozen=True, slots=True)
class Identity:
    """Kinds that are the same algebra, so that no run can tell them apart."""

    families: tuple[str, ...]
    names: tuple[str, ...]
    """The plainest first."""
    why: str


IDENTITIES = (
    Identity(
        tuple(FAMILIES),
        ("none", "ignored"),
        "An option without effect is no option.",
    ),
    Identity(
        ("plain sgd",),
        ("lr*wd", "l2", "lr inside", "nesterov"),
        "Without momentum L2 and the law lr*wd are both theta - lr*(g + wd*theta), under any schedule, and there is "
        "no buffer that the learning rate could be inside of or that Nesterov's step could look ahead along.",
    ),
)

COMMON: Mapping[str, str] = MappingProxyType(
    {"decay": "lr*wd", "order": "previous", "epsilon": "outside", "correction": "on", "momentum": "common"}
)
ASPECTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ignored": {"decay": "none"},
        "lr*wd": {},
        "post-update": {"order": "updated"},
        "proximal": {"order": "proximal"},
        "eps hat": {"epsilon": "hat"},
        "eps inside": {"epsilon": "inside"},
        "no correction": {"correction": "off"},
        "off by one": {"correction": "off by one"},
        "lr inside": {"momentum": "lr inside"},
        "nesterov": {"momentum": "nesterov"},
    }
)
"""Kind -> where it departs from the common form; one that is not here departs in its decay, by its own name."""

TOO_SMALL: Mapping[str, str] = MappingProxyType(
    {
        "decay": "The decays are of about {decay:.2g} of theta in a step",
        "order": "The orders of decay and step differ by lr*wd of a step that is about lr long, that is {order:.2g}",
        "epsilon": "The places of eps differ only where gradients are about as small as eps = {eps:g} (the least "
        "number above 0 is {least:.0e}), in a step that is about lr = {lr:g} long",
        "correction": "The bias corrections differ by a part of a step that is about lr = {lr:g} long",
        "momentum": "The buffers differ by a part of a step that is about lr = {lr:g} times a sum of gradients long",
    }
)
"""Aspect -> why a difference in it can be too small to see, with the magnitude."""
FACTORS = "The factors 1 - c and 1/(1 + c) differ by the square of c = lr*wd, that is {factors:.2g} of theta"
"""The same for the two orders in which decay comes last."""
AGAINST = "; one rounding to {dtype} is up to {unit:.1g} of theta."
LARGE_DECAYS = frozenset({"schedule*wd", "wd"})
"""Decays of about wd, where all others are of about lr*wd."""


def identity(family: str, truth: str, rule: str) -> Identity | None:
    """Return the identity that makes the two kinds one, if there is one."""
    both = {truth, rule}
    return next((each for each in IDENTITIES if family in each.families and both <= set(each.names)), None)


def aspects(family: str, name: str) -> dict[str, str]:
    """Return what a kind is in every respect; kinds that are the same algebra are the same."""
    same = identity(family, name, name)
    plainest = same.names[0] if same else name
    return {**COMMON, **ASPECTS.get(plainest, {"decay": plainest})}


def reasons(run: Run, truth: str, rule: str) -> list[str]:
    """Return why a pair lies below rounding: a sentence with the magnitudes for every aspect in which it differs."""
    one, other = aspects(run.family, truth), aspects(run.family, rule)
    values, kept = run.hyperparameters, FORMATS[run.dtype]
    lr_wd = values["lr"] * values["weight_decay"]
    decays = {one["decay"], other["decay"]}
    decay = values["weight_decay"] if decays & LARGE_DECAYS else lr_wd
    if "l2" in decays:  # the buffer sums up what enters it
        decay = max(decay, lr_wd / (1.0 - values.get("momentum", 0.0)))
    figures = {
        "lr": values["lr"],
        "order": lr_wd * values["lr"],
        "factors": lr_wd * lr_wd,
        "decay": decay,
        "eps": values.get("eps", 0.0),
        "least": kept.smallest_subnormal,
        "dtype": run.dtype,
        "unit": kept.unit_roundoff,
    }
    differing = [aspect for aspect in COMMON if one[aspect] != other[aspect]]
    both_last = COMMON["order"] not in (one["order"], other["order"])
    told = [FACTORS if aspect == "order" and both_last else TOO_SMALL[aspect] for aspect in differing]
    return [(reason + AGAINST).format(**figures) for reason in told]


def undecided(run: Run, matrix: Matrix) -> list[dict[str, Any]]:
    """Return every pair of a truth and another rule that is not rejected, with its class and the reasons."""
    pairs = []
    for row, kind in enumerate(run.kinds):
        for column, rule in enumerate(run.rules):
            if rule == kind.rule or matrix.factor[row, column] > 1.0:
                continue
            same = identity(run.family, kind.name, rule)
            pairs.append(
                {
                    "truth": kind.name,
                    "rule": rule,
                    "factor": rounded(matrix.factor[row, column]),
                    "apart": rounded(matrix.apart[row, column]),
                    "class": IDENTITY if same else BELOW_ROUNDING,
                    "reasons": [same.why] if same else reasons(run, kind.name, rule),
                }
            )
    return pairs


def outside(run: Run, matrix: Matrix) -> list[dict[str, Any]]:
    """Return every truth that left the bound of its own rule; there is none unless the bound is wrong."""
    own = [(row, kind, list(run.rules).index(kind.rule)) for row, kind in enumerate(run.kinds) if kind.rule]
    return [
        {"truth": kind.name, "rule": kind.rule, "ratio": rounded(matrix.factor[row, column])}
        for row, kind, column in own
        if matrix.factor[row, column] > 1.0
    ]


def rounded(figure: float) -> float | None:
    """Return three significant digits; None for a figure that is not finite: a bound of 0, or no figure at all."""
    figure = float(figure)
    return float(f"{figure:.3g}") if abs(figure) < float("inf") else None
