"""`optconform check`: the main job."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from .options import FRAMEWORKS, output_options, parse_counting, parse_limits, target_options, worker_options

if TYPE_CHECKING:
    from ..planned import PlannedAudit


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--require", multiple=True, metavar="FRAMEWORK|DEVICE", help="Fail with status 3 if it is not there.")
@target_options
@worker_options()
@output_options
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
    """
    from ..check_report import CheckReport
    from ..workers.pool import run_isolated, start_early

    counting = parse_counting(select, ignore)
    plan, skipped = _plan(targets, framework, expected, python, how)
    _require(require, python)
    limits = parse_limits(timeout, memory, python, how["device"])
    start_early(plan, limits)
    from ..reports.progress import Bar
    from ..reports.render import write_json, write_text
    from ..reports.text import print_check

    titles = [planned.title for planned in plan]
    with Bar(titles) as bar:
        audits = run_isolated(plan, trace_names, limits=limits, counting=counting, on_step=bar.step)
        results = tuple(result for _, result in sorted(bar.each(audits), key=itemgetter(0)))
    report = CheckReport(results, tuple(skipped))
    if output_format == "json":
        write_json(report.to_json(), output)
    else:
        write_text(lambda console: print_check(console, report, titles, verbose=verbose), output)
    return int(report.exit_status)


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
    for option, given in (("--set", settings), ("--map", renamed), ("--expect", expected), ("--paths", how["path"])):
        if given:
            raise click.UsageError(f"{option} needs a TARGET: the built-in optimizers have their own")
    present = None if python is None else installed_in(python)
    wanted, missing = split_by_installed((framework,) if framework else FRAMEWORKS, present)
    for name in missing:
        click.echo(f"not checked: {name} is not installed (pip install 'optconform[{name}]')", err=True)
    return builtin_plan(wanted, how["device"], how["dtype"], how["mode"]), missing


def _require(required: tuple[str, ...], python: str | None) -> None:
    """Raise `MissingFramework` or `MissingDevice` unless every framework and device required is there."""
    for name in required:
        if python is None:
            from ..check import require

            require(name)
        else:
            from ..workers.questions import require_in

            require_in(python, name)
