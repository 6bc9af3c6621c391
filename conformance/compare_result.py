"""What a comparison of two optimizers returns, and its JSON form.

The JSON document is `optconform/compare/1`; `schema/compare-1.schema.json` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from .axis_differences import Difference
from .json_form import plain_fields, revive
from .result import ExitStatus
from .side_by_side import Parting
from .translation import Obstacle

SCHEMA = "optconform/compare/1"


class Outcome(StrEnum):
    """How a comparison ended."""

    SAME = "same"
    """They walk the same path, on these traces and in this precision."""
    DIFFERENT = "different"
    CANNOT_TELL = "cannot tell"
    """Rounding, or what came of it, leaves both possible."""
    ERROR = "error"
    """One of them could not be built or run."""


_STATUS: Mapping[Outcome, ExitStatus] = {
    Outcome.SAME: ExitStatus.AS_EXPECTED,
    Outcome.DIFFERENT: ExitStatus.NOT_AS_EXPECTED,
    Outcome.CANNOT_TELL: ExitStatus.UNDECIDED,
    Outcome.ERROR: ExitStatus.COULD_NOT_RUN,
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two optimizers."""

    target: str
    framework: str
    path: str
    versions: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """As the optimizer holds them."""
    rule: str | None = None
    """The rule of the reference that it follows on these traces, None where it follows none."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """What the rule leaves open, as far as the trajectory shows it: law, order, epsilon, ..."""
    bound_ratio: float | None = None
    """Its largest distance from that rule, in bounds."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What was found about hyperparameters with which the second would follow the first."""

    exists: bool | None
    """True where a replay with `values` did; False where an axis stands in the way and it did not; else None."""
    values: Mapping[str, Any]
    """What was set in the second optimizer besides its own hyperparameters."""
    obstacles: tuple[Obstacle, ...]
    """Axes that algebra carries over by no values; a replay may still not show the difference."""
    ratio: float | None
    """Largest distance in the replay, in bounds, or in what rounding explains where there is no rule."""
    parting: Parting | None
    """Where that replay parted."""
    message: str


@dataclass(frozen=True, slots=True)
class CompareResult:
    """Whether two optimizers walk the same path, where they part, why, and what would make the second follow."""

    outcome: Outcome
    reason: str
    first: Side
    second: Side
    dtype: str
    device: str
    judged_by: str | None = None
    """The rule in whose bound both must lie, None where rounding alone is allowed for."""
    ratio: float | None = None
    """Largest distance in units of what is allowed; at most 1 where they are the same."""
    parting: Parting | None = None
    """The first step in which they part."""
    differences: tuple[Difference, ...] = ()
    """Axes and hyperparameters in which the two differ, as far as both follow a rule."""
    translation: Translation | None = None
    """None where they are the same, or nothing could be tried."""
    elements: int = 0
    """Elements compared."""
    traces: tuple[Mapping[str, str], ...] = ()
    rerun: str = ""
    """The command that compares them again; empty where there is none."""
    seconds: float = 0.0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the result of which `document` is the JSON form, as `Result.from_json` does for an audit."""
        result: Self = revive(cls, document)
        return result

    @property
    def same(self) -> bool:
        """Whether they walk the same path."""
        return self.outcome is Outcome.SAME

    @property
    def exit_status(self) -> ExitStatus:
        """0 the same, 1 different, 3 could not run, 4 cannot be told."""
        return _STATUS[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/compare/1` document: plain dicts, lists, strings, finite numbers and None."""
        return {"schema": SCHEMA, **plain_fields(self), "exit_status": int(self.exit_status)}
