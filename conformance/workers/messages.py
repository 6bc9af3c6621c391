"""A planned audit as it goes to a worker, and what comes back of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..json_form import revive
from ..planned import PlannedAudit
from .wire import Message, pack, unpack


def job_of(planned: PlannedAudit, trace_arguments: Sequence[str], path: Message) -> Message:
    """Return the message that asks for one audit, whose target is imported from `path`.

    Raises `TypeError` for an option that is no Python literal.
    """
    document = dataclasses.asdict(planned) | {"options": pack(planned.options)}
    return {"planned": document, "traces": list(trace_arguments), "folder": str(Path.cwd()), "path": path}


def planned_of(document: Message) -> PlannedAudit:
    """Return the planned audit that `job_of` was given."""
    planned: PlannedAudit = revive(PlannedAudit, document | {"options": {}})
    return dataclasses.replace(planned, options=unpack(document["options"]))
