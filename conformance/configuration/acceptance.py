"""Apply accepted findings to the results of a run, and tell of entries that match nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..result import Counting, ExitStatus, Result
from .mistakes import nearest
from .paths import shown_path
from .plan import CheckPlan, Instead
from .values import Accepted, Configuration


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The results with their accepted findings marked, and what is to be said of the entries."""

    results: tuple[Result, ...]
    unmatched: tuple[str, ...] = ()
    """Entries that match no finding, a sentence each: errors."""
    undecided: tuple[str, ...] = ()
    """Entries of which this run cannot tell, a sentence each."""


def accept_findings(
    configuration: Configuration,
    plan: CheckPlan,
    judged: Sequence[tuple[str, Result]],
    counting: Counting,
    instead: Instead,
) -> Acceptance:
    """Return what becomes of the results under the configuration's accepted findings.

    `judged` holds each result with its target, as the configuration writes it. An entry that matches none is an error,
    unless this run could not have found it: its code does not count, a target it is about was left out or could not
    run, or the command line changes what is checked.
    """
    targets = [target for target, _ in judged]
    marked = tuple(
        result.accepting({entry.code: entry.reason for entry in configuration.accept if entry.covers(target)})
        for target, result in judged
    )
    unmatched, undecided = [], []
    for index, entry in enumerate(configuration.accept):
        about = [result for target, result in zip(targets, marked, strict=True) if entry.covers(target)]
        found = [finding for result in about for finding in result.findings if finding.rule == entry.code]
        if any(finding.accepted for finding in found):
            continue
        subject = f"tool.optconform.accept[{index}] ({entry.code}, {entry.target})"
        named = subject if configuration.file is None else f"{shown_path(configuration.file)}: {subject}"
        why = _why_undecided(entry, about, plan, counting, instead)
        if why:
            undecided.append(f"{named} was not looked for: {why}")
        elif found:
            unmatched.append(f"{named} matches what only informs, and would hide the first error: remove it")
        elif about:
            unmatched.append(f"{named} matches no finding: remove it")
        else:
            hint = nearest(entry.target, list(dict.fromkeys(targets)))
            unmatched.append(f"{named} is about no target of this run: correct or remove it{hint}")
    return Acceptance(marked, tuple(unmatched), tuple(undecided))


def _why_undecided(
    entry: Accepted, about: Sequence[Result], plan: CheckPlan, counting: Counting, instead: Instead
) -> str:
    """Return why this run cannot tell whether an entry matches anything; empty where it can."""
    left_out = [each.sentence for each in plan.left_out if any(map(entry.covers, each.targets))]
    if not counting.includes(entry.code):
        return f"{entry.code} does not count"
    if left_out:
        return left_out[0]
    if any(result.exit_status is ExitStatus.COULD_NOT_RUN for result in about):
        return "a target could not run"
    # Options change what is found of a target; which targets there are, --framework alone.
    return f"the command line has {instead.options}" if instead.framework or (about and instead.options) else ""
