"""From a run to a new baseline: whether it is fit to be one, what is kept of the old, and what that changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..conformance.json_form import plain_fields
from ..conformance.result import Decision, ExitStatus, Verdict
from .baseline import Baseline, BaselineCase, BaselineError, baseline_of
from .gate_run import CaseResult, GateRun
from .regression import why_not_missed
from .worse import hardware

_SHOWN = 3
"""Cases that a refusal names; the report of the run names them all."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One value that is another one now; a part of an object as `versions.numpy`, None where it is not there."""

    field: str
    then: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Change:
    """What an update changes."""

    place: tuple[FieldChange, ...] = ()
    added: Mapping[str, BaselineCase] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[FieldChange, ...]] = field(default_factory=dict)
    unchanged: int = 0


def updated_baseline(run: GateRun, old: Baseline | None) -> Baseline:
    """Return the baseline that `run` makes of `old`, which is None where there is none yet.

    `run` is as it was before it was held against one. Cases of `old` that it need not have (single cases or runtimes
    were asked for, slow ones were not) are kept as they are; others that it lacks are gone.

    Raises `BaselineError` where `run` is not fit to be a baseline, as `why_unfit` says, where `old` is of another
    class of devices, and where cases would be kept beside new ones of other hardware, since one file names one.
    """
    unfit = why_unfit(run)
    if unfit:
        raise BaselineError(f"no baseline was made: {unfit}")
    new = baseline_of(run)
    if old is None:
        return new
    if old.place.device_class != new.place.device_class:
        raise BaselineError(
            f"no baseline was made: the file is of {old.place.device_class!r} and this run took place on "
            f"{new.place.device_class!r}; name another file with --baseline, or remove this one"
        )
    kept = {name: case for name, case in old.cases.items() if name not in new.cases and why_not_missed(run, name, case)}
    if kept and hardware(old.place) != hardware(new.place):
        raise BaselineError(
            f"no baseline was made: {len(kept)} cases would be kept that were measured on {old.place.name!r}, beside "
            f"new ones of {new.place.name!r}; run every case with --all, or update it on the same hardware"
        )
    return Baseline(new.place, new.date, {**kept, **new.cases}, new.optconform)


def why_unfit(run: GateRun) -> str:
    """Return why no baseline can be made of `run`: none of its cases ran, or some did not end well; else nothing.

    That a case is not reproducible, or that nothing could be decided, is recorded and no hindrance. A finding that
    the user ignores does not make a case fit that lies outside its bound.
    """
    ran = [result for result in run.results if not result.skipped]
    if not ran:
        return "no case ran; ask for cases and frameworks that are there"
    reasons = {
        "could not run": [each for each in ran if each.result.exit_status is ExitStatus.COULD_NOT_RUN],
        "outside the bound": [each for each in ran if _is_outside(each)],
        "not as expected": [
            each for each in ran if each.result.exit_status is ExitStatus.NOT_AS_EXPECTED and not _is_outside(each)
        ],
    }
    said = [f"{why}: {_named(those)}" for why, those in reasons.items() if those]
    return "; ".join([*said, "correct what the findings say, then update again"]) if said else ""


def _is_outside(measured: CaseResult) -> bool:
    """Whether a case is outside the bound of its rule. Of a rule that the reference lacks there is no such bound."""
    result = measured.result
    beyond = result.match.bound_ratio is not None and not result.match.bound_ratio <= 1.0
    rejected = result.match.decision is Decision.REJECT and result.verdict is not Verdict.INCONCLUSIVE
    return beyond or rejected or any(finding.rule == "OC501" for finding in result.findings)


def _named(those: list[CaseResult]) -> str:
    names = ", ".join(each.case.name for each in those[:_SHOWN])
    return names + (f" and {len(those) - _SHOWN} more" if len(those) > _SHOWN else "")


def changes(old: Baseline | None, new: Baseline) -> Change:
    """Return what is different in `new`; of None everything is added."""
    if old is None:
        return Change(added=dict(sorted(new.cases.items())))
    both = sorted(old.cases.keys() & new.cases.keys())
    differences = {name: _differences(plain_fields(old.cases[name]), plain_fields(new.cases[name])) for name in both}
    changed = {name: each for name, each in differences.items() if each}
    return Change(
        _differences(plain_fields(old.place), plain_fields(new.place)),
        {name: new.cases[name] for name in sorted(new.cases.keys() - old.cases.keys())},
        tuple(sorted(old.cases.keys() - new.cases.keys())),
        changed,
        len(both) - len(changed),
    )


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> tuple[FieldChange, ...]:
    """Return the fields that differ, those of objects one by one, in the order of `now`."""
    found: list[FieldChange] = []
    for key in dict.fromkeys((*now, *then)):
        one, other = then.get(key), now.get(key)
        if isinstance(one, Mapping) or isinstance(other, Mapping):
            found += _differences(one or {}, other or {}, f"{above}{key}.")
        elif one != other:
            found.append(FieldChange(above + key, one, other))
    return tuple(found)


def describe(change: Change) -> str:
    """Return `change` as text: counts, then case by case; what several cases share is said once, with their number."""
    counts = Counter(_line(each) for fields in change.changed.values() for each in fields)
    total = f"{len(change.added)} added, {len(change.removed)} removed, {len(change.changed)} changed"
    lines = [f"baseline: {total}, {change.unchanged} unchanged"]
    lines += [f"  place.{_line(each)}" for each in change.place]
    lines += [f"  {line} ({count} cases)" for line, count in counts.items() if count > 1]
    lines += [f"+ {name}: {_summary(case)}" for name, case in change.added.items()]
    lines += [f"- {name}" for name in change.removed]
    for name, fields in change.changed.items():
        own = [line for each in fields if counts[line := _line(each)] == 1]
        lines += [f"~ {name}", *(f"    {line}" for line in own)] if own else []
    return "\n".join(lines)


def _line(change: FieldChange) -> str:
    return f"{change.field}: {_shown(change.then)} -> {_shown(change.now)}"


def _shown(value: Any) -> str:
    """Return `value` as the file has it, a digest by its beginning."""
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:12]}..."
    return "nothing" if value in (None, "") else json.dumps(value)


def _summary(case: BaselineCase) -> str:
    if case.skipped:
        return f"skipped, {case.skipped}"
    ratio = "" if case.bound_ratio is None else f", {case.bound_ratio:.3g} of the bound"
    return f"{case.verdict} ({case.rule or 'no rule'}){ratio}"
