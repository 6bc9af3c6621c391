"""What one row of the rule table holds."""

from __future__ import annotations

from dataclasses import dataclass

from .result import Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the rule table."""

    code: str
    name: str
    severity: Severity
    fires_when: str
    why: str
    example: str
    remedy: str
