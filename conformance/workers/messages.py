"""Planned audits and comparisons as they go to a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..json_form import revive
from ..planned import PlannedAudit, PlannedComparison
from .import_path import current_folder
from .wire import Message, pack, unpack

_SIDES = ("first", "second")


def job_of(planned: PlannedAudit, trace_arguments: Sequence[str], path: Message) -> Message:
    """Return the message that asks for one audit, whose target is imported from `path`.

    Raises `TypeError` for an option that is no Python literal.
    """
    document = dataclasses.asdict(planned) | {"options": pack(planned.options)}
    return _job("planned", document, trace_arguments, path)


def planned_of(document: Message) -> PlannedAudit:
    """Return the planned audit that `job_of` was given."""
    planned: PlannedAudit = revive(PlannedAudit, document | {"options": {}})
    return dataclasses.replace(planned, options=unpack(document["options"]))


def job_of_comparison(planned: PlannedComparison, trace_arguments: Sequence[str], path: Message) -> Message:
    """Return the message that asks for one comparison, as `job_of` does for an audit."""
    document = dataclasses.asdict(planned)
    for side in _SIDES:
        document[side]["options"] = pack(document[side]["options"])
    return _job("comparison", document, trace_arguments, path)


def comparison_of(document: Message) -> PlannedComparison:
    """Return the planned comparison that `job_of_comparison` was given."""
    unpacked = {side: {**document[side], "options": unpack(document[side]["options"])} for side in _SIDES}
    planned: PlannedComparison = revive(PlannedComparison, document | unpacked)
    return planned


def _job(name: str, document: Message, trace_arguments: Sequence[str], path: Message) -> Message:
    return {name: document, "traces": list(trace_arguments), "folder": current_folder(), "path": path}
