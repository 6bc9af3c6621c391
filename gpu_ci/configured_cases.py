"""The cases of the targets that a configuration lists, for a run of the gate in which none is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..adapters.execution import RUNTIMES, runtime_present
from ..adapters.frameworks import FRAMEWORKS
from ..adapters.targets import is_file
from ..conformance.configuration.errors import ConfigurationError
from ..conformance.configuration.paths import from_here, is_trace_path, shown_path, target_from_here
from ..conformance.configuration.values import Configuration, ConfiguredTarget
from ..conformance.workers.kinds import framework_and_library
from ..conformance.workers.limits import Limits
from .case import Case
from .case_list import CPU_ONLY
from .target_cases import Asked, cases_of_targets


@dataclass(frozen=True, slots=True)
class ConfiguredCases:
    """The cases of a configuration, and what is left out."""

    cases: tuple[Case, ...]
    absent: tuple[str, ...] = ()
    """Runtimes that are not installed."""
    left_out: tuple[str, ...] = ()
    """Targets that do not run, and why, a sentence each."""


def cases_of_configuration(
    configuration: Configuration, dtypes: Sequence[str], traces: Sequence[str], device: str, limits: Limits
) -> ConfiguredCases:
    """Return the cases of every target of a configuration; `dtypes` and `traces` are used instead of its own.

    Raises `ConfigurationError` in another folder than the configuration's, where that would change a case, and
    whatever `cases_of_targets` raises.
    """
    _require_own_folder(configuration)
    asked: list[tuple[str, Asked]] = []
    absent: list[str] = []
    left_out: list[str] = []
    for index, target in enumerate(configuration.targets):
        spec = target_from_here(target.target, configuration.folder)
        runtime = target.framework or framework_and_library(spec, None)[0]
        if runtime is None:
            raise ConfigurationError(
                f"tool.optconform.targets[{index}].framework is missing: the gate cannot tell whose optimizer "
                f"{target.target} is; it should be one of {', '.join(FRAMEWORKS)}"
            )
        if not runtime_present(RUNTIMES[runtime]):
            absent.append(runtime)
            left_out.append(f"{target.target}: {runtime} is not installed")
        elif runtime in CPU_ONLY and device != "cpu":
            left_out.append(f"{target.target}: {runtime} runs on the CPU alone")
        else:
            asked.append((spec, _asked(target, configuration, runtime, dtypes, traces)))
    cases = cases_of_targets(asked, device, limits)
    return ConfiguredCases(cases, tuple(dict.fromkeys(absent)), tuple(left_out))


def _asked(
    target: ConfiguredTarget, configuration: Configuration, runtime: str, dtypes: Sequence[str], traces: Sequence[str]
) -> Asked:
    named = target.traces or configuration.traces
    return Asked(
        target.set,
        target.map,
        runtime,
        target.path,
        dtypes or target.dtypes or configuration.dtypes,
        traces or tuple(from_here(trace, configuration.folder) for trace in named),
        target.expect,
    )


def _require_own_folder(configuration: Configuration) -> None:
    """Raise `ConfigurationError` in another folder, unless no target is a file and no trace may be one."""
    folder = shown_path(configuration.folder)
    traces = [*configuration.traces, *(trace for target in configuration.targets for trace in target.traces)]
    named_by_path = [target.target for target in configuration.targets if is_file(target.target.rpartition(":")[0])]
    named_by_path += filter(is_trace_path, traces)
    if folder != os.curdir and named_by_path:
        raise ConfigurationError(
            f"a baseline knows {named_by_path[0]} by its path from the folder of the configuration; "
            f"run the gate there: cd {folder}"
        )
