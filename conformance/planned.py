"""What is to be audited. Nothing here imports NumPy: a command plans, and its workers do the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..adapters.frameworks import installed_frameworks
from .builtin_targets import BUILTIN_TARGETS
from .expectation import Expectation
from .result import Counting

_ALL = Counting()


@dataclass(frozen=True, slots=True)
class Depth:
    """How far an audit goes beyond the decay: which metamorphic checks it runs, and on which paths."""

    counting: Counting = _ALL
    """Rows none of whose codes counts are not run."""
    paths: str | None = None
    """As the user named them: a path of the framework, or `all`."""


@dataclass(frozen=True, slots=True)
class PlannedAudit:
    """One audit to be run: the target as named, how to build and execute it, and what is expected."""

    spec: str
    expectation: Expectation
    options: Mapping[str, Any] = field(default_factory=dict)
    framework: str | None = None
    device: str = "cpu"
    path: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    """Working precision; where None float64, unless the target is known to refuse that."""
    mode: str | None = None
    depth: Depth | None = None
    """Which metamorphic checks are run besides; none where it is None."""

    @property
    def title(self) -> str:
        """The target with its options, path and dtype, as tables and progress show it."""
        return title_of(self.spec, self.options, self.path, self.dtype or "float64")


@dataclass(frozen=True, slots=True)
class PlannedSide:
    """One of two optimizers to be compared: the target as named, and how to build and execute it."""

    spec: str
    options: Mapping[str, Any] = field(default_factory=dict)
    framework: str | None = None
    path: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedComparison:
    """One comparison to be run."""

    first: PlannedSide
    second: PlannedSide
    device: str = "cpu"
    dtype: str = "float64"


def title_of(spec: str, options: Mapping[str, Any], path: str | None, dtype: str = "float64") -> str:
    """Return `spec` followed by its options and, in brackets, the execution path and a dtype other than float64."""
    how = ", ".join(word for word in (path, dtype if dtype != "float64" else None) if word)
    return spec + "".join(f" {name}={value}" for name, value in options.items()) + (f" [{how}]" if how else "")


def builtin_plan(
    frameworks: Sequence[str], device: str = "cpu", dtype: str | None = None, mode: str | None = None
) -> list[PlannedAudit]:
    """Return the audits of the built-in optimizers of `frameworks`, in working precision `dtype`."""
    return [
        PlannedAudit(row.spec, row.expectation, row.options, row.framework, device, row.path, dtype=dtype, mode=mode)
        for row in BUILTIN_TARGETS
        if row.framework in frameworks
    ]


def split_by_installed(frameworks: Sequence[str], present: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Return (installed, not installed) of `frameworks`; `present` are those of another interpreter."""
    there = installed_frameworks() if present is None else present
    return [name for name in frameworks if name in there], [name for name in frameworks if name not in there]
