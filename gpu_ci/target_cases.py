"""The cases of targets that the user names: every combination of the ways, precisions and traces that are asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..adapters.errors import TargetError, UnknownOption
from ..adapters.execution import RUNTIMES, load_runtime
from ..conformance.expectation import DEFAULT_EXPECTATION, parse_expectation
from ..conformance.traces import default_names
from ..conformance.workers.calls import CallingProcess
from ..conformance.workers.kinds import framework_and_library
from ..conformance.workers.limits import Limits
from ..conformance.workers.mistakes import mistake_of
from .case import Case
from .running import process_environment

EVERY = "all"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants of the targets named."""

    options: Mapping[str, Any]
    renamed: Mapping[str, str]
    runtime: str | None = None
    execution: str | None = None
    """A name, `all`, or None for the plain one."""
    dtypes: Sequence[str] = ()
    traces: Sequence[str] = ()
    expected: str | None = None
    rule: str | None = None


def cases_of_targets(targets: Sequence[tuple[str, Asked]], device: str, limits: Limits) -> tuple[Case, ...]:
    """Return the cases of every target, with what is asked of it, those of one runtime after another.

    What is asked for twice is one case. Raises `TargetError` where the framework cannot be told from a name or two
    cases have one name, `UnknownOption` for an execution that the
    runtime does not have, `InvalidExpectation`, and `MissingFramework` where the framework is not installed.
    """
    runtimes = [asked.runtime or _runtime_of(spec) for spec, asked in targets]
    offered = {name: _executions(name, device, limits) for name in dict.fromkeys(runtimes)}
    cases = [
        case
        for (spec, asked), runtime in zip(targets, runtimes, strict=True)
        for case in _cases_of(spec, asked, runtime, offered[runtime])
    ]
    once = {case.definition: case for case in cases}.values()
    shared = next((name for name, count in Counter(case.name for case in once).items() if count > 1), None)
    if shared is not None:
        specs_of_it = ", ".join(case.spec for case in once if case.name == shared)
        raise TargetError(f"{specs_of_it} would all be the case {shared!r}; give them other names, or a run each")
    return tuple(sorted(once, key=lambda case: list(offered).index(case.runtime)))


def _cases_of(spec: str, asked: Asked, runtime: str, offered: Sequence[tuple[str, bool]]) -> Iterator[Case]:
    """Yield the cases of one target: every combination that is asked for."""
    expected = str(parse_expectation(asked.expected or DEFAULT_EXPECTATION))
    setting = "_".join(f"{name}={value}" for name, value in asked.options.items()) or "default"
    for (execution, slow), dtype, trace in itertools.product(
        _wanted(offered, asked.execution, runtime), asked.dtypes or ("float32",), asked.traces or default_names()
    ):
        yield Case(
            runtime,
            spec,
            execution,
            dtype,
            trace,
            expected,
            setting.replace("/", "|"),
            asked.options,
            asked.renamed,
            rule=asked.rule,
            slow=slow and asked.execution == EVERY,
        )


def executions_offered(about: Mapping[str, str]) -> list[list[Any]]:
    """Return name and slowness of every execution of a runtime on a kind of device; called in its process."""
    rows = load_runtime(about["runtime"]).executions.values()
    return [[row.name, row.slow] for row in rows if about["kind"] in row.devices]


def _executions(runtime: str, device: str, limits: Limits) -> list[tuple[str, bool]]:
    process = CallingProcess(limits, process_environment(RUNTIMES[runtime], device), limit_memory=device == "cpu")
    try:
        about = {"runtime": runtime, "kind": device.partition(":")[0]}
        called = process.call(".gpu_ci.target_cases:executions_offered", about)
    finally:
        process.end()
    mistake = mistake_of(called.said)
    if mistake is not None:
        raise mistake
    return [(str(name), bool(slow)) for name, slow in called.said.get("answer", ())]


def _wanted(offered: Sequence[tuple[str, bool]], asked: str | None, runtime: str) -> list[tuple[str, bool]]:
    if asked == EVERY:
        return list(offered)
    chosen = [row for row in offered if asked in (None, row[0])][:1]
    if not chosen:
        names = ", ".join(name for name, _ in offered)
        raise UnknownOption(f"--paths {asked}: {runtime} has no such execution here; expected all or one of {names}.")
    return chosen


def _runtime_of(spec: str) -> str:
    framework, _ = framework_and_library(spec, None)
    if framework is None:
        raise TargetError(f"whose optimizer {spec!r} is cannot be told from its name; say so with --framework")
    return framework
