"""What a run has checked and what it has not, a sentence each: a pass says nothing of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ...adapters.text import counted, escape_control
from ..choices import DTYPES
from ..result import ExitStatus, Result

_STATUSES = {
    ExitStatus.AS_EXPECTED: "as expected",
    ExitStatus.NOT_AS_EXPECTED: "not",
    ExitStatus.COULD_NOT_RUN: "could not run",
    ExitStatus.UNDECIDED: "undecided",
}
_OUTCOMES = ("passed", "failed", "skipped")
_ALWAYS = (ExitStatus.AS_EXPECTED, ExitStatus.NOT_AS_EXPECTED, "passed")
"""What is counted even where there is none."""
_USES = "groups, checkpoints and other ways of using it (audit)"


def checked(results: Sequence[Result]) -> str:
    """Return how many optimizers were checked, how that ended, and in what."""
    statuses = Counter(result.exit_status for result in results)
    outcomes = Counter(check.outcome for result in results for check in result.checks)
    ends = [
        f"{statuses[status]} {words}" for status, words in _STATUSES.items() if statuses[status] or status in _ALWAYS
    ]
    counts = [f"{outcomes[each]} {each}" for each in _OUTCOMES if outcomes[each] or each in _ALWAYS]
    where = f"in {_listed(result.dtype for result in results)} on {_listed(result.device for result in results)}"
    traces = _listed(trace["name"] for result in results for trace in result.traces)
    gradients = f", on the gradients of {traces}" if traces else ""
    parts = [
        f"{counted(len(results), 'optimizer')}: {', '.join(ends)}",
        f"{counted(outcomes.total(), 'check')}: {', '.join(counts)}",
    ]
    accepted = sum(bool(finding.accepted) for result in results for finding in result.findings)
    if accepted:
        parts.append(f"{counted(accepted, 'finding')} accepted")
    if results:
        parts.append(f"{counted(sum(result.elements for result in results), 'element')} compared {where}{gradients}")
    return "; ".join(parts) + "."


def not_checked(results: Sequence[Result], missing: Sequence[str], *, uses: bool) -> str:
    """Return what the run has left out: frameworks, codes, precisions, devices, traces and, without `uses`, those."""
    selected = _listed(code for result in results for code in result.counting.select)
    ignored = _listed(code for result in results for code in result.counting.ignore)
    parts = [
        f"{', '.join(missing)} (not installed)" if missing else "",
        f"every code but {selected} (--select)" if selected else "",
        f"{ignored} (--ignore)" if ignored else "",
        *beyond(results, uses=uses),
    ]
    named = "; ".join(part for part in parts if part)
    return f"NOT CHECKED: {named}." if named else "NOTHING RAN."


def beyond(results: Sequence[Result], *, uses: bool) -> list[str]:
    """Return the precisions, devices, traces and, without `uses`, ways of using an optimizer that have no result."""
    if not results:
        return []
    others = left_out((result.dtype for result in results), (result.device for result in results))
    return others if uses else [*others, _USES]


def left_out(dtypes: Iterable[str], devices: Iterable[str]) -> list[str]:
    """Return the precisions, devices and traces that a run in `dtypes` on `devices` leaves out."""
    used = set(dtypes)
    others = _listed(dtype for dtype in DTYPES if dtype not in used)
    rest = [f"devices other than {_listed(devices)} (--device)", "other traces (--trace)"]
    return [f"{others} (--dtype)", *rest] if others else rest


def _listed(names: Iterable[str]) -> str:
    return escape_control(", ".join(dict.fromkeys(names)))
