"""`optconform check`: the main job."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from .options import (
    FRAMEWORKS,
    RUN_FORMATS,
    output_options,
    parse_counting,
    parse_limits,
    target_options,
    worker_options,
)

if TYPE_CHECKING:
    from ..planned import PlannedAudit
    from ..replaying import OnStep
    from ..result import Counting, Result


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--require", multiple=True, metavar="FRAMEWORK|DEVICE", help="Fail with status 3 if it is not there.")
@target_options
@worker_options()
@output_options(*RUN_FORMATS)
def check(
    targets: tuple[str, ...],
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
    """Replay the traces through every TARGET and compare each verdict with what is expected.

    TARGET is package.module:attribute or path/to/file.py:attribute, a class or a factory, and expected to
    be decoupled unless --expect says otherwise. Without targets: the built-in optimizers of every installed
    framework, each with its own expectation.

    Without targets, a --trace that was recorded with the parameters after each step is judged itself: whether
    the run obeyed the rule that its optimizer documents, or --expect. Nothing is executed for that, so --timeout
    and --memory do not apply; --device says where the run took place. The built-in optimizers are replayed on
    the other traces named, if there are any.
    """
    from ..check_report import CheckReport
    from ..reports.render import require_format, write_document
    from ..workers.limits import Limits
    from ..workers.pool import run_isolated, start_early

    require_format(output_format)
    counting = parse_counting(select, ignore)
    runs = {} if targets else _recorded_runs(trace_names)
    others = tuple(name for name in trace_names if name not in runs)
    plan: list[PlannedAudit] = []
    skipped: list[str] = []
    if runs and not others:
        _refuse({"--framework": framework, "--python": python, **_for_targets(how)}, "a recorded run has its own")
    else:
        plan, skipped = _plan(targets, framework, expected, python, how)
    _require(require, python)
    limits = parse_limits(timeout, memory, python, how["device"]) if plan else Limits()
    start_early(plan, limits)
    from ..reports.progress import Bar

    titles = [*runs.values(), *(planned.title for planned in plan)]
    with Bar(titles) as bar:
        judged = enumerate(_judged(runs, expected, how["device"], counting, bar.step))
        audits = run_isolated(plan, others, limits=limits, counting=counting, on_step=bar.step)
        numbered = itertools.chain(judged, ((len(runs) + index, result) for index, result in audits))
        done = sorted(bar.each(numbered), key=itemgetter(0))
    results = tuple(replace(result, title=title) for title, (_, result) in zip(titles, done, strict=True))
    report = CheckReport(results, tuple(skipped))
    write_document(report.to_json(), output_format, output, verbose=verbose)
    return int(report.exit_status)


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


def _plan(
    targets: tuple[str, ...], framework: str | None, expected: str | None, python: str | None, how: dict[str, Any]
) -> tuple[list[PlannedAudit], list[str]]:
    """Return (planned audits, frameworks skipped because they are not installed)."""
    from ..expectation import DEFAULT_EXPECTATION, parse_expectation
    from ..planned import PlannedAudit, builtin_plan, split_by_installed
    from ..workers.questions import installed_in

    settings, renamed = dict(how["settings"]), dict(how["renamings"])
    if targets:
        expectation = parse_expectation(DEFAULT_EXPECTATION if expected is None else expected)
        return [
            PlannedAudit(
                spec, expectation, settings, framework, how["device"], how["path"], renamed, how["dtype"], how["mode"]
            )
            for spec in targets
        ], []
    own = {"--set": settings, "--map": renamed, "--expect": expected, "--paths": how["path"]}
    _refuse(own, "the built-in optimizers have their own")
    present = None if python is None else installed_in(python)
    wanted, missing = split_by_installed((framework,) if framework else FRAMEWORKS, present)
    for name in missing:
        click.echo(f"not checked: {name} is not installed (pip install 'optconform[{name}]')", err=True)
    return builtin_plan(wanted, how["device"], how["dtype"], how["mode"]), missing


def _for_targets(how: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say how a target is built and executed, by name."""
    names = {"settings": "--set", "renamings": "--map", "path": "--paths", "dtype": "--dtype", "mode": "--mode"}
    return {option: how[name] for name, option in names.items()}


def _refuse(options: Mapping[str, Any], why: str) -> None:
    """Raise a usage error for the first of `options` that was given: it needs a target."""
    for option, given in options.items():
        if given:
            raise click.UsageError(f"{option} needs a TARGET: {why}")


def _require(required: tuple[str, ...], python: str | None) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless every framework and device required is there."""
    for name in required:
        if python is None:
            from ..check import require

            require(name)
        else:
            from ..workers.questions import require_in

            require_in(python, name)
