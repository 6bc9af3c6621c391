"""Results of targets that did not live to tell their own."""

from __future__ import annotations

import dataclasses
import signal

from ..audit import failed
from ..check import unbuilt
from ..observations import make_finding
from ..planned import PlannedAudit
from ..result import Finding, Result
from .limits import Limits
from .wire import Message


def failure(planned: PlannedAudit, end: Message, limits: Limits, rerun: str, seconds: float) -> Result:
    """Return the result of an audit that ended as `end` says, without a result of its own.

    `end` holds how a worker's process ended: `timed_out`, `tasks` (how many it had started), `garbled`, `status`,
    and whether the framework was `warm` already; or `mistake`, what was wrong with the target as it was named.
    """
    result = failed(unbuilt(planned), _finding(end, limits, rerun))
    return dataclasses.replace(result, rerun=rerun, seconds=seconds)


def _finding(end: Message, limits: Limits, rerun: str) -> Finding:
    status = end.get("status")
    importing = "" if end.get("warm", True) else " while its framework was imported"
    if mistake := end.get("mistake"):
        return make_finding("OC901", mistake, rerun=rerun)
    if end.get("timed_out"):
        seconds = f"{limits.timeout:g}"
        message = f"not done after {seconds} s{importing}; where it only needs longer, raise the limit with --timeout"
        return make_finding("OC903", message, rerun=rerun, timeout=limits.timeout)
    if tasks := end.get("tasks"):
        return make_finding("OC904", f"ended because it had started {tasks} processes and threads", rerun=rerun)
    if garbled := end.get("garbled"):
        return make_finding("OC904", f"wrote something else where its result belongs: {garbled}", rerun=rerun)
    return make_finding("OC904", f"the process died{importing}: {_cause(status)}", rerun=rerun, exit_status=status)


def _cause(status: int | None) -> str:
    if status is None:
        return "its exit status is not known"
    if status >= 0:
        return f"exit status {status}, before there was a result"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
