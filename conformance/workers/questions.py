"""What the command asks a worker before it plans: which frameworks and devices are there, what libraries export."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from typing import Any

from ...adapters.errors import MissingDevice, MissingFramework
from ...adapters.frameworks import installed_frameworks, load_adapter
from .connection import Connection, Events, Kind
from .endings import ending_of
from .import_path import import_path
from .limits import WARM_SECONDS, Limits
from .listening import outcome_of
from .mistakes import mistake_of, told
from .wire import Message


def _require(name: str) -> None:
    from ..check import require  # in the worker alone

    require(name)


def _exports(library: str) -> dict[str, Any]:
    from ..survey_exports import find_exports  # in the worker alone

    return find_exports(library).to_json()


ANSWERS: Mapping[str, Callable[[Any], Any]] = {
    "installed": lambda _: installed_frameworks(),
    "required": _require,
    "devices": lambda framework: list(load_adapter(framework).devices()),
    "exports": _exports,
}
"""Question -> the function that a worker answers it with."""


def installed_in(python: str) -> list[str]:
    """Return the frameworks that the interpreter `python` can find. Raises `BadInterpreter`."""
    said, _, _ = ask("installed", None, Limits(WARM_SECONDS, python=python))
    return [str(name) for name in said.get("answer", ())]


def devices_in(python: str | None, framework: str) -> list[str]:
    """Return the devices that a framework sees in an interpreter, this one where None; none where it cannot be used."""
    said, _, _ = ask("devices", framework, Limits(WARM_SECONDS, python=python))
    return [str(name) for name in said.get("answer", ())]


def require_in(python: str | None, name: str) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless an interpreter, this one where None, has what `name` names."""
    said, end, _ = ask("required", name, Limits(WARM_SECONDS, python=python))
    mistake = mistake_of(said)
    if mistake is None and "answer" not in said:
        mistake = MissingFramework(f"{name} is required: {ending_of(end, Limits(WARM_SECONDS))[1]}")
    if mistake is not None:
        raise mistake


def answer(job: Message) -> Message:
    """Return a worker's answer to a question."""
    try:
        return {"answer": ANSWERS[job["question"]](job["about"])}
    except (MissingDevice, MissingFramework) as error:
        return told(error)


def ask(question: str, about: Any, limits: Limits) -> tuple[Message, Message, str]:
    """Ask a worker process of its own; return what it said, how it ended, and the last of what was printed.

    Raises `BadInterpreter` where the interpreter of `limits` cannot be started or lacks what this package needs.
    """
    events: Events = queue.SimpleQueue()
    path = import_path(limits.python)
    connection = Connection(Kind(limits.python, None, None, limits.bytes_allowed, forked=False), path, events)
    connection.start({"question": question, "about": about, "path": path}, limits.timeout)
    try:
        return *outcome_of(connection, events), connection.finish()
    finally:
        connection.end()
