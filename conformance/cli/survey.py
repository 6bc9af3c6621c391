"""`optconform survey`: every optimizer that libraries export."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from .options import RUN_FORMATS, choose_format, output_option, parse_limits, target_output_aside, worker_options

if TYPE_CHECKING:
    from ..survey import Runner, Surveyed
    from ..survey_exports import Library
    from ..workers.limits import Limits

_TIMEOUT = 120.0
"""Seconds for one optimizer: a hundred times what the slowest of 300 took."""


@click.command()
@click.argument("libraries", metavar="LIBRARY...", nargs=-1, required=True)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Optimizers audited at once; all cores.")
@click.option("--cache", type=click.Path(file_okay=False), metavar="DIR", help="Where finished results are kept.")
@click.option(
    "--trace",
    "trace_names",
    multiple=True,
    metavar="TRACE",
    help="Name, path or address of a trace to replay (repeatable).  [default: synthetic:small]",
)
@worker_options(_TIMEOUT)
@click.option("--metamorphic", is_flag=True, help="Compare ways of using it too, as audit does: four times the work.")
@choose_format(*RUN_FORMATS)
@output_option
def survey(
    libraries: tuple[str, ...],
    jobs: int | None,
    cache: str | None,
    trace_names: tuple[str, ...],
    timeout: float,
    memory: float | None,
    python: str | None,
    metamorphic: bool,
    output_format: str,
    output: str | None,
) -> int:
    """Audit every optimizer of each LIBRARY, and expect nothing of it.

    LIBRARY is a module such as torch.optim, keras.optimizers, optax or pytorch_optimizer. A survey that was
    stopped goes on where it was: finished results are kept in --cache (by default in the user's cache folder) until
    a version, the trace or this package changes. The exit status is 3 where a library or an optimizer could not run.
    """
    from pathlib import Path

    from ..api import open_traces
    from ..planned import Depth
    from ..reports.progress import Bar
    from ..reports.render import require_format, write_document
    from ..survey import DEFAULT_TRACE, entries_of, run_survey, survey_report
    from ..survey_cache import Cache, default_folder
    from ..workers.limits import usable_cores

    require_format(output_format)
    store = Cache(Path(cache) if cache is not None else default_folder())
    store.prepare()
    names = trace_names or (DEFAULT_TRACE,)
    traces = open_traces(names)
    jobs = jobs or usable_cores()
    limits = parse_limits(timeout, memory, python, "cpu")
    found = _found(tuple(dict.fromkeys(libraries)), jobs, limits)
    entries = entries_of(found)
    runner = _runner(names, jobs, limits)
    depth = Depth() if metamorphic else None
    surveyed: list[Surveyed] = []
    with target_output_aside(), Bar([entry.library.name for entry in entries]) as bar:
        finished = run_survey(entries, traces, store, runner, dataclasses.asdict(limits), depth)
        surveyed.extend(bar.each(finished))
    kept = sum(each.kept for each in surveyed)
    if kept:
        click.echo(f"{kept} of {len(surveyed)} results were there already, in {store.folder}", err=True)
    report = survey_report(found, surveyed)
    write_document(report.to_json(), output_format, output)
    return int(report.exit_status)


def _found(libraries: tuple[str, ...], jobs: int, limits: Limits) -> list[Library]:
    """Return what the libraries export, each imported by a process of its own; say at once which are not there."""
    from concurrent.futures import ThreadPoolExecutor
    from functools import partial

    from ..reports.progress import Bar
    from ..workers.exporting import exports_of
    from ..workers.limits import WARM_SECONDS

    ask = partial(exports_of, limits=dataclasses.replace(limits, timeout=WARM_SECONDS))
    with Bar([f"importing {library}" for library in libraries]) as bar, ThreadPoolExecutor(jobs) as threads:
        found = list(bar.each(threads.map(ask, libraries)))
    for library in found:
        if library.problem is not None:
            click.echo(f"not surveyed: {library.name}: {library.problem}", err=True)
    return found


def _runner(trace_names: tuple[str, ...], jobs: int, limits: Limits) -> Runner:
    """Return what runs a plan in worker processes, `jobs` at a time."""
    from ..workers.pool import run_isolated

    return lambda plan: run_isolated(plan, trace_names, limits=limits, workers=jobs, keep_going=True)
