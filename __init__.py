"""What an optimizer really does with weight decay, proved with numbers.

Importing this package imports nothing else: each public name is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["__version__", "audit", "check_optimizer", "compare"]

_HOME = {
    "__version__": "._version",
    "audit": ".conformance.api",
    "check_optimizer": ".conformance.api",
    "compare": ".conformance.api",
}
"""Public name -> the module that holds it."""

if TYPE_CHECKING:
    from ._version import __version__
    from .conformance.api import audit, check_optimizer, compare
else:  # hidden from type checkers, which would otherwise believe every misspelt name

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
