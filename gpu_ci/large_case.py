"""Large cases of the gate: what `run_large` finds, as the result of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..adapters.frameworks import is_findable
from ..conformance.measured import Measured
from ..conformance.observations import make_finding
from ..conformance.result import Check, Decision, Finding, Match, Result, Separation, Verdict
from ..conformance.traces.generated import generated_trace
from ..reference.follow import Mode
from .case import Case
from .gate_run import CaseResult
from .large import LargeResult, run_large
from .large_judging import LR, RIVAL_NAME, RULE_NAME, WEIGHT_DECAY, Judged

LARGE = "large"
"""Execution of such a case: steps, gradients and judging all on the device."""
_ON_HOST, _ON_DEVICE = ("sample_on_host",), ("sample_on_device", "sample_on_host", "full")
_SHOWN: Mapping[str, str] = {
    "sample_on_device": "a sample judged on the device",
    "sample_on_host": "a sample judged on the host",
    "full": "every element judged on the device",
}


def run_large_case(case: Case, device: str, blank: Result) -> CaseResult:
    """Return what came of a large case, whose trace is a `generated` one. Raises what `run_large` raises."""
    trace = generated_trace(case.trace)
    ways = _ON_DEVICE if _judges_on_device(case.runtime) else _ON_HOST
    found = run_large(
        case.runtime,
        device,
        trace.size,
        trace.n_steps,
        trace.seed,
        dtype=case.dtype,
        sample=_sample(trace.size),
        ways=ways,
    )
    worst = max(found.judged.values(), key=lambda judged: judged.bound_ratio)
    seen = f"parameters, gradient and state lived on {' and '.join(found.lived_on)}"
    alike, there = (
        Check("reproducible", "passed" if found.reproducible else "failed", "the sample after two courses", "OC411"),
        Check("device", "passed" if found.lived_on == (device,) else "failed", seen, "OC503"),
    )
    verdict, decision = _decided(found, worst)
    result = replace(
        blank,
        verdict=verdict,
        reason=f"{worst.compared:,} elements of {trace.size:,} in {trace.n_steps} steps, {worst.bound_ratio:.2g} of "
        f"the bound of {RULE_NAME} at the worst",
        remark=cost_of(found),
        hyperparameters={"lr": LR, "weight_decay": WEIGHT_DECAY},
        match=_match(found, worst, decision),
        separation=Separation(worst.bound_ratio, RIVAL_NAME, worst.rival_ratio),
        checks=(*(_check(way, judged) for way, judged in found.judged.items()), alike, there),
        traces=({"name": trace.name, "sha256": trace.sha256},),
        findings=tuple(_findings(found, worst, blank, there)),
    )
    measured = Measured(found.bits, 2, found.reproducible, proof=f"{seen}; {cost_of(found)}")
    return CaseResult(case, result, measured)


def _decided(found: LargeResult, worst: Judged) -> tuple[Verdict, Decision]:
    """Return verdict and decision: undecided where nothing is outside, but the rival is not, either."""
    if not worst.bound_ratio <= 1.0:
        return Verdict.OTHER, Decision.REJECT
    if not found.conforms:
        return Verdict.INCONCLUSIVE, Decision.UNDECIDABLE
    return Verdict.DECOUPLED, Decision.ACCEPT


def cost_of(found: LargeResult) -> str:
    """Return in one sentence what judging cost, as ratios to the bare steps."""
    said = ", ".join(f"{_SHOWN[way]} {ratio:.2f}" for way, ratio in found.ratios.items())
    left = "" if "full" in found.ratios else "; every element was not judged: it takes array-api-compat"
    return f"in times of the bare steps ({found.seconds['bare']:.3g} s): {said}{left}"


def _sample(size: int) -> int:
    return min(10**6, size)


def _judges_on_device(runtime: str) -> bool:
    """Whether the reference can run on the framework's own arrays here."""
    return runtime != "torch" or is_findable("array_api_compat")


def _check(way: str, judged: Judged) -> Check:
    message = f"{judged.compared:,} elements, worst ratio {judged.bound_ratio:.2g}"
    undecided = "skipped" if judged.bound_ratio <= 1.0 else "failed"
    return Check(f"trajectory[{way}]", "passed" if judged.conforms else undecided, message, "OC501")


def _match(found: LargeResult, worst: Judged, decision: Decision) -> Match:
    inside = worst.bound_ratio <= 1.0
    rivals = {} if worst.rival_ratio is None else {RIVAL_NAME: worst.rival_ratio}
    return Match(
        decision,
        RULE_NAME if inside else None,
        bound_ratio=worst.bound_ratio if inside else None,
        rivals=rivals,
        elements=worst.compared,
        undecidable=worst.undecidable,
        mode=str(Mode.THETA_RESYNC),
        computed_in=found.dtype,
        platform=found.platform,
    )


def _findings(found: LargeResult, worst: Judged, blank: Result, there: Check) -> list[Finding]:
    findings = []
    if not worst.bound_ratio <= 1.0:
        evidence: dict[str, Any] = {"step": worst.step, "element": [worst.element], "factor": worst.bound_ratio}
        message = f"outside the bound of {RULE_NAME} on {blank.device} by a factor of {worst.bound_ratio:.3g}"
        findings.append(make_finding("OC501", message, rerun=blank.rerun, parameter="theta", **evidence))
    if not found.reproducible:
        findings.append(make_finding("OC411", "two courses end with other bits in the sample", rerun=blank.rerun))
    if there.outcome == "failed":
        message = f"the steps did not run on {blank.device}: {there.message}"
        findings.append(make_finding("OC503", message, rerun=blank.rerun, device=blank.device))
    return findings
