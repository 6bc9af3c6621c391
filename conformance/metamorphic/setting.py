"""What a metamorphic check is given, what it returns, and how two runs are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...adapters.protocol import PLAIN, Layout, Optimizer
from ..pairing import rounding_of
from ..result import Severity
from ..subject import Arrays, Subject, read
from ..traces.trace import Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended."""

    outcome: str
    """`passed`, `failed` or `skipped`."""
    message: str
    """A sentence: what was found, or why it was not looked for."""
    parameter: str | None = None
    severity: Severity | None = None
    """Of the finding, where it is not that of the rule table."""
    code: str | None = None
    """The rule that fires, where it is not that of the check's row."""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """One optimizer, a few steps of a trace, and the hyperparameters at which it is looked at: the probe's."""

    subject: Subject
    theta: Arrays
    """theta_0 as the optimizer holds it, float64, by parameter name."""
    steps: Sequence[Step]
    values: Mapping[str, Any]
    compiled: bool = False
    """Whether paths that compile are to be run too: a step of one costs seconds."""

    def build(self, layout: Layout = PLAIN, **changed: Any) -> Optimizer:
        """Construct the optimizer from `theta` with the setting's hyperparameters, those `changed` apart."""
        return self.subject.build(self.theta, {**self.values, **changed}, layout)

    def lr(self, step: Step) -> float:
        """Return the learning rate of `step`."""
        return float(step.multiplier * self.values["lr"])

    def walk(self, optimizer: Optimizer, steps: Sequence[Step] | None = None) -> list[Arrays]:
        """Step `optimizer` through `steps` (all by default); return the parameters after each, in float64."""
        path = []
        for step in self.steps if steps is None else steps:
            optimizer.step(step.gradients, self.lr(step))
            path.append(read(optimizer))
        return path

    def farthest(self, one: Sequence[Arrays], other: Sequence[Arrays]) -> Distance:
        """Return where two paths from `theta` are farthest apart, in units of what rounding explains.

        Rounding is allowed gamma_16 of the magnitudes in every step so far: two evaluations of one rule, each
        rounding differently, carry their differences on.
        """
        rounding = rounding_of(self.subject.dtype)
        allowed = {name: np.abs(value) for name, value in self.theta.items()}
        worst = Distance(0.0, 0, "", 0.0)
        for index, (here, there) in enumerate(zip(one, other, strict=True), start=1):
            for name, value in here.items():
                allowed[name] = allowed[name] + np.abs(value) + np.abs(there[name])
                distance = np.abs(value - there[name])
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = np.where(value == there[name], 0.0, distance / (rounding * allowed[name]))
                ratio = np.where(np.isnan(ratio), np.inf, ratio)
                largest = float(np.max(ratio, initial=0.0))
                if largest > worst.ratio:
                    worst = Distance(largest, index, name, float(np.max(distance)))
        return worst


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two paths are apart where they are farthest."""

    ratio: float
    """In units of what rounding explains: above 1 they differ."""
    step: int
    parameter: str
    absolute: float

    def evidence(self) -> dict[str, Any]:
        """Return the figures as evidence of a finding."""
        return {"ratio": self.ratio, "step": self.step, "distance": self.absolute}


@dataclass(frozen=True, slots=True)
class MetamorphicCheck:
    """One row of the table of metamorphic checks."""

    name: str
    """As it stands in the list of checks of a result: `maximize`, `grouping`, ..."""
    code: str
    """The rule that fires when it fails."""
    run: Callable[[Setting], Iterator[Outcome]]
    """Yields one outcome, or one for each variant; a skipped one says why. `NotSupported` counts as skipped."""
    cost: int
    """Optimizer steps that it takes, in walks over the setting's steps."""
