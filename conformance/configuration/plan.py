"""What `check` does: every target in each precision on each device, and what is left out because it is not there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...adapters.devices import resolve_device
from ...adapters.errors import MissingDevice
from ...adapters.frameworks import FRAMEWORKS
from ..builtin_targets import BUILTIN_TARGETS
from ..expectation import parse_expectation
from ..planned import PlannedAudit, builtin_plan, split_by_installed
from ..workers.kinds import framework_and_library
from .paths import from_here, target_from_here
from .values import Configuration

_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Instead:
    """What the command line says instead of the configuration; whatever is empty leaves that as it is."""

    traces: tuple[str, ...] = ()
    dtype: str | None = None
    mode: str | None = None
    device: str | None = None
    framework: str | None = None
    """Of the built-in optimizers, those of this one alone."""

    @property
    def options(self) -> str:
        """The options that say so, for messages."""
        given = {"--trace": self.traces, "--dtype": self.dtype, "--mode": self.mode, "--device": self.device}
        given["--framework"] = self.framework
        return ", ".join(option for option, value in given.items() if value)


@dataclass(frozen=True, slots=True)
class Present:
    """What this machine, or the interpreter that runs the targets, has."""

    frameworks: Sequence[str]
    devices_of: Callable[[str], Sequence[str]]
    """The devices that a framework sees. Called for the sake of one that a configuration names: it imports that."""

    def lacks(self, device: str, framework: str | None) -> bool:
        """Whether a framework is known not to see `device`."""
        if device == _CPU or framework is None:
            return False
        try:
            resolve_device(device, self.devices_of(framework), framework, "")
        except MissingDevice:
            return True
        return False


@dataclass(frozen=True, slots=True)
class ListedAudit:
    """One audit that `check` runs."""

    planned: PlannedAudit
    traces: tuple[str, ...]
    """As the command line would name them; the default ones where there are none."""
    target: str
    """The target as the user wrote it, from whichever folder the configuration was read."""
    title: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Targets that are not run, or not on one of their devices."""

    sentence: str
    targets: tuple[str, ...]
    framework: str | None = None
    """The framework that is not installed, where it is that."""


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """All that `check` runs, and what it leaves out."""

    audits: tuple[ListedAudit, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def skipped_frameworks(self) -> tuple[str, ...]:
        """Frameworks that are not installed, and that targets needed."""
        return tuple(dict.fromkeys(each.framework for each in self.left_out if each.framework is not None))


def plan_named(planned: Sequence[PlannedAudit], traces: tuple[str, ...]) -> CheckPlan:
    """Return the audits of targets that the command line names."""
    return CheckPlan(tuple(_listed(each, traces, each.spec) for each in planned))


def plan_builtin(configuration: Configuration, instead: Instead, present: Present) -> CheckPlan:
    """Return the audits of the built-in optimizers of every framework, in each precision on each device."""
    asked = (instead.framework,) if instead.framework else tuple(FRAMEWORKS)
    wanted, missing = split_by_installed(asked, present.frameworks)
    left_out = [LeftOut(_not_installed(name), _builtin_specs([name]), name) for name in missing]
    traces = _traces(configuration.traces, configuration, instead)
    audits: list[ListedAudit] = []
    for name in wanted:
        devices, absent = _devices(configuration.devices, instead.device, present, name)
        left_out += [LeftOut(f"the built-in optimizers: {why}", _builtin_specs([name])) for why in absent]
        audits += [
            _listed(planned, traces, planned.spec)
            for device, dtype in itertools.product(devices, _dtypes(configuration.dtypes, instead))
            for planned in builtin_plan([name], device, dtype, instead.mode)
        ]
    return CheckPlan(tuple(audits), tuple(left_out))


def plan_targets(configuration: Configuration, instead: Instead, present: Present) -> CheckPlan:
    """Return the audits of the configuration's targets, in each of its precisions on each of its devices.

    A target whose framework is not installed, or does not see a device, is left out, as far as the framework shows in
    the entry, in the target's name or in the imports of its file; otherwise the audit itself will tell.
    """
    audits: list[ListedAudit] = []
    left_out: list[LeftOut] = []
    for target in configuration.targets:
        spec = target_from_here(target.target, configuration.folder)
        framework, _ = framework_and_library(spec, target.framework)
        if framework is not None and framework not in present.frameworks:
            sentence = f"{target.target}: {_not_installed(framework)}"
            left_out.append(LeftOut(sentence, (target.target,), framework))
            continue
        devices, absent = _devices(target.devices or configuration.devices, instead.device, present, framework)
        left_out += [LeftOut(f"{target.target}: {why}", (target.target,)) for why in absent]
        asked = PlannedAudit(
            spec,
            parse_expectation(target.expect),
            target.set,
            target.framework,
            path=target.path,
            renamed=target.map,
            mode=instead.mode or target.mode,
        )
        traces = _traces(target.traces or configuration.traces, configuration, instead)
        dtypes = _dtypes(target.dtypes or configuration.dtypes, instead)
        audits += [
            _listed(replace(asked, device=device, dtype=dtype), traces, target.target)
            for device, dtype in itertools.product(devices, dtypes)
        ]
    return CheckPlan(tuple(audits), tuple(left_out))


def _listed(planned: PlannedAudit, traces: tuple[str, ...], target: str) -> ListedAudit:
    """Return an audit under a title that names the target as it is written, and a device other than the CPU."""
    where = "" if planned.device == _CPU else f" on {planned.device}"
    return ListedAudit(planned, traces, target, replace(planned, spec=target).title + where)


def _not_installed(framework: str) -> str:
    return f"{framework} is not installed (pip install 'optconform[{framework}]')"


def _builtin_specs(frameworks: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.spec for row in BUILTIN_TARGETS if row.framework in frameworks))


def _traces(named: tuple[str, ...], configuration: Configuration, instead: Instead) -> tuple[str, ...]:
    return instead.traces or tuple(from_here(trace, configuration.folder) for trace in named)


def _dtypes(named: tuple[str, ...], instead: Instead) -> Sequence[str | None]:
    return (instead.dtype,) if instead.dtype else named or (None,)


def _devices(
    named: tuple[str, ...], instead: str | None, present: Present, framework: str | None
) -> tuple[list[str], list[str]]:
    """Return the devices to run on, and why not on others that are named."""
    if instead is not None:
        return [instead], []
    there = [device for device in named or (_CPU,) if not present.lacks(device, framework)]
    return there, [f"{framework} has no device {device} here" for device in named if device not in there]
