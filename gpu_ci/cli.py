"""`optconform gate`: the declared cases on a device, against the bound, the CPU, themselves and a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..conformance.choices import DTYPES
from ..conformance.cli.options import (
    RUN_FORMATS,
    Assignment,
    Renaming,
    choose_format,
    configuration_options,
    limit_options,
    parse_configuration,
    parse_counting,
    parse_limits,
    require_target,
    trace_option,
)

if TYPE_CHECKING:
    from ..conformance.configuration.values import Configuration
    from ..conformance.workers.limits import Limits
    from .case import Case
    from .configured_cases import ConfiguredCases

RUNTIME_NAMES = ("numpy", "torch", "tensorflow", "jax", "keras-jax", "keras-torch")
RULE_NAMES = ("adamw", "adam_l2", "sgdw", "sgd_l2")
"""These stand here as plain data, so that `--help` imports neither adapters nor NumPy."""
_TIMEOUT = 300.0


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@configuration_options
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or gpu:N.")
@click.option(
    "--framework",
    "runtimes",
    multiple=True,
    type=click.Choice(RUNTIME_NAMES),
    help="Run the cases of this one only (repeatable); of every installed one by default.",
)
@click.option("--case", "patterns", multiple=True, metavar="GLOB", help="Run the cases so named only (repeatable).")
@click.option("--all", "all_cases", is_flag=True, help="Run slow cases too: those that compile for many seconds.")
@click.option("--list", "listing", is_flag=True, help="Print the names of the cases, and run none.")
@click.option("--require", multiple=True, metavar="FRAMEWORK|DEVICE", help="Fail with status 3 if it is not there.")
@click.option(
    "--baseline",
    metavar="PATH",
    type=click.Path(),
    help="Hold the run against this file, or against the one of the device's class in this folder.",
)
@click.option("--update-baseline", is_flag=True, help="Write the run there instead, and print what changes.")
@click.option("--strict", is_flag=True, help="What is worse than the baseline allows is an error (OC502).")
@click.option("--allow-new-device", is_flag=True, help="End with 0 where the baseline is of another class of devices.")
@click.option(
    "--skips",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Cases that may be skipped where no baseline says which.",
)
@click.option(
    "--repeat", type=click.IntRange(min=1), default=2, show_default=True, metavar="N", help="Runs of every case."
)
@click.option("--set", "settings", multiple=True, type=Assignment(), help="Constructor option of TARGET.")
@click.option("--map", "renamings", multiple=True, type=Renaming(), help="Which option is lr, weight_decay ...")
@click.option("--paths", "execution", metavar="NAME", help="How TARGET is executed, or `all`; plainly by default.")
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="Precision of TARGET (repeatable).")
@trace_option
@click.option(
    "--expect", "expected", metavar="EXPECTATION", help="What TARGET is expected to be; decoupled by default."
)
@click.option("--rule", type=click.Choice(RULE_NAMES), help="Rule of the reference that TARGET must walk.")
@click.option("--select", "selected", multiple=True, metavar="CODE", help="Count these findings only.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Do not count these findings.")
@limit_options(_TIMEOUT)
@choose_format(*RUN_FORMATS)
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Leave gate.json, junit.xml, summary.md and, where the extra `report` is installed, report.html there too.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the evidence too.")
def gate(
    targets: tuple[str, ...],
    config: str | None,
    no_config: bool,
    device: str,
    runtimes: tuple[str, ...],
    patterns: tuple[str, ...],
    all_cases: bool,
    listing: bool,
    require: tuple[str, ...],
    repeat: int,
    selected: tuple[str, ...],
    ignore: tuple[str, ...],
    timeout: float,
    memory: float | None,
    output_format: str,
    output: str | None,
    verbose: bool,
    **how: Any,
) -> int:
    """Run the declared cases, and fail on regressions, not on noise.

    Every case is judged by the certified bound of the platform it runs on, must prove that it really ran on the path
    and device it names, is compared with the same case on the CPU, is run again for its bits, and is held against a
    baseline, where one is named.

    With TARGET (package.module:attribute or path/to/file.py:attribute) that optimizer's cases are run instead of the
    declared ones: every combination of --paths, --dtype and --trace. Without, those of the targets that
    [tool.optconform] lists in the nearest pyproject.toml that has such a table, where it lists any.

    Exit status 5: the baseline is of another class of devices, so that nothing was compared with it.
    """
    from ..conformance.configuration.paths import shown_path
    from ..conformance.reports.progress import Bar
    from ..conformance.reports.render import require_format, write_document
    from ..conformance.workers.questions import require_in
    from .baseline_change import why_unfit
    from .case_job import CaseJob
    from .gate import Rules, baseline_path, judged_run, require_baseline, run_of
    from .outputs import leave_files, tell_ci
    from .places import normal_device
    from .rerun import rerun_command
    from .running import run_cases
    from .selection import select
    from .updating import update_baseline

    device = normal_device(device)
    configuration = parse_configuration(config, no_config, "TARGET" if targets else "")
    counting = parse_counting(selected, ignore, configuration)
    baseline = how["baseline"]
    if baseline is None and configuration.baseline is not None:
        baseline = shown_path(configuration.folder / configuration.baseline)
    rules = Rules(baseline, how["strict"], how["allow_new_device"], how["skips"], counting)
    if how["update_baseline"] and not rules.baseline:
        raise click.UsageError("--update-baseline needs --baseline PATH: the file to write, or a folder for it")
    require_format(output_format)
    if not listing:
        require_baseline(rules.baseline, updating=how["update_baseline"])
    limits = parse_limits(timeout, memory, None, device)
    configured = _configured(configuration, device, how, limits)
    cases = configured.cases if configured else _cases(targets, device, runtimes, how, limits)
    chosen = select(cases, runtimes=() if targets else runtimes, patterns=patterns, all_cases=all_cases)
    if configured:
        chosen = replace(chosen, absent=(*chosen.absent, *configured.absent))
    if listing:
        click.echo("\n".join(case.name for case in chosen.cases))
        return 0
    for name in (*configuration.require, *require):
        require_in(None, name)
    jobs = [
        CaseJob(case, device, repeat, rerun_command(case, device, repeat, declared=not (targets or configured)))
        for case in chosen.cases
    ]
    with Bar([case.name for case in chosen.cases]) as bar:
        run = run_of(chosen, device, bar.each(run_cases(jobs, limits)), counting)
    updating = baseline_path(rules.baseline, run.place) if how["update_baseline"] else None
    unfit = why_unfit(run) if updating else ""
    if updating:  # a new baseline takes the run as it is, skips too
        rules = replace(rules, baseline=None, skips=len(run.results))
    report = judged_run(run, chosen, rules)
    document = report.to_json()
    if updating and not unfit:
        update_baseline(run, updating)
    else:
        write_document(document, output_format, None, verbose=verbose)
    if output is not None:
        leave_files(document, output)
    tell_ci(document)
    if unfit:
        click.echo(f"no baseline was made: {unfit}", err=True)
    return int(report.exit_status)


def _configured(
    configuration: Configuration, device: str, how: dict[str, Any], limits: Limits
) -> ConfiguredCases | None:
    """Return the cases of the configuration's targets, and say which have none; None where it lists no target."""
    if not configuration.targets:
        return None
    from .configured_cases import cases_of_configuration

    require_target(_of_targets(how), "those of the configuration have their own")
    found = cases_of_configuration(configuration, how["dtypes"], how["trace_names"], device, limits)
    for sentence in found.left_out:
        click.echo(f"not run: {sentence}", err=True)
    return found


def _of_targets(how: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say how a target is built, executed and judged, by name."""
    names = {
        "settings": "--set",
        "renamings": "--map",
        "execution": "--paths",
        "expected": "--expect",
        "rule": "--rule",
    }
    return {option: how[name] for name, option in names.items()}


def _cases(
    targets: tuple[str, ...], device: str, runtimes: tuple[str, ...], how: dict[str, Any], limits: Limits
) -> tuple[Case, ...]:
    """Return the declared cases or, where there are targets, theirs."""
    from ..adapters.errors import MissingDevice
    from .case_list import CPU_ONLY, declared_cases
    from .target_cases import Asked, cases_of_targets

    if not targets:
        own = _of_targets(how) | {"--dtype": how["dtypes"], "--trace": how["trace_names"]}
        require_target(own, "the declared cases have their own")
        hostbound = [name for name in runtimes if name in CPU_ONLY and device != "cpu"]
        if hostbound:
            raise MissingDevice(f"{hostbound[0]} has no device {device!r}; its cases run on the CPU alone")
        return declared_cases(device)
    if len(runtimes) > 1:
        raise click.UsageError("--framework may be given once with TARGET: it says whose optimizer that is")
    asked = Asked(
        dict(how["settings"]),
        dict(how["renamings"]),
        runtimes[0] if runtimes else None,
        how["execution"],
        how["dtypes"],
        how["trace_names"],
        how["expected"],
        how["rule"],
    )
    return cases_of_targets([(spec, asked) for spec in targets], device, limits)
