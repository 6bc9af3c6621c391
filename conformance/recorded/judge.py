"""Judge one recorded run: every group against the rules of the reference, and a result as an audit has it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ...adapters.frameworks import FRAMEWORKS
from ..audit import plain_values, versions
from ..checks import axis_checks, separation, trajectory_check
from ..expectation import Expectation
from ..findings import findings_of
from ..observations import Observations, make_finding
from ..replaying import OnStep
from ..rerun import recorded_command
from ..result import Check, Decay, Decision, Finding, ParameterResult, Result, Verdict
from ..series import Series
from ..traces import DirectoryTrace, Trace, TraceError
from ..traces.run import RecordedRun
from .declared import declared, public_name
from .kinds import Kind, hidden_decay, kinds_of, over_kinds
from .parts import changed_before, groups_of, keeps_theta, names_shown

_REMARK = "a recorded run, judged by its gradients and its parameters after every step; nothing was executed"
_CODES = {Verdict.L2: "OC101", Verdict.OTHER: "OC301"}
_MOST = 8
"""Steps in a sentence."""
_OWN_VERSIONS = ("optconform", "python", "numpy")
"""Those that judge, which may be others than those that recorded."""
_GRAVEST = (Decision.REJECT, Decision.UNDECIDABLE, Decision.CANNOT_TELL, None, Decision.ACCEPT)


def judge_run(
    trace: Trace,
    expectation: Expectation | None = None,
    *,
    device: str = "cpu",
    trace_argument: str | None = None,
    on_step: OnStep | None = None,
) -> Result:
    """Return whether the run that `trace` was recorded from obeyed the rule that its optimizer is documented to follow.

    The reference begins every step with the recorded parameters (theta-resync), every stretch of steps with the
    recorded state too, and takes the learning rate and the other hyperparameters of each step as they were held then.
    `expectation` is by default what is documented of the class, or decoupled decay. `device` is where the run took
    place: GPUs round otherwise. `trace_argument` names the trace in the command that judges it again. Raises
    `TraceError` where theta was not kept after the steps, or the framework is none that is known.
    """
    start = time.perf_counter()
    if not keeps_theta(trace):
        raise TraceError(
            trace.location if isinstance(trace, DirectoryTrace) else trace.name,
            "a trace without the parameters after each step",
            "a recorded run that kept them",
            "Record it with snapshots=True, or name a target that is to be replayed on it.",
        )
    run = trace.run
    assert run is not None, "it kept theta"
    if run.framework not in FRAMEWORKS:
        known = f"one of {', '.join(FRAMEWORKS)}"
        raise TraceError(trace.location, f"a run in {run.framework!r}", known, "Record it with a framework known here.")
    groups, unjudged = groups_of(trace)
    documents = [declared(run.optimizer, group.hyperparameters.held) for group in groups]
    kinds = [
        kind
        for group, document in zip(groups, documents, strict=True)
        for kind in kinds_of(group, run, device, document, on_step)
    ]
    document = documents[0] if documents else declared(run.optimizer, {})
    wanted = expectation or document.expectation
    rerun = recorded_command(trace_argument, None if expectation is None else str(expectation), device)
    weak = [*unjudged, *_changed_between(trace), *_unseen(run, kinds)]
    result = Result(
        target=document.spec,
        framework=run.framework,
        verdict=over_kinds(kinds),
        expected=str(wanted),
        reason=_reason(kinds, unjudged),
        device=device,
        path="recorded",
        remark=_REMARK,
        versions=versions(_versions(trace)),
        cannot_tell=(*weak, *_stays_open(trace, kinds)),
        parameters=tuple(_parameters(kinds)),
        findings=_findings(kinds, wanted, rerun, weak),
        traces=({"name": trace.name, "sha256": trace.sha256},),
        rerun=rerun,
    )
    if kinds:
        result = _with_match(result, kinds)
    result = replace(result, checks=tuple(_checks(result, kinds, wanted, unjudged)))
    return replace(result, seconds=time.perf_counter() - start)


def _versions(trace: Trace) -> dict[str, str]:
    """Return the versions of what the run took place on, as far as the recording says."""
    noted = trace.provenance.get("versions")
    named = noted.items() if isinstance(noted, dict) else ()
    return {name: version for name, version in named if isinstance(version, str) and name not in _OWN_VERSIONS}


def _with_match(result: Result, kinds: Sequence[Kind]) -> Result:
    """Return `result` with the match of the gravest kind, those excluded from decay last, and what follows from it."""
    gravest = min(
        kinds,
        key=lambda kind: (
            _GRAVEST.index(kind.matching.match.decision) if kind.verdict is not Verdict.EXCLUDED else len(_GRAVEST),
            -(kind.matching.match.bound_ratio or 0.0),
        ),
    )
    match = gravest.matching.match
    elements, undecidable = (
        sum(getattr(kind.matching.match, count) for kind in kinds) for count in ("elements", "undecidable")
    )
    return replace(
        result,
        dtype=gravest.group.dtype,
        hyperparameters=plain_values(gravest.group.hyperparameters.held),
        decay=gravest.law.decay if gravest.law else Decay(),
        match=replace(match, elements=elements, undecidable=undecidable),
        separation=separation(result.verdict, {}, gravest.matching),
        series=Series(distances=gravest.matching.distances),
    )


def _reason(kinds: Sequence[Kind], unjudged: Sequence[str]) -> str:
    """Return what the verdict rests on: what was found, each with the parameters of which it was found."""
    if not kinds:
        return f"nothing of the run can be judged: {'; '.join(unjudged) or 'it has no parameter with an element'}"
    decayed = [kind for kind in kinds if kind.verdict is not Verdict.EXCLUDED]
    if not decayed:
        return f"nothing decays, so there is no kind of decay to tell: {kinds[0].reason}"
    if len(decayed) == 1:
        return decayed[0].reason
    by_verdict: dict[Verdict, list[Kind]] = {}
    for kind in decayed:
        by_verdict.setdefault(kind.verdict, []).append(kind)
    if len(by_verdict) == 1:
        return max(decayed, key=lambda kind: kind.matching.match.bound_ratio or 0.0).reason
    return "; ".join(
        f"{verdict} for {names_shown([name for kind in alike for name in kind.names])}: {alike[0].reason}"
        for verdict, alike in by_verdict.items()
    )


def _stays_open(trace: DirectoryTrace, kinds: Sequence[Kind]) -> Iterator[str]:
    """Yield what the numbers that were recorded leave open, a sentence each."""
    told, untold = (sum(getattr(each.matching.match, count) for each in kinds) for count in ("elements", "undecidable"))
    if untold:
        yield f"{untold:,} of {told + untold:,} elements: what rounding or overflow explains there has no bound"
    excluded = [kind for kind in kinds if kind.verdict is Verdict.EXCLUDED]
    for compared, why in ((True, "it is 0 there, in every step"), (False, "no step has a gradient of theirs")):
        names = [name for kind in excluded if kind.compared is compared for name in kind.names]
        if names:
            yield f"what weight decay would do to {names_shown(names)}: {why}"
    sampled = [each for each in trace.parameters if each.sampled_from is not None]
    rules = sorted(frozenset().union(*(kind.matching.rules for kind in kinds)))
    if sampled and rules:
        yield (
            f"the elements of {names_shown([each.name for each in sampled])} that were not recorded: a sample shows "
            f"what became of itself, as {' or '.join(rules)} treats every element alone"
        )
    elif sampled:
        yield (
            f"whether {names_shown([each.name for each in sampled])} follow a rule that looks at whole tensors: a "
            "sample of their elements is enough only for rules that treat every element alone"
        )
    for kind in kinds:
        if kind.group.hyperparameters.varying:
            varying = ", ".join(kind.group.hyperparameters.varying)
            yield f"{varying} of {kind.title} as one number: changed during the run, each step was judged by its own"
            break


def _changed_between(trace: DirectoryTrace) -> Iterator[str]:
    """Yield that something besides the optimizer moved the parameters, where something did."""
    changed = [str(segment.step) for segment in changed_before(trace)]
    if changed:
        shown = f"step{'s' if changed[1:] else ''} {', '.join(changed[:_MOST])}{', ...' if changed[_MOST:] else ''}"
        yield (
            f"what changed the parameters before {shown}: they are not those that the step before left, so "
            "something besides the optimizer moved them; each step was judged from where it began"
        )


def _unseen(run: RecordedRun, kinds: Iterable[Kind]) -> Iterator[str]:
    """Yield that an Optax transformation may be more than it was said to be, where it was not found to be that."""
    if run.framework == "jax" and any(kind.verdict is Verdict.OTHER for kind in kinds):
        yield (
            f"whether what was recorded is {public_name(run.optimizer)} alone: Optax does not show it, and clipping "
            "within, a mask or moments in another dtype look like a fault unless the recording is told of them"
        )


def _parameters(kinds: Iterable[Kind]) -> Iterator[ParameterResult]:
    for kind in kinds:
        for each in kind.group.parameters:
            shape = each.shape if each.sampled_from is None else each.sampled_from
            yield ParameterResult(kind.group.parts[0].name, each.name, shape, kind.verdict, reason=kind.reason)


def _findings(kinds: Iterable[Kind], wanted: Expectation, rerun: str, weak: Iterable[str]) -> tuple[Finding, ...]:
    """Return what is found in every group, each finding once, in the order of the codes.

    `weak` is what the recording as a whole leaves open, a sentence each.
    """
    found: dict[tuple[str, str], Finding] = {}
    for sentence in weak:
        finding = make_finding("OC905", f"the recording leaves open {sentence}", rerun=rerun)
        found[finding.rule, finding.message] = finding
    for kind in (kind for kind in kinds if kind.compared):
        observed = Observations(
            kind.verdict,
            wanted,
            {},
            {},
            kind.law,
            kind.matching,
            kind.declared.rule,
            rerun,
            dtype=kind.group.dtype,
            effective=hidden_decay(kind),
        )
        for finding in findings_of(observed):
            found.setdefault((finding.rule, finding.message), finding)
    return tuple(sorted(found.values(), key=lambda finding: finding.rule))


def _checks(result: Result, kinds: Sequence[Kind], wanted: Expectation, unjudged: Sequence[str]) -> Iterator[Check]:
    """Yield the check of the kind, of every group's trajectory, of every axis expected, and what was not judged."""
    told = result.verdict is not Verdict.INCONCLUSIVE
    outcome = ("passed" if wanted.met_by(result.verdict) else "failed") if told else "skipped"
    code = _CODES.get(result.verdict) if outcome == "failed" else None
    yield Check("kind[recorded run]", outcome, result.reason, code)
    for kind in kinds:
        check = trajectory_check(kind.verdict, kind.matching, kind.declared.rule)
        yield replace(check, name=f"{check.name}[{kind.title}]")
    matchings = [kind.matching for kind in kinds if kind.verdict is not Verdict.EXCLUDED]
    yield from axis_checks(wanted, result.decay, matchings, result.verdict)
    for sentence in unjudged:
        yield Check("judged in full", "skipped", sentence)
