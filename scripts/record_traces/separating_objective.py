"""What the search for `separating` maximises, and what a trace is worth by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from separating_limits import Circumstances, limit_of

from optconform.conformance.separability import VALUES, every_pair, separations
from optconform.conformance.traces import Trace
from optconform.conformance.traces.summary import trace_bytes

CREDITS: Mapping[float, int] = {1.0: 8, 2.0: 4, 4.0: 2, 8.0: 1, 16.0: 1}
"""Separation in bounds -> what a pair earns that exceeds it: told apart at all, whatever the rounding, with room."""
CREDITS_PER_BYTE = 4
"""What a byte of theta_0 and the gradients costs: half of what telling one more pair apart earns."""
PLATFORM = "xla-gpu"
"""The row of the platforms' table that allows most, so that what parts here parts on every platform."""


@dataclass(frozen=True, slots=True)
class Case:
    """Hyperparameters and a working precision in which every pair of hypotheses is looked at."""

    hyperparameters: str
    """A key of `separability.VALUES`; for Adam the optimizer holds `amsgrad` besides, so that its maxima are tried."""
    dtype: str

    @property
    def name(self) -> str:
        """The name in the provenance."""
        return f"{self.hyperparameters}, {self.dtype}"

    @property
    def values(self) -> dict[str, Any]:
        """What an optimizer holds."""
        values = dict(VALUES[self.hyperparameters])
        return {**values, "amsgrad": True} if "beta2" in values else values


CASES = tuple(Case(name, dtype) for name in VALUES for dtype in ("float64", "float32", "bfloat16"))


@dataclass(slots=True)
class Worth:
    """What a trace earns in one case, or in several."""

    pairs: int = 0
    told_apart: int = 0
    """Pairs that part by more than one bound."""
    credits: int = 0
    smallest: float = np.inf
    """Separation of the pair that parts least, of those that nothing known keeps together."""
    limits: Counter[str] = field(default_factory=Counter)
    """Why pairs are not told apart -> how many."""


UNKNOWN = "not found by the search"


def worth(trace: Trace, case: Case) -> Worth:
    """Return what `trace` earns in one case."""
    found = separations(trace, case.values, case.dtype, pairs=every_pair(case.values), platform=PLATFORM)
    where = Circumstances(case.values, trace.multipliers, case.dtype)
    result = Worth(len(found), sum(pair.separable for pair in found))
    result.credits = int(credited([pair.separation for pair in found]).sum())
    for pair in found:
        why = limit_of(pair, where)
        if not pair.separable:
            result.limits[why or UNKNOWN] += 1
        if why is None:
            result.smallest = min(result.smallest, pair.separation)
    return result


def credited(separation: Any) -> NDArray[np.int8]:
    """Return what each separation earns."""
    earned = np.zeros(np.shape(separation), np.int8)
    for threshold, credits in CREDITS.items():
        earned += np.int8(credits) * (np.asarray(separation) > threshold)
    return earned


def as_provenance(trace: Trace, found: Mapping[Case, Worth]) -> dict[str, Any]:
    """Return objective, value and what stays inseparable, as they are kept in the trace's provenance."""
    total = sum((each.limits for each in found.values()), Counter())
    credits = sum(each.credits for each in found.values())
    shown_credits = ", ".join(f"{threshold:g}: {earned}" for threshold, earned in CREDITS.items())
    return {
        "objective": f"credits for the largest |ref_A - ref_B| / max(P_A, P_B) above {shown_credits}; summed over "
        f"pairs of neighbouring hypotheses, less {CREDITS_PER_BYTE} per byte; bounds P of the platform {PLATFORM}",
        "value": credits - CREDITS_PER_BYTE * trace_bytes(trace),
        "at_most": sum(CREDITS.values()) * sum(each.pairs for each in found.values()),
        "cases": {case.name: shown(each) for case, each in found.items()},
        "inseparable": dict(total.most_common()),
    }


def shown(found: Worth) -> dict[str, int | float]:
    """Return what is kept of one case."""
    least = float(f"{found.smallest:.3g}")
    return {"pairs": found.pairs, "told_apart": found.told_apart, "credits": found.credits, "least": least}
