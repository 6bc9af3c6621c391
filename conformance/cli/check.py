"""`optconform check`: the main job."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .options import (
    RUN_FORMATS,
    configuration_options,
    output_options,
    parse_configuration,
    parse_counting,
    parse_limits,
    require_target,
    target_options,
    worker_options,
)

if TYPE_CHECKING:
    from ..configuration.plan import CheckPlan, Instead, ListedAudit, Present
    from ..configuration.values import Configuration
    from ..replaying import OnStep
    from ..result import Counting, Result
    from ..workers.limits import Limits


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@configuration_options
@click.option("--require", multiple=True, metavar="FRAMEWORK|DEVICE", help="Fail with status 3 if it is not there.")
@target_options
@worker_options()
@output_options(*RUN_FORMATS)
def check(
    targets: tuple[str, ...],
    config: str | None,
    no_config: bool,
    require: tuple[str, ...],
    framework: str | None,
    expected: str | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    trace_names: tuple[str, ...],
    timeout: float,
    memory: float | None,
    python: str | None,
    output_format: str,
    output: str | None,
    verbose: bool,
    **how: Any,
) -> int:
    """Compare the verdict on every TARGET with what is expected.

    The traces are replayed through each; ways of using it, such as groups and checkpoints, are left to audit.
    TARGET is package.module:attribute or path/to/file.py:attribute, a class or a factory, and expected to
    be decoupled unless --expect says otherwise. Without targets: those that [tool.optconform] lists in the nearest
    pyproject.toml that has such a table; where it lists none, the built-in optimizers of every installed framework,
    each with its own expectation. What the command line says wins: --trace, --dtype, --mode, --device and --select
    replace what the configuration has, --ignore and --require add to it.

    Without targets, a --trace that was recorded with the parameters after each step is judged itself: whether
    the run obeyed the rule that its optimizer documents, or --expect. Nothing is executed for that, so --timeout
    and --memory do not apply; --device says where the run took place. The configured or built-in optimizers are
    replayed on the other traces named, if there are any.
    """
    from ..check_report import CheckReport
    from ..configuration.acceptance import accept_findings
    from ..reports.render import require_format, write_document
    from ..workers.limits import Limits
    from ..workers.pool import start_early

    require_format(output_format)
    runs = {} if targets else _recorded_runs(trace_names)
    others = tuple(name for name in trace_names if name not in runs)
    only_runs = bool(runs) and not others
    unused = "TARGET" if targets else "a recorded run alone" if only_runs else ""
    configuration = parse_configuration(config, no_config, unused)
    counting = parse_counting(select, ignore, configuration)
    instead = _instead(others, framework, how)
    if only_runs:
        require_target(
            {"--framework": framework, "--python": python, **_for_targets(how)}, "a recorded run has its own"
        )
    plan = _plan(targets, configuration, instead, framework, expected, python, how, none=only_runs)
    for each in plan.left_out:
        click.echo(f"not checked: {each.sentence}", err=True)
    _require((*configuration.require, *require), python)
    limits = parse_limits(timeout, memory, python, _device_of(plan)) if plan.audits else Limits()
    start_early([audit.planned for audit in plan.audits], limits)
    from ..reports.progress import Bar

    titles = [*runs.values(), *(audit.title for audit in plan.audits)]
    with Bar(titles) as bar:
        judged = enumerate(_judged(runs, expected, how["device"], counting, bar.step))
        audits = _audited(plan.audits, configuration, limits, counting, bar.step)
        numbered = itertools.chain(judged, ((len(runs) + index, result) for index, result in audits))
        done = sorted(bar.each(numbered), key=itemgetter(0))
    results = [replace(result, title=title) for title, (_, result) in zip(titles, done, strict=True)]
    written = [*(result.target for result in results[: len(runs)]), *(audit.target for audit in plan.audits)]
    accepted = accept_findings(configuration, plan, list(zip(written, results, strict=True)), counting, instead)
    told = [each.sentence for each in plan.left_out if configuration.targets or each.framework is None]
    today = datetime.now(UTC).date().isoformat()
    left_out = (*told, *accepted.undecided)
    report = CheckReport(accepted.results, plan.skipped_frameworks, left_out, accepted.unmatched, today)
    write_document(report.to_json(), output_format, output, verbose=verbose)
    return int(report.exit_status)


def _instead(trace_names: tuple[str, ...], framework: str | None, how: Mapping[str, Any]) -> Instead:
    """Return what the command line says instead of the configuration."""
    from ..configuration.plan import Instead

    given = click.get_current_context().get_parameter_source("device") is not ParameterSource.DEFAULT
    return Instead(trace_names, how["dtype"], how["mode"], how["device"] if given else None, framework)


def _recorded_runs(trace_names: Sequence[str]) -> dict[str, str]:
    """Return those of the traces named whose recorded run can be judged itself, each with its title."""
    if not trace_names:
        return {}
    from ..recorded.declared import public_name
    from ..recorded.parts import keeps_theta
    from ..traces import find_trace

    opened = {name: find_trace(name, verify=False) for name in trace_names}
    return {
        name: f"{public_name(trace.run.optimizer)}, recorded in {trace.name}"
        for name, trace in opened.items()
        if keeps_theta(trace) and trace.run is not None
    }


def _judged(
    runs: Iterable[str], expected: str | None, device: str, counting: Counting, on_step: OnStep
) -> Iterator[Result]:
    """Yield the result of every recorded run."""
    if runs:
        from ..api import audit_run

        for name in runs:
            yield audit_run(name, expect=expected, device=device, on_step=on_step).counting_only(counting)


def _audited(
    audits: Sequence[ListedAudit],
    configuration: Configuration,
    limits: Limits,
    counting: Counting,
    on_step: OnStep,
) -> Iterator[tuple[int, Result]]:
    """Yield (index into `audits`, result) of each: those with the same traces together, which are opened once."""
    from ...adapters.errors import TargetError
    from ..configuration.errors import ConfigurationError
    from ..configuration.paths import shown_path
    from ..workers.pool import run_isolated

    by_traces: dict[tuple[str, ...], list[int]] = {}
    for index, audit in enumerate(audits):
        by_traces.setdefault(audit.traces, []).append(index)
    try:
        for traces, indices in by_traces.items():
            plan = [audits[index].planned for index in indices]
            for index, result in run_isolated(plan, traces, limits=limits, counting=counting, on_step=on_step):
                yield indices[index], result
    except TargetError as error:
        if configuration.file is None or not configuration.targets:
            raise
        keys = " Here --framework and --map are the keys framework and map." if "--" in str(error) else ""
        raise ConfigurationError(f"{shown_path(configuration.file)}: tool.optconform.targets: {error}{keys}") from error


def _plan(
    targets: tuple[str, ...],
    configuration: Configuration,
    instead: Instead,
    framework: str | None,
    expected: str | None,
    python: str | None,
    how: Mapping[str, Any],
    *,
    none: bool,
) -> CheckPlan:
    """Return what is run: the targets named, else those configured, else the built-in ones; nothing with `none`."""
    from ..configuration.plan import CheckPlan, plan_builtin, plan_named, plan_targets
    from ..expectation import DEFAULT_EXPECTATION, parse_expectation
    from ..planned import PlannedAudit

    if none:
        return CheckPlan()
    settings, renamed = dict(how["settings"]), dict(how["renamings"])
    if targets:
        expectation = parse_expectation(DEFAULT_EXPECTATION if expected is None else expected)
        named = [
            PlannedAudit(
                spec, expectation, settings, framework, how["device"], how["path"], renamed, how["dtype"], how["mode"]
            )
            for spec in targets
        ]
        return plan_named(named, instead.traces)
    own = {"--set": settings, "--map": renamed, "--expect": expected, "--paths": how["path"]}
    if configuration.targets:
        require_target(own | {"--framework": framework}, "those of the configuration have their own")
        return plan_targets(configuration, instead, _present(python))
    require_target(own, "the built-in optimizers have their own")
    return plan_builtin(configuration, instead, _present(python))


def _present(python: str | None) -> Present:
    """Return what this machine, or the interpreter that runs the targets, has."""
    from ...adapters.frameworks import installed_frameworks
    from ..configuration.plan import Present
    from ..workers.questions import devices_in, installed_in

    frameworks = installed_frameworks() if python is None else installed_in(python)
    return Present(frameworks, functools.cache(functools.partial(devices_in, python)))


def _device_of(plan: CheckPlan) -> str:
    """Return the first device besides the CPU, else that."""
    return next((audit.planned.device for audit in plan.audits if audit.planned.device != "cpu"), "cpu")


def _for_targets(how: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say how a target is built and executed, by name."""
    names = {"settings": "--set", "renamings": "--map", "path": "--paths", "dtype": "--dtype", "mode": "--mode"}
    return {option: how[name] for name, option in names.items()}


def _require(required: tuple[str, ...], python: str | None) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless every framework and device required is there."""
    for name in required:
        if python is None:
            from ..check import require

            require(name)
        else:
            from ..workers.questions import require_in

            require_in(python, name)
