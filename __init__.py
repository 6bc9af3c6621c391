"""What an optimizer really does with weight decay, proved with numbers.

Importing this package imports nothing else: each public name is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "Optimizer",
    "RecordingWarning",
    "__version__",
    "audit",
    "audit_run",
    "check_optimizer",
    "compare",
    "parametrize_with_checks",
    "record",
    "recording_callback",
]

_HOME = {
    "Optimizer": ".conformance.testing.optimizer",
    "RecordingWarning": ".conformance.recording.recording",
    "__version__": "._version",
    "audit": ".conformance.api",
    "audit_run": ".conformance.api",
    "check_optimizer": ".conformance.api",
    "compare": ".conformance.api",
    "parametrize_with_checks": ".conformance.testing.parametrize",
    "record": ".conformance.recording.record",
    "recording_callback": ".conformance.recording.keras_callback",
}
"""Public name -> the module that holds it."""

if TYPE_CHECKING:
    from ._version import __version__
    from .conformance.api import audit, audit_run, check_optimizer, compare
    from .conformance.recording.keras_callback import recording_callback
    from .conformance.recording.record import record
    from .conformance.recording.recording import RecordingWarning
    from .conformance.testing.optimizer import Optimizer
    from .conformance.testing.parametrize import parametrize_with_checks
else:  # hidden from type checkers, which would otherwise believe every misspelt name

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
