"""How a job ended that did not live to tell its own result, in words."""

from __future__ import annotations

import signal
from typing import Any

from .limits import Limits
from .wire import Message


def ending_of(end: Message, limits: Limits) -> tuple[str, str, dict[str, Any]]:
    """Return the code, the message and the evidence of the finding for a job that ended as `end` says.

    `end` holds how a worker's process ended: `timed_out`, `tasks` (how many it had started), `garbled`, `status`,
    and whether the framework was `warm` already; or `mistake`, what was wrong with the target as it was named.
    """
    status = end.get("status")
    importing = "" if end.get("warm", True) else " while its framework was imported"
    if mistake := end.get("mistake"):
        return "OC901", mistake, {}
    if end.get("timed_out"):
        seconds = f"{limits.timeout:g}"
        message = f"not done after {seconds} s{importing}; where it only needs longer, raise the limit with --timeout"
        return "OC903", message, {"timeout": limits.timeout}
    if tasks := end.get("tasks"):
        return "OC904", f"ended because it had started {tasks} processes and threads", {}
    if garbled := end.get("garbled"):
        return "OC904", f"wrote something else where its result belongs: {garbled}", {}
    return "OC904", f"the process died{importing}: {_cause(status)}", {"exit_status": status}


def _cause(status: int | None) -> str:
    if status is None:
        return "its exit status is not known"
    if status >= 0:
        return f"exit status {status}, before there was a result"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
