"""From where a worker imports. Only the standard library is imported here: what follows depends on it."""

from __future__ import annotations

import sys
from pathlib import Path

from .wire import Message


def import_path(python: str | None) -> Message:
    """Return from where a worker imports: as this process does or, in another interpreter, as that one does.

    The folder in which the command was started is added there too, where this process looks into it.
    """
    if python is None:
        return {"all": list(sys.path)}
    here = current_folder()
    return {"first": [here] if here in sys.path or "" in sys.path else []}


def current_folder() -> str:
    """Return the current folder. Raises `FileNotFoundError` where it has been deleted."""
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise FileNotFoundError("the current folder has been deleted; change to one that is there") from error


def use_import_path(path: Message) -> None:
    """Import from now on as `import_path` says."""
    if "all" in path:
        sys.path[:] = path["all"]
    else:
        sys.path[:0] = [entry for entry in path["first"] if entry not in sys.path]
