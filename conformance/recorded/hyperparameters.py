"""The hyperparameters of one parameter group over a recorded run: those it is judged by, and those that change."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeGuard

from ...reference.options import InvalidOption
from ...reference.rules import RULES
from ..traces.run import Course, Group

_NUMBERS = frozenset({"weight_decay", "beta1", "beta2", "eps", "momentum", "dampening"})
"""Numbers of the reference's rules besides the learning rate: they may be others in every step."""
_PATHS = frozenset({"foreach", "fused", "capturable", "differentiable", "initial_lr"})
"""What changes how a step is executed, and not what it computes."""
_MOST = 2.0**15
"""No hyperparameter of a run that trained is as large, and float16 holds what is smaller."""


@dataclass(frozen=True)
class Hyperparameters:
    """What a group held in every step."""

    group: Group

    @cached_property
    def held(self) -> dict[str, Any]:
        """The values by which the group is judged, by canonical name.

        Of a number the largest, so that decay or momentum that is off in some steps only is still looked for. The
        learning rate is the one that schedules multiply: `initial_lr` where PyTorch's put that down, else the largest.
        """
        values = {name: _largest(name, course) for name, course in self.group.hyperparameters.items() if course}
        if "lr" in values:
            values["lr"] = self._base
        return values

    @cached_property
    def _base(self) -> float:
        noted = [value for _, value in self.group.hyperparameters.get("initial_lr", ())]
        if len(noted) == 1 and _is_number(noted[0]) and 1.0 / _MOST < noted[0] < _MOST:
            return float(noted[0])
        rates = [float(value) for _, value in self.group.hyperparameters["lr"] if _is_number(value)]
        return max(rates, default=0.0) or 1.0

    @property
    def decays(self) -> bool:
        """Whether weight decay is on in any step."""
        return bool(self.held.get("weight_decay"))

    def multiplier(self, step: int) -> float:
        """Return eta_t, whose product with the base rate is the rate of the step, or its neighbour in float64."""
        return float(_at(self.group.hyperparameters["lr"], step)) / self._base

    def changed(self, step: int) -> dict[str, float]:
        """Return the numbers besides the learning rate that are not those of `held` in `step`."""
        now = {name: _number(name, _at(self.group.hyperparameters[name], step)) for name in self.varying}
        return {name: value for name, value in now.items() if value != self.held[name]}

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The numbers besides the learning rate that change during the run."""
        courses = self.group.hyperparameters
        return tuple(name for name in courses if name in _NUMBERS and len(courses[name]) > 1)

    def last_alike(self, first: int, last: int) -> int:
        """Return the last step of `first` .. `last` up to which one rule is followed that is defined; 0 for none.

        Flags must stay as they were in the first step of the run, and numbers stay numbers in their range.
        """
        at = bisect.bisect_right(self._sound, first, key=itemgetter(0)) - 1
        if not self._sound[at][1]:
            return 0
        after = bisect.bisect_right(self._ends, first)
        return last if after == len(self._ends) else min(last, self._ends[after] - 1)

    @cached_property
    def _sound(self) -> tuple[tuple[int, bool], ...]:
        """Every step from which on a value is another, and whether the first rule is followed then, and defined."""
        courses = self.group.hyperparameters
        starts = {1, *(start for name, course in courses.items() if name not in _PATHS for start, _ in course)}
        flags = self._flags(1)
        return tuple((step, self._flags(step) == flags and self._defined(step)) for step in sorted(starts))

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return tuple(step for step, sound in self._sound if not sound)

    def _flags(self, step: int) -> dict[str, Any]:
        now = {name: _at(course, step) for name, course in self.group.hyperparameters.items() if course}
        return {name: value for name, value in now.items() if name not in _PATHS and isinstance(value, bool | str)}

    def _defined(self, step: int) -> bool:
        courses = self.group.hyperparameters
        values = {name: _number(name, _at(courses[name], step)) for name in ("lr", *_NUMBERS) if courses.get(name)}
        if "lr" not in values or not all(_is_number(value) and abs(value) < _MOST for value in values.values()):
            return False
        rule = RULES["adam_l2" if "beta1" in values else "sgd_l2"]
        try:
            rule.options(**{name: value for name, value in values.items() if name in rule.options.__dataclass_fields__})
        except InvalidOption:
            return False
        return True


def _at(course: Course, step: int) -> Any:
    """Return the value of `step`; before the first, which a group that came late has, that one."""
    return course[max(bisect.bisect_right(course, step, key=itemgetter(0)) - 1, 0)][1]


def _largest(name: str, course: Course) -> Any:
    values = [_number(name, value) for _, value in course]
    return max(values, key=abs) if name in _NUMBERS and all(map(_is_number, values)) else values[0]


def _number(name: str, value: Any) -> Any:
    """Return `value`; Keras holds None for a decay or momentum that is off."""
    return 0.0 if value is None and name in ("weight_decay", "momentum") else value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
