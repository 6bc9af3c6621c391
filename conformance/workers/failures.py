"""Results of targets that did not live to tell their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..audit import failed
from ..check import unbuilt
from ..observations import make_finding
from ..planned import PlannedAudit
from ..rerun import rerun_of_planned
from ..result import Result
from .endings import ending_of
from .limits import Limits
from .wire import Message


def failure(
    planned: PlannedAudit, trace_arguments: Sequence[str], end: Message, limits: Limits, seconds: float
) -> Result:
    """Return the result of an audit that ended as `end` says, see `ending_of`, without a result of its own."""
    rerun = rerun_of_planned(planned, trace_arguments)
    code, message, evidence = ending_of(end, limits)
    result = failed(unbuilt(planned), make_finding(code, message, rerun=rerun, **evidence))
    return limits.kept_in(dataclasses.replace(result, rerun=rerun, seconds=seconds))
