"""`optconform audit`: one optimizer in depth."""

from __future__ import annotations

from typing import Any

import click

from .options import (
    RUN_FORMATS,
    output_options,
    parse_counting,
    parse_limits,
    target_options,
    worker_options,
)


@click.command()
@click.argument("target")
@target_options
@worker_options()
@output_options(*RUN_FORMATS)
def audit(
    target: str,
    framework: str | None,
    device: str,
    dtype: str | None,
    mode: str | None,
    path: str | None,
    settings: tuple[tuple[str, Any], ...],
    renamings: tuple[tuple[str, str], ...],
    trace_names: tuple[str, ...],
    expected: str | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    timeout: float,
    memory: float | None,
    python: str | None,
    output_format: str,
    output: str | None,
    verbose: bool,
) -> int:
    """Say what TARGET does with weight decay, and show the evidence.

    It names the kind of decay, its law and order, and where epsilon is added. TARGET is package.module:attribute or
    path/to/file.py:attribute, a class or a factory, and expected to be decoupled unless --expect says otherwise. Ways
    of using it that must agree are compared too: parameters grouped otherwise, gradients missing, saved and restored,
    every execution path, and so on. Paths that compile are compared only if --paths names one, or is `all`.
    """
    import dataclasses

    from ..expectation import DEFAULT_EXPECTATION, parse_expectation
    from ..planned import Depth, PlannedAudit
    from ..reports.render import require_format, write_document
    from ..workers.pool import run_isolated, start_early

    require_format(output_format)
    counting = parse_counting(select, ignore)
    planned = PlannedAudit(
        target,
        parse_expectation(DEFAULT_EXPECTATION if expected is None else expected),
        dict(settings),
        framework,
        device,
        path,
        dict(renamings),
        dtype,
        mode,
        Depth(counting, path),
    )
    limits = parse_limits(timeout, memory, python, device)
    start_early([planned], limits)
    from ..reports.progress import Bar

    with Bar([planned.title]) as bar:
        done = run_isolated([planned], trace_names, limits=limits, counting=counting, on_step=bar.step)
        ((_, result),) = bar.each(done)
    titled = dataclasses.replace(result, title=planned.title)
    write_document(titled.to_json(), output_format, output, verbose=verbose)
    return int(result.exit_status)
