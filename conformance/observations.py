"""Everything an audit measured, and how a finding is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .codes import CODES
from .effective_decay import EffectiveDecay, Unmeasured
from .expectation import Expectation
from .identify import KindOfDecay
from .law import Law
from .matching import Matching
from .result import Finding, Severity, Verdict


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything an audit measured, before it is judged against what was expected."""

    verdict: Verdict
    expectation: Expectation
    kinds: Mapping[tuple[str, str], KindOfDecay]
    """By (trace, parameter)."""
    dimensions: Mapping[tuple[str, str], int]
    """Number of dimensions, by (trace, parameter)."""
    law: Law | None
    matching: Matching
    documented_rule: str | None
    """The rule that this class is documented to follow, if it is one that is known."""
    rerun: str
    departure: str | None = None
    """What decay is instead at the user's own hyperparameters, where that is not the verdict."""
    dtype: str = "float64"
    asked: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that were asked for, defaults included, under canonical names."""
    user_set: frozenset[str] = frozenset()
    """Those of them that the user set."""
    effective: EffectiveDecay | Unmeasured | None = None
    """What is left of the decay at the user's own hyperparameters; None where the verdict is no decay of theta."""


def make_finding(
    code: str, message: str, *, rerun: str | None = None, severity: Severity | None = None, **more: Any
) -> Finding:
    """Return the finding of `code`, at the table's severity unless another is given."""
    row = CODES[code]
    parameter = more.pop("parameter", None)
    return Finding(code, row.name, severity or row.severity, message, parameter, more, rerun)
