"""The main job: a list of audits, run one by one, each with the result that is expected of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ..adapters.devices import resolve_device
from ..adapters.errors import MissingDevice, MissingFramework
from ..adapters.frameworks import FRAMEWORKS, installed_frameworks, load_adapter
from .api import make_subject
from .audit import audit, failed, versions
from .observations import make_finding
from .planned import PlannedAudit
from .replaying import OnStep
from .result import Counting, Result, Verdict
from .traces import Trace

_ALL = Counting()


def require(name: str) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless the framework or device `name` is there."""
    if name in FRAMEWORKS:
        load_adapter(name)
        return
    found: set[str] = set()
    for present in installed_frameworks():
        # One after the other, NumPy first: a device that one of them sees is no reason to import the rest.
        found.update(load_adapter(present).devices())
        with contextlib.suppress(MissingDevice):
            resolve_device(name, sorted(found), "this machine", "")
            return
    raise MissingDevice(
        f"{name} is required, and no such framework or device is here; devices found: {', '.join(sorted(found))}"
    )


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
    a replay over a whole trace. Raises `TargetError` where a target or option does not exist: that is a mistake in
    the command, not a finding about an optimizer.
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
        dtype=planned.dtype or "float64",
        path=planned.path,
        versions=versions({}),
        hyperparameters=dict(planned.options),
    )
