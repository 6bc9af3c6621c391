"""`optconform compare`: two optimizers, the same path or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..choices import DTYPES
from .options import (
    FORMATS,
    FRAMEWORKS,
    Assignment,
    Renaming,
    output_options,
    parse_limits,
    trace_option,
    worker_options,
)


def _for_each(name: str, help: str, **how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--NAME-a` and `--NAME-b`."""
    options = [click.option(f"--{name}-{letter}", help=help.format(letter.upper()), **how) for letter in ("b", "a")]

    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in options:
            command = option(command)
        return command

    return apply


@click.command()
@click.argument("target_a", metavar="TARGET")
@click.argument("target_b", metavar="TARGET")
@click.option("--set", "shared", multiple=True, type=Assignment(), help="Constructor option of both.")
@_for_each("set", "Constructor option of {} alone, over --set.", multiple=True, type=Assignment())
@_for_each("map", "Which option of {} is lr, weight_decay ...", multiple=True, type=Renaming())
@_for_each("path", "How {} executes a step: loop, foreach, eager, function ...", metavar="NAME")
@_for_each("framework", "Whose optimizer {} is; found out by default.", type=click.Choice(FRAMEWORKS))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or gpu:N.")
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="Precision of both.")
@trace_option
@worker_options()
@output_options(*FORMATS)
def compare(
    target_a: str,
    target_b: str,
    shared: tuple[tuple[str, Any], ...],
    set_a: tuple[tuple[str, Any], ...],
    set_b: tuple[tuple[str, Any], ...],
    map_a: tuple[tuple[str, str], ...],
    map_b: tuple[tuple[str, str], ...],
    path_a: str | None,
    path_b: str | None,
    framework_a: str | None,
    framework_b: str | None,
    device: str,
    dtype: str,
    trace_names: tuple[str, ...],
    timeout: float,
    memory: float | None,
    python: str | None,
    output_format: str,
    output: str | None,
    verbose: bool,
) -> int:
    """Say whether two optimizers walk the same path, and what differs.

    The first TARGET is A, the second B, each package.module:attribute or path/to/file.py:attribute, of the same
    framework or another, with its own hyperparameters. Where they part: the step, the axis or hyperparameter that
    explains it, and the values with which B would follow A, tried on B. Exit status 0: the same path; 1: another;
    3: one of them could not run; 4: it cannot be told.
    """
    from ..planned import PlannedComparison, PlannedSide
    from ..result import ExitStatus
    from ..workers.comparing import NotCompared, StartedComparison

    limits = parse_limits(timeout, memory, python, device)
    first, second = (
        PlannedSide(target, {**dict(shared), **dict(own)}, framework, path, dict(renamings))
        for target, framework, path, renamings, own in (
            (target_a, framework_a, path_a, map_a, set_a),
            (target_b, framework_b, path_b, map_b, set_b),
        )
    )
    started = StartedComparison(PlannedComparison(first, second, device, dtype), trace_names, limits)
    from ..reports.compare_text import print_compare
    from ..reports.progress import Bar
    from ..reports.render import write_json, write_text

    try:
        with Bar([f"{target_a} and {target_b}"]) as bar:
            compared = started.result(bar.step)
    except NotCompared as error:
        _show_output(error.output)
        click.echo(f"Error: {error}", err=True)
        return int(ExitStatus.COULD_NOT_RUN)
    _show_output(compared.output)
    if output_format == "json":
        write_json(compared.result.to_json(), output)
    else:
        write_text(lambda console: print_compare(console, compared.result, compared.titles, verbose=verbose), output)
    return int(compared.result.exit_status)


def _show_output(output: str) -> None:
    """Show what the targets printed on standard error: standard output is for the result and nothing else."""
    from ...adapters.text import escape_control

    for line in output.splitlines():
        click.echo(escape_control(line), err=True)
