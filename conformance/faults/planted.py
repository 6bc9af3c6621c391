"""What a planted fault is: an optimizer with something wrong, and how the audit must judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..result import ExitStatus, Severity


@dataclass(frozen=True, slots=True)
class Planted:
    """An optimizer with a fault in it, and how the audit must judge it."""

    name: str
    framework: str
    target: str
    options: Mapping[str, Any]
    expectation: str
    code: str
    """The rule that must fire."""
    severity: Severity
    description: str
    also: frozenset[str] = frozenset()
    """Rules that rightly fire as errors besides, all of them."""
    exit_status: ExitStatus = ExitStatus.NOT_AS_EXPECTED
    documented_rule: str | None = None
    """The rule that the target is taken to be documented to follow."""
    sound_options: Mapping[str, Any] | None = field(default_factory=dict)
    """Options at which the same target is as expected; None where it has no sound form."""
    dtype: str = "float64"
    trace: str = "planted-faults"
    """Trace on which it is judged, a name of `trace.TRACES`; in a process of its own, of `traces.find_trace`."""
    timeout: float | None = None
    """Seconds that it gets in a process of its own, if it would take this one with it or never give it back."""
