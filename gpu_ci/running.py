"""Run the cases of the gate: one process for each runtime, one case after another in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..adapters.errors import MissingFramework
from ..adapters.execution import RUNTIMES, RuntimeRow, environment_of
from ..conformance.audit import failed
from ..conformance.json_form import revive
from ..conformance.measured import Measured, Place
from ..conformance.observations import make_finding
from ..conformance.result import Result
from ..conformance.workers.calls import Called, CallingProcess
from ..conformance.workers.endings import ending_of
from ..conformance.workers.limits import Limits
from ..conformance.workers.mistakes import mistake_of
from .case_job import CaseJob, job_to_json, unrun
from .gate_run import CaseResult

_FUNCTION = ".gpu_ci.case_job:run_case"


def run_cases(jobs: Sequence[CaseJob], limits: Limits) -> Iterator[tuple[CaseResult, Place | None]]:
    """Yield the result of every job, and where it ran, in the order of `jobs`.

    The jobs of one runtime must follow each other: they share a process, which sees the device of its first job and
    no other. A case that hangs, crashes or needs more memory than it may have yields its finding, and the others are
    not affected. Raises `TargetError` or `TraceError` for a target, option or trace that does not exist,
    `BadInterpreter` where no process can be started, and `TypeError` for an option that is no Python literal.
    """
    process: CallingProcess | None = None
    under: tuple[str, str] | None = None
    try:
        for job in jobs:
            if process is None or under != (job.case.runtime, job.device):
                if process is not None:
                    process.end()
                under = (job.case.runtime, job.device)
                environment = process_environment(RUNTIMES[job.case.runtime], job.device)
                process = CallingProcess(limits, environment, limit_memory=job.device == "cpu")
            yield _result(job, process.call(_FUNCTION, job_to_json(job)), limits)
    finally:
        if process is not None:
            process.end()


def process_environment(row: RuntimeRow, device: str) -> dict[str, str]:
    """Return what is set in the environment of a process that runs `row` on `device`.

    Frameworks look at it when they are imported and never again: the device is chosen before that, memory is taken
    as it is needed, and a run on the CPU leaves an accelerator alone.
    """
    environment = {name: os.environ.get(name, value) for name, value in environment_of(row).items()}
    environment |= dict(row.environment)
    if device == "cpu":
        return environment | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    index = device.partition(":")[2] or "0"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return environment | {"CUDA_VISIBLE_DEVICES": index}
    # What the user hides stays hidden: N counts the devices that are visible, and beyond them there is none.
    listed = [each.strip() for each in visible.split(",")]
    return environment | {"CUDA_VISIBLE_DEVICES": listed[int(index)] if int(index) < len(listed) else ""}


def _result(job: CaseJob, called: Called, limits: Limits) -> tuple[CaseResult, Place | None]:
    """Return what a worker says of a case, or what became of it where it does not live to say."""
    mistake = mistake_of(called.said)
    if isinstance(mistake, MissingFramework):
        return _lost(job, "OC901", str(mistake), {}), None
    if mistake is not None:
        raise mistake
    answer = called.said.get("answer")
    if answer is None:
        if "failed" in called.said:
            return _lost(job, "OC902", f"the case {called.said['failed']}", {"printed": called.output[-4000:]}), None
        return _lost(job, *ending_of(called.end, limits)), None
    document = answer["result"]
    result = replace(Result.from_json(document["result"]), output=called.output)
    measured: Measured = revive(Measured, document["measured"])
    place: Place | None = revive(Place | None, answer["place"])
    return CaseResult(job.case, limits.kept_in(result), measured, document["skipped"]), place


def _lost(job: CaseJob, code: str, message: str, evidence: Mapping[str, Any]) -> CaseResult:
    """Return the result of a case that could not be run."""
    blank = unrun(job.case, job.device, job.rerun)
    return CaseResult(job.case, failed(blank, make_finding(code, message, rerun=job.rerun, **evidence)))
