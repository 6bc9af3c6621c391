"""What the command asks another interpreter before it plans: which frameworks and devices are there."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from typing import Any

from ...adapters.errors import MissingDevice, MissingFramework
from ...adapters.frameworks import installed_frameworks
from ..check import require
from .connection import Connection, Events, Kind
from .import_path import import_path
from .limits import WARM_SECONDS
from .wire import Message

ANSWERS: Mapping[str, Callable[[Any], Any]] = {
    "installed": lambda _: installed_frameworks(),
    "required": require,
}
"""Question -> the function that a worker answers it with."""
_MISSING = {each.__name__: each for each in (MissingDevice, MissingFramework)}


def installed_in(python: str) -> list[str]:
    """Return the frameworks that the interpreter `python` can find. Raises `BadInterpreter`."""
    return list(_ask(python, {"question": "installed", "about": None}))


def require_in(python: str, name: str) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless the interpreter `python` has framework or device `name`."""
    _ask(python, {"question": "required", "about": name})


def answer(job: Message) -> Message:
    """Return a worker's answer to a question."""
    try:
        return {"answer": ANSWERS[job["question"]](job["about"])}
    except (MissingDevice, MissingFramework) as error:
        return {"missing": type(error).__name__, "message": str(error)}


def _ask(python: str, question: Message) -> Any:
    events: Events = queue.SimpleQueue()
    path = import_path(python)
    connection = Connection(Kind(python, None, None, None, forked=True), path, events)
    connection.start({**question, "path": path}, WARM_SECONDS)
    try:
        while (message := events.get(timeout=connection.seconds_left())[1]) is not None:
            if "missing" in message:
                raise _MISSING[message["missing"]](message["message"])
            if "answer" in message:
                return message["answer"]
    except queue.Empty:
        pass
    finally:
        connection.end()
    raise connection.unusable()
