"""What a metamorphic check is given, what it returns, and how two runs are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters import random_generators
from ...adapters.protocol import PLAIN, Layout, Optimizer
from ...reference.formats import FORMATS
from ..pairing import rounding_of
from ..result import Severity
from ..subject import Arrays, Subject, read
from ..traces.trace import Step

Gradients = dict[str, NDArray[Any] | None]
State = Mapping[str, Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check, or one variant of it, ended."""

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
    variant: str | None = None
    """Which of several ways was tried, in brackets after the check's name: `paths[foreach]`."""


NOT_REPRODUCIBLE = Outcome(
    "skipped", "two equal runs differ (see OC411), or draw random numbers, so that no other difference says anything"
)

_PERTURBED = 16.0
"""How many roundings of every input a difference may be worth before another implementation is to blame."""


@dataclass(frozen=True)
class Setting:
    """One optimizer, a few steps of a trace, and the hyperparameters at which it is looked at: the probe's."""

    subject: Subject
    theta: Arrays
    """theta_0 as the optimizer holds it, float64, by parameter name: signed, unequal, at least .25 in magnitude."""
    steps: Sequence[Step]
    """Every parameter has a gradient in every step, and the learning rate changes."""
    values: Mapping[str, Any]
    compiled: bool = False
    """Whether paths that compile are to be run too: a step of one costs seconds."""

    @cached_property
    def plain(self) -> list[Arrays]:
        """The walk over all steps from one list of parameters, with which the variants are compared."""
        return self.walk(self.build())

    @cached_property
    def reproducible(self) -> bool:
        """Whether a second walk like `plain` ends at the same bits. If not, no difference says anything.

        Nor where it draws from a global random generator: that the draws happened not to matter here, in the last
        bits of an iteration say, does not mean that they never do.
        """
        before = random_generators.states()
        again = self.walk(self.build())
        return not random_generators.moved(before, random_generators.states()) and same_bits(self.plain, again)

    @cached_property
    def amplified(self) -> float:
        """How far one rounding of every input moves the walk, in the units of `Distance.ratio`.

        Far below 1 for most rules; an eigenvalue decomposition, or a sign near 0, carries a rounding much further.
        """
        ulp = 2.0 * FORMATS[self.subject.dtype].unit_roundoff
        theta = {name: value * (1.0 - _signs(value) * ulp) for name, value in self.theta.items()}
        steps = [replace(step, gradients=perturbed(step.gradients, ulp)) for step in self.steps]
        return self.farthest(self.plain, self.walk(self.subject.build(theta, self.values), steps)).ratio

    def explains(self, distance: Distance) -> bool:
        """Whether rounding may be all that is behind `distance` after all, since the rule amplifies it."""
        return distance.ratio <= _PERTURBED * self.amplified

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

    def only(self, *names: str) -> Setting:
        """Return the setting with no other parameters than those `names`."""
        return replace(
            self,
            theta={name: self.theta[name] for name in names},
            steps=[replace(step, gradients={name: step.gradients[name] for name in names}) for step in self.steps],
        )

    def farthest(
        self, one: Sequence[Arrays], other: Sequence[Arrays], dtypes: Mapping[str, str] | None = None
    ) -> Distance:
        """Return where two paths from `theta` are farthest apart, in units of what rounding explains.

        Rounding is allowed gamma_16 of the magnitudes in every step so far: two evaluations of one rule, each
        rounding differently, carry their differences on. `dtypes` says which parameters are held in another
        precision than the working one.
        """
        allowed = {name: np.abs(value) for name, value in self.theta.items()}
        worst = Distance(0.0, 0, "", 0.0)
        for index, (here, there) in enumerate(zip(one, other, strict=True), start=1):
            for name, value in here.items():
                rounding = rounding_of((dtypes or {}).get(name, self.subject.dtype))
                allowed[name] = allowed[name] + np.abs(value) + np.abs(there[name])
                with np.errstate(divide="ignore", invalid="ignore"):
                    distance = np.where(_same(value, there[name]), 0.0, np.abs(value - there[name]))
                    ratio = np.where(distance == 0.0, 0.0, distance / (rounding * allowed[name]))
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

    def __str__(self) -> str:
        where = f"{self.absolute:.3g} apart in {self.parameter!r} at step {self.step}"
        return f"{where}, {self.ratio:.3g} times what rounding explains"

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
    """Walks over the setting's steps, or as many steps, that it takes besides the shared ones where nothing is wrong.

    That is rounded up; of a check of several options or execution paths, for an optimizer that has most of them.
    """
    also: tuple[str, ...] = ()
    """Other rules that it may find."""


def same_bits(one: Sequence[Arrays], other: Sequence[Arrays]) -> bool:
    """Whether two paths hold the same numbers throughout; NaN equals NaN."""
    return all(
        bool(np.all(_same(value, there[name])))
        for here, there in zip(one, other, strict=True)
        for name, value in here.items()
    )


def negated(gradients: Gradients) -> Gradients:
    """Return -g by parameter name; a missing gradient stays missing."""
    return {name: None if grad is None else -grad for name, grad in gradients.items()}


def perturbed(gradients: Gradients, relative: float) -> Gradients:
    """Return the gradients, elements in turn greater and smaller by a share `relative` of themselves."""
    return {name: None if grad is None else grad * (1.0 + _signs(grad) * relative) for name, grad in gradients.items()}


def _signs(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return 1 and -1 in turn, in the shape of `array`."""
    return np.where(np.arange(array.size) % 2, 1.0, -1.0).reshape(array.shape)


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))
