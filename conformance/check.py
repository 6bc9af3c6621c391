"""The main job: a list of audits, run one by one, each with the result that is expected of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..adapters.devices import resolve_device
from ..adapters.errors import MissingDevice, MissingFramework
from ..adapters.frameworks import FRAMEWORKS, installed_frameworks, load_adapter
from .api import make_subject
from .audit import audit, failed, versions
from .builtin_targets import BUILTIN_TARGETS
from .expectation import Expectation
from .metamorphic.running import Depth
from .observations import make_finding
from .replaying import OnStep
from .result import Counting, ExitStatus, Result, Verdict, worst
from .subject import title_of
from .traces import Trace

SCHEMA = "optconform/check/1"


_ALL = Counting()


@dataclass(frozen=True, slots=True)
class PlannedAudit:
    """One audit to be run: the target as named, how to build and execute it, and what is expected."""

    spec: str
    expectation: Expectation
    options: Mapping[str, Any] = field(default_factory=dict)
    framework: str | None = None
    device: str = "cpu"
    path: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float64"
    mode: str | None = None
    depth: Depth | None = None
    """Which metamorphic checks are run besides; none where it is None."""

    @property
    def title(self) -> str:
        """The target with its options, path and dtype, as tables and progress show it."""
        return title_of(self.spec, self.options, self.path, self.dtype)


def builtin_plan(
    frameworks: Sequence[str], device: str = "cpu", dtype: str = "float64", mode: str | None = None
) -> list[PlannedAudit]:
    """Return the audits of the built-in optimizers of `frameworks`, in working precision `dtype`."""
    return [
        PlannedAudit(row.spec, row.expectation, row.options, row.framework, device, row.path, dtype=dtype, mode=mode)
        for row in BUILTIN_TARGETS
        if row.framework in frameworks
    ]


def split_by_installed(frameworks: Sequence[str], present: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Return (installed, not installed) of `frameworks`; `present` are those of another interpreter."""
    there = installed_frameworks() if present is None else present
    return [name for name in frameworks if name in there], [name for name in frameworks if name not in there]


def require(name: str) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless the framework or device `name` is there."""
    if name in FRAMEWORKS:
        load_adapter(name)
        return
    found = sorted({device for present in installed_frameworks() for device in load_adapter(present).devices()})
    try:
        resolve_device(name, found, "this machine", "")
    except MissingDevice as error:
        raise MissingDevice(
            f"--require {name}: no such framework or device; devices found: {', '.join(found)}"
        ) from error


def run(
    plan: Sequence[PlannedAudit],
    traces: Sequence[Trace],
    *,
    trace_arguments: Sequence[str] = (),
    counting: Counting = _ALL,
    on_step: OnStep | None = None,
) -> Iterator[Result]:
    """Yield the result of each planned audit; one that cannot run yields the verdict `error`, and the rest go on.

    `counting` says which codes count; the findings of others are left out. `on_step` is called after each step of
    a replay over a whole trace. Raises `TargetError` where a
    target or option does not exist: that is a mistake in the command, not a finding about an optimizer.
    """
    for planned in plan:
        yield audit_planned(planned, traces, trace_arguments, on_step).counting_only(counting)


def audit_planned(
    planned: PlannedAudit, traces: Sequence[Trace], trace_arguments: Sequence[str] = (), on_step: OnStep | None = None
) -> Result:
    """Return the result of one planned audit. Raises `TargetError` where its target or an option does not exist."""
    try:
        subject = make_subject(
            planned.spec,
            framework=planned.framework,
            device=planned.device,
            dtype=planned.dtype,
            mode=planned.mode,
            path=planned.path,
            option_names=planned.renamed,
            hyperparameters=planned.options,
            compared=planned.depth is not None,
        )
    except MissingFramework as error:
        return failed(unbuilt(planned), make_finding("OC901", str(error)))
    return audit(subject, traces, planned.expectation, trace_arguments, on_step, planned.depth)


def unbuilt(planned: PlannedAudit) -> Result:
    """Return the beginnings of a result for a target whose framework is not there."""
    return Result(
        target=planned.spec,
        framework=planned.framework,
        verdict=Verdict.ERROR,
        expected=str(planned.expectation),
        reason="",
        device=planned.device,
        dtype=planned.dtype,
        path=planned.path,
        versions=versions({}),
        hyperparameters=dict(planned.options),
    )


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All results of one run, and what was not checked."""

    results: tuple[Result, ...]
    skipped_frameworks: tuple[str, ...] = ()

    @property
    def exit_status(self) -> ExitStatus:
        """The worst of all results; `UNDECIDED` where there is none."""
        return worst([result.exit_status for result in self.results])

    def to_json(self) -> dict[str, Any]:
        """Return the `optconform/check/1` document: a list of audits, and what was left out."""
        return {
            "schema": SCHEMA,
            "exit_status": int(self.exit_status),
            "skipped_frameworks": list(self.skipped_frameworks),
            "results": [result.to_json() for result in self.results],
        }
