"""What a target is expected to do: `VERDICT[,law=..][,order=..][,epsilon=..][,momentum=..]`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .result import Verdict

ANY = "any"
DEFAULT_EXPECTATION = "decoupled"

AXES = ("law", "order", "epsilon", "momentum")
VERDICTS = (*(verdict for verdict in Verdict if verdict not in (Verdict.ERROR, Verdict.EXCLUDED)), ANY)
"""What can be expected of a verdict; of each axis besides, `_allowed` says it."""

_SATISFIES = {(Verdict.EQUIVALENT, Verdict.DECOUPLED), (Verdict.EQUIVALENT, Verdict.L2)}
"""(found, expected) pairs that agree although they differ: the same algebra under two names."""


class InvalidExpectation(ValueError):
    """An expectation is not written as the grammar says."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """An expected verdict, and the axes that are expected too; None expects nothing of an axis."""

    verdict: str
    law: str | None = None
    order: str | None = None
    epsilon: str | None = None
    momentum: str | None = None

    def __str__(self) -> str:
        axes = [f"{key}={getattr(self, key)}" for key in AXES if getattr(self, key) is not None]
        return ",".join([self.verdict, *axes])

    def met_by(self, verdict: Verdict) -> bool:
        """Whether `verdict` is what was expected; `equivalent` satisfies both `decoupled` and `l2`."""
        return self.verdict == ANY or verdict == self.verdict or (verdict, self.verdict) in _SATISFIES


def parse_expectation(text: str) -> Expectation:
    """Return the expectation written as `text`, such as `decoupled,law=lr*wd,epsilon=hat`.

    Raises `InvalidExpectation` naming the part that is wrong and what it may be.
    """
    verdict, *axes = (part.strip() for part in text.split(","))
    _require(verdict, VERDICTS, f"expectation {text!r}: verdict")
    values: dict[str, str] = {}
    for axis in axes:
        key, separator, value = axis.partition("=")
        _require(key, AXES, f"expectation {text!r}: key")
        if not separator or key in values:
            raise InvalidExpectation(f"expectation {text!r}: {axis!r} should be {key}=VALUE, once")
        _require(value, _allowed(key), f"expectation {text!r}: {key}")
        values[key] = value
    return Expectation(verdict, **values)


def _allowed(axis: str) -> tuple[str, ...]:
    """Return what may be expected of an axis; only here is the reference imported, and NumPy with it: 0.1 s."""
    from ..reference import DecayLaw, Epsilon, Momentum

    return {
        "law": (*DecayLaw, "other"),
        "order": ("previous", "updated", "either"),
        "epsilon": tuple(Epsilon),
        "momentum": tuple(Momentum),
    }[axis]


def _require(value: str, allowed: tuple[str, ...], what: str) -> None:
    """Raise `InvalidExpectation` unless `value` is one of `allowed`."""
    if value in allowed:
        return
    close = difflib.get_close_matches(value, allowed, n=1)
    hint = f"; did you mean {str(close[0])!r}?" if close else ""
    raise InvalidExpectation(f"{what} {value!r} should be one of {', '.join(allowed)}{hint}")
