"""The list of checks that an optimizer is tested by, made without running one, and what calling one does."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NoReturn

from ...adapters.errors import MissingFramework, TargetError
from ..api import failure_text
from ..codes import CODES
from ..metamorphic.setting import MetamorphicCheck
from ..metamorphic.table import CHECKS
from ..result import Check, Counting, Finding, Severity, Verdict
from .decay_checks import DECAY_CHECKS, DecayCheck, part_of, undecided
from .examination import Examination, examination_of
from .optimizer import Optimizer
from .session import Settings, current


@dataclass(frozen=True, slots=True)
class Judged:
    """What one check found in one optimizer, codes that do not count left out."""

    checks: Sequence[Check]
    findings: Sequence[Finding]
    undecided: str = ""
    """Why there is no answer where one is needed: neither passed nor skipped."""
    rerun: str = ""
    about: str = ""
    """What was found and expected of the decay as a whole."""

    @property
    def failing_codes(self) -> set[str]:
        """The rules of the findings that count as errors."""
        return {finding.rule for finding in self.findings if finding.severity is Severity.ERROR}

    @property
    def outcome(self) -> str:
        """`undecided`, `failed`, `passed` or `skipped`; a warning is no failure."""
        if self.undecided:
            return "undecided"
        if self.failing_codes or any(check.counts_against for check in self.checks):
            return "failed"
        return "skipped" if all(check.outcome == "skipped" for check in self.checks) else "passed"


@dataclass(frozen=True, slots=True, repr=False)
class OptimizerCheck:
    """One check, to be called with an `Optimizer`."""

    id: str
    codes: tuple[str, ...]
    """The rules it may find."""
    judge: Callable[[Examination, Counting], Judged]

    def __repr__(self) -> str:
        return f"<check {self.id}>"

    def __call__(self, optimizer: Optimizer) -> None:
        """Return where `optimizer` passes; else say so as pytest has it.

        Raises `AssertionError` with the findings and the command that shows them where it fails, where nothing could
        be decided, and where an expected failure is none. Skips, with the reason, where there is nothing to check.
        Raises what `optconform.audit` does for a target, an option or a trace that does not exist.
        """
        __tracebackhide__ = True
        session = current()
        here = _pytest_command(session.settings)
        # What the summary counts where an exception leaves the check.
        session.told = {"optimizer": optimizer.id, "outcome": "failed", "findings": [], "rerun": here}
        counting = counting_of(session.settings.select)
        try:
            judged = self.judge(examination_of(optimizer, session.settings), counting)
        except (MissingFramework, TargetError) as error:
            raise error.with_traceback(None) from error.__cause__  # where it arose says nothing; its cause may
        # Only what was named by text is found again by another command than this test.
        judged = replace(judged, rerun=(isinstance(optimizer.target, str) and judged.rerun) or here)
        outcome, text = _as_expected(self, optimizer, judged, counting)
        findings = [(finding.rule, str(finding.severity)) for finding in judged.findings]
        session.told |= {"outcome": outcome, "findings": findings, "rerun": judged.rerun}
        if outcome != "passed":
            _end(outcome, text)


def _as_expected(check: OptimizerCheck, optimizer: Optimizer, judged: Judged, counting: Counting) -> tuple[str, str]:
    """Return how the item ends, and why: the outcome of `judged`, or `expected` for a failure that was declared.

    A declared failure that does not come is a failure itself, unless the codes that count leave it open.
    """
    declared = {
        key: reason
        for key, reason in optimizer.expected_failures.items()
        if (key in check.codes and counting.includes(key))
        or (key == check.id and all(map(counting.includes, check.codes)))
    }
    failed = judged.outcome in ("failed", "undecided")
    outdated = [key for key in declared if not (failed if key == check.id else key in judged.failing_codes)]
    heading = f"{optimizer.id}: {check.id} {judged.outcome}"
    if judged.outcome == "skipped":
        return "skipped", "; ".join(dict.fromkeys(check.message for check in judged.checks))
    if outdated:
        named = ", ".join(f"{key} ({declared[key]})" for key in outdated)
        heading += f", but expected to fail with {named}: remove it from expected_failures"
        return "failed", failure_text(heading, judged.checks, judged.findings, judged.rerun)
    if not failed:
        return "passed", ""
    excused = check.id in declared or (judged.failing_codes and judged.failing_codes <= declared.keys())
    if excused:
        return "expected", "; ".join(declared.values())
    why = judged.undecided or judged.about
    heading += f": {why}" if why else ""
    return judged.outcome, failure_text(heading, judged.checks, judged.findings, judged.rerun)


def _end(outcome: str, text: str) -> NoReturn:
    """End the item that runs as skipped, as an expected failure or as failed."""
    __tracebackhide__ = True
    import pytest  # only a test calls a check; listing them needs no pytest

    if outcome == "skipped":
        pytest.skip(text)
    if outcome == "expected":
        pytest.xfail(text)
    raise AssertionError(text)  # with --runxfail, what was expected to fail too


def _pytest_command(settings: Settings) -> str:
    """Return the command line that runs the pytest item that runs now again; empty outside of pytest."""
    item, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
    words = ["pytest", item, *(word for trace in settings.traces for word in ("--optconform-trace", trace))]
    words += [] if settings.device == "cpu" else ["--optconform-device", settings.device]
    return shlex.join(words) if item else ""


def _judge_decay(row: DecayCheck, examination: Examination, counting: Counting) -> Judged:
    whole = examination.decay
    result = whole if whole.verdict is Verdict.ERROR else whole.counting_only(counting)
    checks, findings = part_of(row, result)
    about = f"{whole.verdict}, expected {whole.expected}: {whole.reason}"
    return Judged(checks, findings, undecided(row, whole), result.rerun, about)


def _judge_row(row: MetamorphicCheck, examination: Examination, counting: Counting) -> Judged:
    if examination.blocked:
        whole = examination.decay  # which says whether it runs at all
        could_not_run = whole.findings if whole.verdict is Verdict.ERROR else ()
        return Judged((), could_not_run, "" if could_not_run else examination.blocked, whole.rerun)
    codes = tuple(code for code in (row.code, *row.also) if counting.includes(code))
    checks, findings = examination.row(row)
    counted = [finding for finding in findings if counting.includes(finding.rule)]
    left = [check for check in checks if check.outcome != "failed" or counting.includes(check.code or row.code)]
    ignored = Check(row.name, "skipped", "failed under codes that do not count")
    return Judged(left or [ignored], counted, "", Counting(select=codes).added_to(examination.rerun) or "")


OPTIMIZER_CHECKS: tuple[OptimizerCheck, ...] = (
    *(OptimizerCheck(row.id, row.codes, partial(_judge_decay, row)) for row in DECAY_CHECKS),
    *(OptimizerCheck(row.name.replace(" ", "_"), (row.code, *row.also), partial(_judge_row, row)) for row in CHECKS),
)
"""Those of the audit of the decay, which is computed once for all of them, and the metamorphic ones, one by one."""


def selected(words: Sequence[str], checks: Sequence[OptimizerCheck] = OPTIMIZER_CHECKS) -> list[OptimizerCheck]:
    """Return the checks that `words` name, by id or by a code that they may find; all where there is no word.

    Raises `ValueError` for a word that is neither.

    >>> [check.id for check in selected(["law", "OC402"])]
    ['law', 'grouping']
    """
    for word in words:
        if not any(word == check.id or word in check.codes for check in checks):
            raise ValueError(f"{word!r} is no check, nor the code of a rule that one of them finds; {_known(checks)}")
    return [check for check in checks if not words or check.id in words or not set(words).isdisjoint(check.codes)]


def counting_of(words: Sequence[str]) -> Counting:
    """Return which codes count where `words` are selected: these, and all those of a check that is named by its id."""
    return Counting(select=tuple(sorted({code for word in words for code in _codes_named(word)})))


def _codes_named(word: str) -> tuple[str, ...]:
    return next((check.codes for check in OPTIMIZER_CHECKS if check.id == word), (word,))


def require_known(optimizer: Optimizer) -> None:
    """Raise `ValueError` where an expected failure of `optimizer` names no check, or more than one by a code."""
    for key in optimizer.expected_failures:
        ids = [check.id for check in OPTIMIZER_CHECKS if key == check.id or key in check.codes]
        where = f"expected_failures of {optimizer.id}: {key!r}"
        if not ids:
            known = "is found by no check here" if key in CODES else "is no check and no code"
            raise ValueError(f"{where} {known}; {_known(OPTIMIZER_CHECKS)}")
        if len(ids) > 1:
            raise ValueError(f"{where} may be found by several checks; name the one that is meant: {', '.join(ids)}")


def _known(checks: Sequence[OptimizerCheck]) -> str:
    codes = sorted({code for check in checks for code in check.codes})
    return f"checks are {', '.join(check.id for check in checks)}; codes are {', '.join(codes)}"
