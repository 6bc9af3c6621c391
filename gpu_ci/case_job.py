"""What a worker process of the gate does: run one case after another, and say what came of each."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..adapters.arrays import host_dtype
from ..adapters.errors import BuildFailed, MissingDevice, MissingFramework, NotReplayable, NotSupported, StepFailed
from ..adapters.execution import RUNTIMES, Execution, Runtime, load_runtime, plain_execution
from ..adapters.options import canonical_hyperparameters, constructor_arguments, without_unaccepted_lr
from ..adapters.protocol import Target
from ..adapters.targets import load_target
from ..conformance.audit import failed, versions
from ..conformance.json_form import plain_fields, revive
from ..conformance.measured import Apart, Measured, Place
from ..conformance.observations import make_finding
from ..conformance.result import Check, ExitStatus, Finding, Result, Severity, Verdict
from ..conformance.subject import own_values
from ..conformance.traces import Trace, TraceError, find_trace
from ..conformance.workers.wire import pack, unpack
from .apart import apart
from .case import Case
from .gate_run import CaseResult
from .judging import judge
from .large_case import LARGE, run_large_case
from .places import inside, place_of
from .playing import Course, Played, play

MOST_KEPT = 2**31
"""Bytes of parameters after each step that a case may keep; a larger trace is to be cut, or sampled."""


@dataclass(frozen=True, slots=True)
class CaseJob:
    """One case, and how a run of the gate wants it."""

    case: Case
    device: str
    repeats: int
    """How often the course is executed; its bits are compared from two on."""
    rerun: str
    """The command that runs this case again."""


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """What a worker says of one case."""

    result: CaseResult
    place: Place | None


def job_to_json(job: CaseJob) -> dict[str, Any]:
    """Return the JSON form of a job. Raises `TypeError` for an option that is no Python literal."""
    document = plain_fields(job)
    document["case"]["options"] = pack(job.case.options)
    return document


def job_from(document: Mapping[str, Any]) -> CaseJob:
    """Return the job of which `document` is the JSON form."""
    case = {**document["case"], "options": {}}
    job: CaseJob = revive(CaseJob, {**document, "case": case})
    return replace(job, case=replace(job.case, options=unpack(document["case"]["options"])))


def run_case(about: Mapping[str, Any]) -> dict[str, Any]:
    """Run the case of the job of which `about` is the JSON form, and return the answer's."""
    job = job_from(about)
    started = time.perf_counter()
    answer = _answered(job)
    result = replace(answer.result.result, seconds=time.perf_counter() - started)
    document = plain_fields(replace(answer.result, result=result))
    return {"result": document | {"result": result.to_json()}, "place": answer.place and plain_fields(answer.place)}


def _answered(job: CaseJob) -> CaseAnswer:
    case = job.case
    blank = unrun(case, job.device, job.rerun)
    place = None
    try:
        runtime = _runtime(case.runtime)
        blank = replace(blank, versions=versions(runtime.versions()))
        device = inside(job.device)
        if device not in runtime.devices():
            seen = ", ".join(runtime.devices())
            raise MissingDevice(
                f"{case.runtime} has no device {job.device!r}; it sees: {seen}. See `optconform doctor`."
            )
        place = replace(place_of(runtime, device), device=job.device)
        return CaseAnswer(_ran(job, runtime, device, blank), place)
    except (BuildFailed, MissingDevice, MissingFramework) as error:
        finding = make_finding("OC901", str(error), rerun=job.rerun)
    except NotReplayable as error:
        finding = make_finding("OC906", str(error), rerun=job.rerun)
        return CaseAnswer(CaseResult(case, replace(failed(blank, finding), verdict=Verdict.INCONCLUSIVE)), place)
    except StepFailed as error:
        finding = make_finding("OC902", str(error), rerun=job.rerun)
    return CaseAnswer(CaseResult(case, failed(blank, finding)), place)


def unrun(case: Case, device: str, rerun: str) -> Result:
    """Return the beginnings of the result of a case."""
    return Result(
        target=case.spec,
        framework=case.runtime,
        verdict=Verdict.ERROR,
        expected=case.expected,
        reason="",
        device=device,
        dtype=case.dtype,
        path=case.execution,
        versions=versions({}),
        hyperparameters=dict(case.options),
        rerun=rerun,
    )


def _ran(job: CaseJob, runtime: Runtime, device: str, blank: Result) -> CaseResult:
    case = job.case
    if case.execution == LARGE:
        return run_large_case(case, device, blank)
    execution = runtime.executions.get(case.execution)
    kind = device.partition(":")[0]
    if execution is None or kind not in execution.devices:
        return _skipped(case, blank, f"{case.runtime} has no execution {case.execution!r} on {device}")
    trace = _trace(case.trace)
    _require_room(trace, case.dtype)
    target = load_target(case.spec, RUNTIMES[case.runtime].framework, case.renamed)
    constructor_arguments(target, without_unaccepted_lr(target, case.options))
    values = own_values(target, canonical_hyperparameters(target, case.options))
    course = Course(target, values, trace, case.dtype)
    try:
        played = play(runtime, execution, course, device)
    except NotSupported as error:
        return _skipped(case, blank, str(error))
    blank = replace(blank, traces=({"name": trace.name, "sha256": trace.sha256},))
    judged_as = Target(target.spec, target.attribute, RUNTIMES[case.runtime].computes, target.renamed)
    result = judge(blank, case, judged_as, played, trace, device)
    differing = []
    for _ in range(job.repeats - 1):
        other = play(runtime, execution, course, device)
        step = played.differs_at(other)
        differing += [] if step is None else [step]
        proved = other.proof.on_path and other.proof.on_device
        # What computes or takes another way than before is judged too: nobody knows which of them a training gets.
        if result.exit_status is ExitStatus.AS_EXPECTED and not (step is None and proved):
            result = judge(blank, case, judged_as, other, trace, device)
    result = _with_reproducibility(result, differing, job.repeats)
    measured = Measured(
        bits=played.bits,
        runs=job.repeats,
        reproducible=None if job.repeats < 2 else not differing,
        from_cpu=_from_cpu(runtime, execution, course, device, played),
        flags=runtime.flags(),
        proof=played.proof.observed,
    )
    return CaseResult(case, result, measured)


def _with_reproducibility(result: Result, differing: list[int], repeats: int) -> Result:
    """Return `result` with what the repeated runs say: OC411 where their bits differ."""
    if repeats < 2:
        return result
    message, findings = f"{repeats} runs, the same bits after every step", result.findings
    if differing:
        message = (
            f"{len(differing)} of {repeats - 1} further runs have other bits, the first from step {min(differing)} on"
        )
        finding: Finding = make_finding("OC411", message, rerun=result.rerun, step=min(differing), runs=repeats)
        findings = (*findings, finding)
    check = Check("reproducible", "failed" if differing else "passed", message, "OC411", Severity.WARNING)
    return replace(result, checks=(*result.checks, check), findings=findings)


def _from_cpu(runtime: Runtime, execution: Execution, course: Course, device: str, played: Played) -> Apart | None:
    """Return the distance from the same course on the CPU: executed alike where the CPU can, else plainly.

    On the CPU itself it is the distance from the plain execution, None for that one.
    """
    plain = plain_execution(runtime)
    candidates = [plain] if device == "cpu" else [execution, plain]
    for each in candidates:
        if "cpu" not in each.devices or "cpu" not in runtime.devices() or (device == "cpu" and each is execution):
            continue
        if each.steps_in.get(course.dtype, course.dtype) != played.dtype:
            continue
        try:
            return apart(played, play(runtime, each, course, "cpu"), f"{each.name} on cpu")
        except NotSupported:
            continue
    return None


def _skipped(case: Case, blank: Result, reason: str) -> CaseResult:
    check = Check("case", "skipped", reason)
    return CaseResult(
        case, replace(blank, verdict=Verdict.INCONCLUSIVE, reason=reason, checks=(check,)), skipped=reason
    )


def _require_room(trace: Trace, dtype: str) -> None:
    """Raise `TraceError` for a trace of which a case would keep more than it may."""
    size = sum(math.prod(parameter.shape) for parameter in trace.parameters) * (trace.n_steps + 1)
    kept = size * host_dtype(dtype).itemsize
    if kept > MOST_KEPT:
        raise TraceError(
            trace.name,
            f"{kept / 1e9:.1f} GB of parameters over {trace.n_steps} steps",
            f"at most {MOST_KEPT / 1e9:.1f} GB, since a case keeps them all until they are judged",
            "Cut it to fewer steps or a sample of coordinates: optconform trace cut.",
        )


@functools.cache
def _runtime(name: str) -> Runtime:
    return load_runtime(name)


@functools.cache
def _trace(name: str) -> Trace:
    return find_trace(name)
