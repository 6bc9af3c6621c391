"""Which kind of worker an audit needs, as far as that can be told without importing anything."""

from __future__ import annotations

import re
from pathlib import Path

from ...adapters.frameworks import framework_of_import
from ..planned import PlannedAudit
from .connection import Kind
from .limits import Limits
from .start import PACKAGE

FORKED = frozenset({None, "numpy", "torch"})
"""Frameworks that start no thread when they are imported, and so can be forked then; None stands for the core."""
_IMPORT = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
_LOOKED_THROUGH = 1 << 20
"""Bytes of a file that are searched for imports."""


def kind_of(planned: PlannedAudit, limits: Limits) -> Kind:
    """Return the kind of worker for one audit."""
    framework, library = framework_and_library(planned.spec, planned.framework)
    memory = limits.bytes_allowed if planned.device == "cpu" else None
    return Kind(limits.python, framework, library, memory, framework in FORKED)


def framework_and_library(spec: str, framework: str | None) -> tuple[str | None, str | None]:
    """Return the framework of a target, `framework` where it is given, and the library to which it belongs.

    None stands for what cannot be told, and for a library that is a file, a framework or this package.
    """
    place, library = spec.rpartition(":")[0], None
    if place.endswith(".py") or "/" in place or "\\" in place:
        framework = framework or _imported_by(Path(place))
    else:
        root = place.partition(".")[0]
        known = framework_of_import(root)
        framework = framework or (known.name if known else None)
        library = root if known is None and root != PACKAGE else None
    return framework, library


def _imported_by(place: Path) -> str | None:
    """Return the one framework that a file imports, as far as its text shows; None where it is none or several."""
    if not place.is_file():  # a pipe would block here; of what is no file the worker will tell
        return None
    try:
        with place.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LOOKED_THROUGH)
    except OSError:
        return None
    found = {known.name for root in _IMPORT.findall(text) if (known := framework_of_import(root)) is not None}
    others = found - {"numpy"}
    return others.pop() if len(others) == 1 else None
