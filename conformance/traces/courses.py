"""The hyperparameters of a run as they are collected, step by step, without repeating what did not change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...adapters.recording import GroupValues
from .run import Group


class Courses:
    """Groups by position; a group that comes later has no values before its first step."""

    def __init__(self) -> None:
        self._parameters: list[dict[str, None]] = []
        self._seen: list[tuple[str, ...]] = []
        self._owned: set[str] = set()
        self._courses: list[dict[str, list[tuple[int, Any]]]] = []

    def add(self, step: int, groups: Sequence[GroupValues]) -> None:
        """Take in the groups of one step."""
        for position, group in enumerate(groups):
            if position == len(self._courses):
                self._parameters.append({})
                self._seen.append(())
                self._courses.append({})
            if group.parameters != self._seen[position]:
                # A parameter stays with the group that it was first in: one that leaves has no gradients any more.
                joined = dict.fromkeys(name for name in group.parameters if name not in self._owned)
                self._parameters[position] |= joined
                self._owned |= joined.keys()
                self._seen[position] = group.parameters
            for name, value in group.hyperparameters.items():
                course = self._courses[position].setdefault(name, [])
                if not course or not _same(course[-1][1], value):
                    course.append((step, value))

    def groups(self) -> tuple[Group, ...]:
        """All of it so far."""
        return tuple(
            Group(tuple(parameters), {name: tuple(entries) for name, entries in courses.items()})
            for parameters, courses in zip(self._parameters, self._courses, strict=True)
        )


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON too, where 1, 1.0 and True are not."""
    return type(one) is type(other) and bool(one == other)
