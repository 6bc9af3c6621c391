"""`optconform trace info`: what a trace holds, and what is known of the run it was recorded from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .options import TRACE_HELP, format_option

if TYPE_CHECKING:
    from rich.console import Console

    from ..traces import Parameter, Trace
    from ..traces.run import Course, Group, RecordedRun
    from ..traces.summary import GradientSummary


@click.command(epilog=TRACE_HELP)
@click.argument("name", metavar="TRACE")
@click.option("--no-separability", is_flag=True, help="Leave out which hypotheses TRACE can tell apart.")
@format_option
def info(name: str, no_separability: bool, output_format: str) -> None:
    """Show sizes, parameters, ranges of the gradients, schedule and provenance of TRACE.

    Of a recorded run it shows the optimizer with its hyperparameters, and what else was kept. Which forms of weight
    decay can be told apart is what 512 coordinates over the first 16 steps show at least.
    """
    from ..reports.render import write_json, write_text
    from ..traces import find_trace
    from ..traces.summary import summarize_gradients

    found = find_trace(name)
    summaries = summarize_gradients(found)
    told_apart = None if no_separability else _told_apart(found)
    if output_format == "json":
        write_json(_document(found, summaries, told_apart), None)
    else:
        write_text(lambda console: _print(console, found, summaries, told_apart), None)


SEPARABILITY_STEPS = 16
SEPARABILITY_SAMPLE = 512
"""Steps and coordinates looked at: 1.3 s for the shipped traces where all of them take 7 s, and of 22 rivals at most
one more is then told apart."""
SEPARABILITY_DTYPES = ("float32", "bfloat16", "float16")


def _told_apart(found: Trace) -> list[dict[str, Any]]:
    """For each set of hyperparameters and each dtype, how many rivals of the common forms of decay are told apart."""
    from ..separability import VALUES, separations

    rows = []
    for label, values in VALUES.items():
        for dtype in SEPARABILITY_DTYPES:
            pairs = separations(found, values, dtype, steps=SEPARABILITY_STEPS, sample_size=SEPARABILITY_SAMPLE)
            row = {"at": label, "hyperparameters": dict(values), "dtype": dtype, "rivals": len(pairs)}
            left = [each.name for each in pairs if not each.separable]
            rows.append({**row, "separable": len(pairs) - len(left), "inseparable": left})
    return rows


def _document(
    found: Trace, summaries: tuple[GradientSummary, ...], told_apart: list[dict[str, Any]] | None
) -> dict[str, Any]:
    from ..traces.summary import recorded_run, size_on_disk, trace_bytes

    run = recorded_run(found)
    return {
        "schema": "optconform/trace-info/1",
        "name": found.name,
        "sha256": found.sha256,
        "steps": found.n_steps,
        "bytes": trace_bytes(found),
        "bytes_on_disk": size_on_disk(found),
        "parameters": [
            {
                "name": summary.parameter.name,
                "shape": list(summary.parameter.shape),
                "dtype": summary.parameter.dtype,
                "size": summary.parameter.size,
                "sampled_from": None if (whole := summary.parameter.sampled_from) is None else list(whole),
                "steps_with_gradient": summary.steps,
                "smallest_nonzero": summary.smallest,
                "largest": summary.largest,
                "zero_fraction": summary.zero_fraction,
                "row_fraction": summary.row_fraction,
            }
            for summary in summaries
        ],
        "multipliers": list(found.multipliers),
        "run": None if run is None else _run_document(run),
        "separability": told_apart,
        "provenance": dict(found.provenance),
    }


def _run_document(run: RecordedRun) -> dict[str, Any]:
    return {
        "framework": run.framework,
        "optimizer": run.optimizer,
        "groups": [
            {
                "parameters": list(group.parameters),
                "hyperparameters": {
                    name: {"first": course[0][1], "last": course[-1][1], "values": len(course)}
                    for name, course in group.hyperparameters.items()
                    if course
                },
            }
            for group in run.groups
        ],
        "sample": None if run.sample is None else {"size": run.sample.size, "seed": run.sample.seed},
        "segments": [{"step": each.step, "training_step": each.training_step} for each in run.segments],
        "snapshots": bool(run.after),
        "skipped": sorted(run.skipped),
    }


def _print(
    console: Console,
    found: Trace,
    summaries: tuple[GradientSummary, ...],
    told_apart: list[dict[str, Any]] | None,
) -> None:
    from ...adapters.text import counted
    from ..reports.layout import Column, Row, print_list, print_prose, print_table
    from ..traces.errors import printable
    from ..traces.summary import recorded_run, size_on_disk, trace_bytes

    elements = sum(p.size for p in found.parameters)
    on_disk = size_on_disk(found)
    counts = f"{counted(found.n_steps, 'step')}, {counted(len(found.parameters), 'parameter')}"
    size = f"{counts}, {counted(elements, 'element')}, {trace_bytes(found)} bytes"
    run = recorded_run(found)
    facts = (
        ("trace", found.name),
        ("sha256", found.sha256),
        ("size", size if on_disk is None else f"{size}, {on_disk} on the disk"),
        ("schedule", _schedule(found.multipliers)),
        *(() if run is None else _run_lines(run, found.n_steps)),
    )
    for label, value in facts:
        print_prose(console, printable(value, _LONGEST_CELL), label=f"{label:<9} ", label_style="dim")
    console.print()
    rows = (Column("rows", right=True),) if any(summary.row_fraction is not None for summary in summaries) else ()
    print_table(
        console,
        "parameter",
        (
            *(Column(heading) for heading in ("shape", "dtype")),
            *(Column(heading, right=True) for heading in ("steps", "least |g| > 0", "greatest |g|", "zeros")),
            *rows,
        ),
        [
            Row(
                printable(summary.parameter.name, _LONGEST_CELL),
                (
                    _shape(summary.parameter),
                    summary.parameter.dtype,
                    str(summary.steps),
                    _number(summary.smallest, ".2e"),
                    _number(summary.largest, ".2e"),
                    _number(summary.zero_fraction, ".1%"),
                    *(_number(summary.row_fraction, ".2%") for _ in rows),
                ),
            )
            for summary in summaries
        ],
    )
    if run is not None:
        console.print()
        print_list(console, ("group", "parameters and hyperparameters"), _group_rows(run))
    if told_apart is not None:
        console.print()
        headings = ("hyperparameters", "dtype", "told apart", "not told apart from the common form")
        print_list(console, headings, [_apart_row(row) for row in told_apart])
    console.print()
    provenance = [
        (key, value if isinstance(value, str) else json.dumps(value)) for key, value in found.provenance.items()
    ]
    print_list(
        console, ("provenance", ""), [tuple(printable(cell, _LONGEST_CELL) for cell in row) for row in provenance]
    )


def _apart_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    values, left = row["hyperparameters"], row["inseparable"]
    at = f"{row['at']}: lr {values['lr']:g}, weight_decay {values['weight_decay']:g}"
    names = "all of them" if len(left) == row["rivals"] else _few(left) or "none"
    return at, row["dtype"], f"{row['separable']} of {row['rivals']}", names


def _run_lines(run: RecordedRun, n_steps: int) -> list[tuple[str, str]]:
    """What is known of the run besides its groups, as labels and values."""
    starts = [f"{each.step} (training step {each.training_step})" for each in run.segments]
    return [
        ("recorded", f"{run.framework}, {run.optimizer}"),
        ("segments", f"{len(starts)}, with the state before step {_few(starts)}" if starts else "no state but theta_0"),
        ("snapshots", "theta after each step" if run.after else "none"),
        ("skipped", f"{len(run.skipped)} of {n_steps} steps{_listed(run.skipped)}"),
    ]


def _listed(steps: frozenset[int]) -> str:
    return f": {_few([str(step) for step in sorted(steps)])}" if steps else ""


def _few(texts: list[str], most: int = 6) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _group_rows(run: RecordedRun) -> list[tuple[str, str]]:
    from ..traces.errors import printable

    return [
        (str(number), printable(f"{_few(list(group.parameters))}: {_values(group)}", _LONGEST_CELL))
        for number, group in enumerate(run.groups, 1)
    ]


def _values(group: Group) -> str:
    """The hyperparameters of a group, those left out that were not set at any time."""
    courses = {
        name: course for name, course in group.hyperparameters.items() if any(each[1] is not None for each in course)
    }
    return ", ".join(f"{name} {_course(course)}" for name, course in courses.items())


def _course(course: Course) -> str:
    """A hyperparameter as it was: one value, or the first and the last of several."""
    first, last = (json.dumps(value) for _, value in (course[0], course[-1]))
    return first if len(course) == 1 else f"{first} to {last} ({len(course)} values)"


def _shape(parameter: Parameter) -> str:
    whole = parameter.sampled_from
    return _by(parameter.shape) if whole is None else f"{parameter.size} of {_by(whole)}"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _schedule(multipliers: tuple[float, ...]) -> str:
    if not multipliers:
        return "no steps"
    if min(multipliers) == max(multipliers):
        return f"constant, multiplier {multipliers[0]:.6g}"
    first, last = multipliers[0], multipliers[-1]
    return f"multiplier {first:.6g} at first, {last:.6g} at last, {min(multipliers):.6g} to {max(multipliers):.6g}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


_LONGEST_CELL = 2000
"""Characters of a cell that are shown: the hyperparameters of a group take 300, a corrupt index may hold megabytes."""
