"""The checks of the audit of the decay, in groups under which a test can name them before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..result import Check, Finding, Match, Result, Verdict


@dataclass(frozen=True, slots=True)
class DecayCheck:
    """One group of the checks and findings of an audit."""

    id: str
    codes: tuple[str, ...]
    """Rules whose findings belong to it."""
    names: tuple[str, ...]
    """The names of its checks in a result, less what stands in brackets."""
    untold: Callable[[Result], str]
    """Why the audit does not tell it where it made none of these checks; empty where it does."""


def _law(result: Result) -> str:
    return "" if result.decay.law else f"no law of decay was found: the verdict is {result.verdict}"


def _order(result: Result) -> str:
    return "" if result.decay.applied_to else f"no order was found: the verdict is {result.verdict}"


def _rounding(result: Result) -> str:
    if result.decay.effective_ratio is not None:
        return ""
    return result.decay.effective_note or f"no decay to measure: the verdict is {result.verdict}"


def _matches(result: Result) -> list[Match]:
    return [match for match in (result.match, result.probe_match) if match is not None]


def _epsilon(result: Result) -> str:
    return "" if any(match.epsilon for match in _matches(result)) else "no epsilon was found in the rule"


def _momentum(result: Result) -> str:
    return "" if any(match.momentum for match in _matches(result)) else "no momentum was found in the rule"


def _nothing(result: Result) -> str:
    return f"nothing was decided: {result.reason}"


DECAY_CHECKS: tuple[DecayCheck, ...] = (
    DecayCheck(
        "kind",
        ("OC101", "OC102", "OC103", "OC105", "OC106", "OC107", "OC108", "OC109", "OC410", "OC905"),
        ("kind", "option"),
        _nothing,
    ),
    DecayCheck("order", ("OC104",), ("order",), _order),
    DecayCheck("law", ("OC201", "OC202", "OC203"), ("law",), _law),
    DecayCheck("rounding", ("OC204", "OC305", "OC306"), (), _rounding),
    DecayCheck("trajectory", ("OC301", "OC303", "OC409"), ("trajectory", "own values"), _nothing),
    DecayCheck("epsilon", ("OC302",), ("epsilon",), _epsilon),
    DecayCheck("momentum", ("OC304",), ("momentum",), _momentum),
)
"""Every check and every finding of an audit without metamorphic checks belongs to one of them."""

COULD_NOT_RUN = ("OC901", "OC902")
"""Findings of an audit that could not be made: then every check fails with them."""


def part_of(row: DecayCheck, result: Result) -> tuple[Sequence[Check], Sequence[Finding]]:
    """Return the checks and findings of `result` that belong to `row`; one check at least.

    Where the audit made no check by that name, there is one that passed if it told what the row is about.
    """
    findings = [each for each in result.findings if each.rule in (*row.codes, *COULD_NOT_RUN)]
    checks = [each for each in result.checks if each.name.partition("[")[0] in row.names]
    if not checks:
        untold = row.untold(result)
        checks = [Check(row.id, "skipped" if untold else "passed", untold or "told, and nothing else was expected")]
    return checks, findings


def undecided(row: DecayCheck, result: Result) -> str:
    """Return why `result` is no answer at all where one is needed; else nothing.

    The kind of decay has to be told for anything to pass; the other checks are skipped where it is not. Of what no
    trace can drive (OC906), nothing was looked at.
    """
    needed = row.id == "kind" or any(each.rule == "OC906" for each in result.findings)
    return result.reason if needed and result.verdict is Verdict.INCONCLUSIVE else ""
