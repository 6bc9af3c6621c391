"""`optconform compare`: two optimizers, the same path or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .options import DTYPES, FRAMEWORKS, Assignment, Renaming, output_options, target_output_aside


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
@click.option("--trace", "traces", multiple=True, metavar="NAME|PATH", help="Trace to replay; all by default.")
@output_options
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
    traces: tuple[str, ...],
    output_format: str,
    output: str | None,
    verbose: bool,
) -> int:
    """Say whether two optimizers walk the same path, and what is between them if not.

    The first TARGET is A, the second B, each package.module:attribute or path/to/file.py:attribute, of the same
    framework or another, with its own hyperparameters. Where they part: the step, the axis or hyperparameter that
    explains it, and the values with which B would follow A, tried on B. Exit status 0: the same path; 1: another;
    3: one of them could not run; 4: it cannot be told.
    """
    from ..api import make_subject, open_traces
    from ..compare import compare as run_compare
    from ..reports.compare_text import print_compare
    from ..reports.progress import Bar
    from ..reports.render import write_json, write_text
    from ..rerun import compare_command

    with target_output_aside():
        first, second = (
            make_subject(
                target,
                framework=framework,
                device=device,
                dtype=dtype,
                path=path,
                option_names=dict(renamings),
                hyperparameters={**dict(shared), **dict(own)},
            )
            for target, framework, path, renamings, own in (
                (target_a, framework_a, path_a, map_a, set_a),
                (target_b, framework_b, path_b, map_b, set_b),
            )
        )
        rerun = compare_command(first, second, traces)
        with Bar([f"{first.title} and {second.title}"]) as bar:
            result = run_compare(first, second, open_traces(traces), rerun, bar.step)
    if output_format == "json":
        write_json(result.to_json(), output)
    else:
        titles = (first.title, second.title)
        write_text(lambda console: print_compare(console, result, titles, verbose=verbose), output)
    return int(result.exit_status)
