"""What a new project holds that depends on its framework, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...adapters.frameworks import FRAMEWORKS, missing_imports


@dataclass(frozen=True, slots=True)
class Start:
    """The optimizer that a new project starts with; its text is the template `optimizer_<framework>.py.in`."""

    framework: str
    title: str
    """What sentences call the framework."""
    attribute: str
    """The class or factory."""
    dependencies: tuple[str, ...]
    """What the project needs to run: the ranges of this package's own extras."""


STARTS: Mapping[str, Start] = MappingProxyType(
    {
        row.framework: row
        for row in (
            Start("torch", "PyTorch", "SGDW", ("torch>=2.7",)),
            Start("jax", "JAX", "sgdw", ("jax>=0.4.30", "optax>=0.2.2")),
            Start("tensorflow", "Keras on TensorFlow", "SGDW", ("tensorflow>=2.16", "keras>=3.0")),
            Start("numpy", "NumPy", "SGDW", ("numpy>=1.26",)),
        )
    }
)
"""Framework -> what a project for it starts with, in the order in which one that is installed is chosen."""


def choose_start(named: str | None) -> tuple[Start, str]:
    """Return the start for the framework `named`, else for the first that is installed, and why that one."""
    if named is not None:
        return STARTS[named], "as asked"
    *others, last = STARTS.values()
    for start in others:
        if not missing_imports(FRAMEWORKS[start.framework]):
            return start, f"the first of {', '.join(STARTS)} that is installed; --framework names another"
    return last, f"none of {', '.join(start.framework for start in others)} is installed; --framework names another"
