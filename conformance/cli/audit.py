"""`optconform audit`: one optimizer in depth."""

from __future__ import annotations

from typing import Any

import click

from .options import output_options, parse_counting, target_options, target_output_aside


@click.command()
@click.argument("target")
@target_options
@output_options
def audit(
    target: str,
    framework: str | None,
    device: str,
    dtype: str,
    mode: str | None,
    path: str | None,
    settings: tuple[tuple[str, Any], ...],
    renamings: tuple[tuple[str, str], ...],
    trace_names: tuple[str, ...],
    expected: str | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    output_format: str,
    output: str | None,
    verbose: bool,
) -> int:
    """Say what TARGET does with weight decay: kind, law, order, epsilon, and the evidence.

    TARGET is package.module:attribute or path/to/file.py:attribute, a class or a factory. It is expected to
    be decoupled unless --expect says otherwise.
    """
    from ..api import DEFAULT_EXPECTATION, make_subject, open_traces
    from ..audit import audit as run_audit
    from ..expectation import parse_expectation
    from ..reports.progress import Bar
    from ..reports.render import write_json, write_text
    from ..reports.text import print_audit

    counting = parse_counting(select, ignore)
    expectation = parse_expectation(DEFAULT_EXPECTATION if expected is None else expected)
    with target_output_aside():
        subject = make_subject(
            target,
            framework=framework,
            device=device,
            dtype=dtype,
            mode=mode,
            path=path,
            option_names=dict(renamings),
            hyperparameters=dict(settings),
        )
        traces = open_traces(trace_names)
        with Bar([subject.title]) as bar:
            result = run_audit(subject, traces, expectation, trace_names, bar.step).counting_only(counting)
    if output_format == "json":
        write_json(result.to_json(), output)
    else:
        write_text(lambda console: print_audit(console, result, subject.title, verbose=verbose), output)
    return int(result.exit_status)
