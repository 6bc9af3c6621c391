"""What a library exports, found out by a worker process: importing a library runs its code."""

from __future__ import annotations

from ...adapters.errors import TargetError
from ...adapters.text import describe_error, escape_control
from ..survey_exports import Library
from .endings import ending_of
from .limits import WARM_SECONDS, Limits
from .questions import ask

_DEFAULT = Limits(WARM_SECONDS)


def exports_of(library: str, limits: Limits = _DEFAULT) -> Library:
    """Return what `library`, a dotted module name, exports; it is imported in a worker process under `limits`.

    Raises `TargetError` for what cannot be a module name, `BadInterpreter` where the interpreter of `limits` cannot
    be started or lacks what this package needs. A library that is not installed, does not import, or takes longer
    than it may is one with a `problem`.
    """
    if not all(part.isidentifier() for part in library.split(".")):
        raise TargetError(f"{library!r} is not a module name; expected one such as torch.optim.")
    said, end, output = ask("exports", library, limits)
    try:
        if "answer" in said:
            return Library.from_json(said["answer"])
    except (AttributeError, KeyError, TypeError) as error:
        end = {"garbled": describe_error(error)}
    last = output.strip().rpartition("\n")[2]
    why = ending_of(end, limits)[1] + (f"; it printed last: {escape_control(last)}" if last else "")
    return Library(library, problem=f"importing it: {why}")
