"""Which of the declared cases a run of the gate takes, and what it leaves out, said by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from ..adapters.errors import TargetError
from ..adapters.execution import RUNTIMES, runtime_named, runtime_present
from .case import Case


class NoSuchCase(TargetError):
    """A pattern names no case."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases of one run, in order, and why others are not among them."""

    cases: tuple[Case, ...]
    not_asked: tuple[str, ...] = ()
    """Runtimes that the user left out by naming others."""
    absent: tuple[str, ...] = ()
    """Runtimes that are not installed, and were asked for neither by name nor by a pattern that fits no others."""
    slow_left_out: int = 0
    """Cases that are run only where all are asked for."""
    patterns: tuple[str, ...] = ()
    """What single cases were asked for by, where they were."""
    all_cases: bool = False
    """Whether slow cases were asked for too."""


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether the name of a case fits one of a shell's `patterns`, of which * stands for slashes too."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def select(
    declared: Sequence[Case], *, runtimes: Sequence[str] = (), patterns: Sequence[str] = (), all_cases: bool = False
) -> Selection:
    """Return the cases to be run: of `runtimes`, or of those that are installed, whose names fit one of `patterns`.

    Patterns are a shell's: `torch/*/fused/*`. One that names a slow case takes it. Raises `TargetError` for an unknown
    runtime, `NoSuchCase` for a pattern that fits no case.
    """
    for name in runtimes:
        runtime_named(name)
    for pattern in patterns:
        if not any(fits(case.name, [pattern]) for case in declared):
            raise NoSuchCase(
                f"--case {pattern!r} fits none of {len(declared)} cases; their names are "
                "runtime/target/setting/dtype/execution/trace, and * stands for any part: --case 'torch/*/fused/*'"
            )
    listed = dict.fromkeys(case.runtime for case in declared)
    named = [name for name in listed if not runtimes or name in runtimes]
    absent = () if runtimes else tuple(name for name in named if not runtime_present(RUNTIMES[name]))
    for pattern in patterns:
        meant = {case.runtime for case in declared if fits(case.name, [pattern])}
        if meant <= set(absent):
            absent = tuple(name for name in absent if name not in meant)
    chosen = [
        case
        for case in declared
        if case.runtime in named and case.runtime not in absent and (not patterns or fits(case.name, patterns))
    ]
    taken = [case for case in chosen if all_cases or patterns or not case.slow]
    return Selection(
        tuple(taken),
        tuple(name for name in listed if name not in named),
        absent,
        len(chosen) - len(taken),
        tuple(patterns),
        all_cases,
    )
