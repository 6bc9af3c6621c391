"""Findings about the law of the decay: which it is, and whether it follows the learning rate of the step."""

from __future__ import annotations

from collections.abc import Iterator

from .observations import Observations, make_finding
from .result import SCHEDULE_WORDS, Finding, Severity


def _decay_law(observed: Observations) -> Iterator[Finding]:
    if observed.law is None:
        return
    if observed.law.decay.law is None:
        yield make_finding(
            "OC201",
            f"the law cannot be found: {observed.law.missing}",
            severity=Severity.WARNING,
            rerun=observed.rerun,
        )
        return
    decay, expected = observed.law.decay, observed.expectation.law
    exponents = f"lr**{_number(decay.lr_exponent)} * wd**{_number(decay.wd_exponent)}"
    shown = f"decay follows the law {decay.law}: c = {_number(decay.factor)} * {exponents}"
    if decay.factor is None and observed.law.form is not None:
        shown = (
            f"decay follows no law: its coefficient goes as {exponents}, but changes with the number of steps besides"
        )
    schedule = SCHEDULE_WORDS[decay.follows_schedule]
    wrong = expected is not None and expected != decay.law
    yield make_finding(
        "OC201",
        f"{shown}; it {schedule}" + (f"; {expected} was expected" if wrong else ""),
        severity=Severity.ERROR if wrong else None,
        rerun=observed.rerun,
        law=decay.law,
        expected=expected,
    )


def _decay_ignores_schedule(observed: Observations) -> Iterator[Finding]:
    if observed.law and not observed.law.stale:
        decay = observed.law.decay
        if decay.follows_schedule is False and decay.lr_exponent not in (None, 0.0):
            yield make_finding(
                "OC202",
                "decay depends on the learning rate it was built with, not on that of the step",
                rerun=observed.rerun,
            )


def _stale_decay_lr(observed: Observations) -> Iterator[Finding]:
    if observed.law and observed.law.stale:
        yield make_finding("OC203", "decay follows the learning rate of the step before", rerun=observed.rerun)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


FINDERS = (_decay_law, _decay_ignores_schedule, _stale_decay_lr)
