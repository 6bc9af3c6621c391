"""From what was observed to findings: one small function per rule of the rule table, listed in `FINDERS`.

Those about the kind of decay, its law and the working precision have files of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import kind_findings, law_findings, precision_findings
from .checks import left_at
from .hypotheses import Hypothesis
from .observations import Observations, make_finding
from .result import Decision, Finding, Severity, Verdict


def findings_of(observed: Observations) -> tuple[Finding, ...]:
    """Return every finding, in the order of the codes."""
    found = [finding for finder in FINDERS for finding in finder(observed)]
    return tuple(sorted(found, key=lambda finding: finding.rule))


def _update_mismatch(observed: Observations) -> Iterator[Finding]:
    wanted, found = observed.documented_rule, observed.matching.match
    accepted = observed.matching.rules
    if observed.matching.contradicts(observed.verdict):
        yield make_finding(
            "OC301",
            f"decay is {observed.verdict} at the probe's hyperparameters, but at the user's own the trajectory is "
            f"that of {found.rule}",
            rerun=observed.rerun,
            found=found.rule,
        )
    if observed.departure:
        yield make_finding(
            "OC301",
            f"decay is {observed.verdict} at the probe's hyperparameters, but {observed.departure}",
            rerun=observed.rerun,
        )
    if wanted is None or wanted in accepted or not found.elements:
        return
    if accepted:
        yield make_finding(
            "OC301", f"documented to follow {wanted}, but walks {found.rule}", rerun=observed.rerun, documented=wanted
        )
        return
    yield make_finding(
        "OC301",
        f"documented to follow {wanted}, but matches no form of it{left_at(observed.matching)}",
        rerun=observed.rerun,
        documented=wanted,
        nearest=found.nearest,
        explained_by=found.explained_by,
        **observed.matching.first_violation,
    )


def _epsilon_placement(observed: Observations) -> Iterator[Finding]:
    yield from _axis(observed, "OC302", "epsilon", observed.matching.match.epsilon, "epsilon is placed {}")


def _bias_correction(observed: Observations) -> Iterator[Finding]:
    forms = {str(_option(hypothesis, "bias_correction")) for hypothesis in observed.matching.accepted}
    if forms and forms <= {"off", "off by one"}:
        form = "missing" if forms == {"off"} else "off by one step" if forms == {"off by one"} else "wrong"
        yield make_finding("OC303", f"bias correction is {form}", rerun=observed.rerun, found=sorted(forms))


def _momentum_convention(observed: Observations) -> Iterator[Finding]:
    text = "the momentum buffer has the learning rate {}"
    yield from _axis(observed, "OC304", "momentum", observed.matching.match.momentum, text)


def _non_finite(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if "NaN" in kind.reason:
            yield make_finding(
                "OC409", f"{parameter!r}: {kind.reason} (trace {trace})", parameter=parameter, rerun=observed.rerun
            )
            return
    first = observed.matching.non_finite
    if first:
        yield make_finding(
            "OC409",
            f"{first['parameter']!r}: the parameters became NaN or infinite at step {first['step']} of trace "
            f"{first['trace']}, at the user's own hyperparameters",
            parameter=first["parameter"],
            rerun=observed.rerun,
            step=first["step"],
        )


def _weak_trace(observed: Observations) -> Iterator[Finding]:
    for (trace, parameter), kind in observed.kinds.items():
        if kind.verdict is Verdict.INCONCLUSIVE:
            yield make_finding(
                "OC905", f"trace {trace}, {parameter!r}: {kind.reason}", parameter=parameter, rerun=observed.rerun
            )
            break
    match = observed.matching.match
    if match.decision is Decision.UNDECIDABLE:
        yield make_finding(
            "OC905",
            f"nothing is decided at the user's own hyperparameters: none of {match.undecidable} elements has a bound "
            f"that says anything in {observed.dtype}",
            rerun=observed.rerun,
            undecidable=match.undecidable,
        )


def _axis(observed: Observations, code: str, axis: str, found: str | None, text: str) -> Iterator[Finding]:
    """Yield the finding that reports an axis, as an error where another value was expected.

    An axis that is undetermined raises nothing here: its check fails, and what kept it from being
    determined (a wrong decay, say) has its own finding.
    """
    if found is None:
        return
    expected = getattr(observed.expectation, axis)
    wrong = expected is not None and found != expected
    yield make_finding(
        code,
        text.format(found.removeprefix("lr_")) + (f"; {expected} was expected" if wrong else ""),
        severity=Severity.ERROR if wrong else None,
        rerun=observed.rerun,
        found=found,
        expected=expected,
    )


def _option(hypothesis: Hypothesis, name: str) -> Any:
    return getattr(hypothesis.options, name, None)


FINDERS: tuple[Callable[[Observations], Iterator[Finding]], ...] = (
    *kind_findings.FINDERS,
    *law_findings.FINDERS,
    _update_mismatch,
    _epsilon_placement,
    _bias_correction,
    _momentum_convention,
    *precision_findings.FINDERS,
    _non_finite,
    _weak_trace,
)
