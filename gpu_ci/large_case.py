"""Large cases of the gate: what `run_large` finds, as the result of a case."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..conformance.observations import make_finding
from ..conformance.result import Check, Decision, Finding, Match, Result, Separation, Verdict
from ..conformance.traces.generated import generated_trace
from ..reference.follow import Mode
from .case import Case
from .large import LargeResult, run_large
from .large_judging import LR, RIVAL_NAME, RULE_NAME, WEIGHT_DECAY, Judged
from .measured import CaseResult, Measured

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
    checks = (
        *(_check(way, judged) for way, judged in found.judged.items()),
        Check("reproducible", "passed" if found.reproducible else "failed", "the sample after two courses", "OC411"),
    )
    result = replace(
        blank,
        verdict=Verdict.DECOUPLED if found.conforms else Verdict.OTHER,
        reason=f"{worst.compared:,} elements of {trace.size:,} in {trace.n_steps} steps, {worst.bound_ratio:.2g} of "
        f"the bound of {RULE_NAME} at the worst",
        remark=cost_of(found),
        hyperparameters={"lr": LR, "weight_decay": WEIGHT_DECAY},
        match=_match(found, worst),
        separation=Separation(worst.bound_ratio, RIVAL_NAME, worst.rival_ratio),
        checks=checks,
        traces=({"name": trace.name, "sha256": trace.sha256},),
        findings=tuple(_findings(found, worst, blank)),
    )
    measured = Measured(found.bits, 2, found.reproducible, proof=cost_of(found))
    return CaseResult(case, result, measured)


def cost_of(found: LargeResult) -> str:
    """Return in one sentence what judging cost, as ratios to the bare steps."""
    said = ", ".join(f"{_SHOWN[way]} {ratio:.2f}" for way, ratio in found.ratios.items())
    left = "" if "full" in found.ratios else "; every element was not judged: it takes array-api-compat"
    return f"in times of the bare steps ({found.seconds['bare']:.3g} s): {said}{left}"


def _sample(size: int) -> int:
    return min(10**6, size)


def _judges_on_device(runtime: str) -> bool:
    """Whether the reference can run on the framework's own arrays here."""
    return runtime != "torch" or importlib.util.find_spec("array_api_compat") is not None


def _check(way: str, judged: Judged) -> Check:
    message = f"{judged.compared:,} elements, worst ratio {judged.bound_ratio:.2g}"
    return Check(f"trajectory[{way}]", "passed" if judged.conforms else "failed", message, "OC501")


def _match(found: LargeResult, worst: Judged) -> Match:
    inside = worst.bound_ratio <= 1.0
    rivals = {} if worst.rival_ratio is None else {RIVAL_NAME: worst.rival_ratio}
    return Match(
        Decision.ACCEPT if found.conforms else Decision.REJECT,
        RULE_NAME if inside else None,
        bound_ratio=worst.bound_ratio if inside else None,
        rivals=rivals,
        elements=worst.compared,
        undecidable=worst.undecidable,
        mode=str(Mode.THETA_RESYNC),
        computed_in=found.dtype,
        platform=found.platform,
    )


def _findings(found: LargeResult, worst: Judged, blank: Result) -> list[Finding]:
    findings = []
    if not found.conforms:
        evidence: dict[str, Any] = {"step": worst.step, "element": [worst.element], "factor": worst.bound_ratio}
        message = f"outside the bound of {RULE_NAME} on {blank.device} by a factor of {worst.bound_ratio:.3g}"
        findings.append(make_finding("OC501", message, rerun=blank.rerun, parameter="theta", **evidence))
    if not found.reproducible:
        findings.append(make_finding("OC411", "two courses end with other bits in the sample", rerun=blank.rerun))
    return findings
