"""`optconform trace`: list, inspect, verify and make gradient traces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .options import format_option

if TYPE_CHECKING:
    from ..traces import Trace
    from ..traces.summary import GradientSummary

_TRACE_HELP = "TRACE is the name of a shipped trace, synthetic:KIND[:SEED], or the directory of a trace."


@click.group()
def trace() -> None:
    """List, inspect, verify and make gradient traces."""


@trace.command("list")
@format_option
def list_traces(output_format: str) -> None:
    """List the traces that ship with the package and the kinds of synthetic ones."""
    from ..reports.render import write_json
    from ..traces.catalog import SHIPPED, SYNTHETIC_PREFIX
    from ..traces.synthetic import KINDS

    entries = [{"name": name, "source": "shipped", "description": text} for name, text in SHIPPED.items()]
    entries += [
        {"name": f"{SYNTHETIC_PREFIX}:{name}", "source": "synthetic", "description": kind.description}
        for name, kind in KINDS.items()
    ]
    if output_format == "json":
        write_json({"schema": "optconform/trace-list/1", "traces": entries}, None)
    else:
        _print_table(("trace", "description"), [(entry["name"], entry["description"]) for entry in entries])


@trace.command(epilog=_TRACE_HELP)
@click.argument("name", metavar="TRACE")
@format_option
def info(name: str, output_format: str) -> None:
    """Show sizes, parameters, ranges of the gradients, schedule and provenance of TRACE."""
    from ..reports.render import write_json
    from ..traces import find_trace
    from ..traces.summary import summarize_gradients

    found = find_trace(name)
    summaries = summarize_gradients(found)
    if output_format == "json":
        write_json(_info_document(found, summaries), None)
    else:
        _print_info(found, summaries)


@trace.command(epilog=_TRACE_HELP)
@click.argument("names", metavar="TRACE...", nargs=-1, required=True)
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...]) -> None:
    """Read every byte of each TRACE; exit with status 2 when one is damaged, incomplete or not finite."""
    from ..traces import TraceError, find_trace
    from ..traces.errors import printable

    refused = 0
    for name in names:
        try:
            found = find_trace(name)
        except TraceError as error:
            refused += 1
            click.echo(f"Error: {error}", err=True)
        else:
            counts = f"{found.n_steps} steps, {len(found.parameters)} parameters"
            click.echo(f"{printable(name)}: sound, {counts}, sha256 {found.sha256}")
    if refused:
        context.exit(2)


@trace.command()
@click.argument("kind")
@click.option("--output", required=True, type=click.Path(), help="Directory to write; it must not exist yet.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the generator.")
@click.option("--steps", type=click.IntRange(min=0), help="Number of steps.  [default: 20; small: 12]")
@click.option(
    "--shape",
    "shapes",
    metavar="NAME=AxBxC",
    multiple=True,
    help="A parameter and its shape (repeatable); NAME= is a scalar.  "
    "[default: weight=16x8 bias=8 scale=; small: matrix=6x4 vector=5]",
)
@click.option("--dtype", default="float64", show_default=True, help="float64, float32, float16 or bfloat16.")
@click.option("--overwrite", is_flag=True, help="Replace a trace that lies there.")
def make(
    kind: str, output: str, seed: int, steps: int | None, shapes: tuple[str, ...], dtype: str, overwrite: bool
) -> None:
    """Write a synthetic trace of KIND; `optconform trace list` describes the kinds."""
    from ..traces import synthetic_trace, write_trace
    from ..traces.errors import printable

    chosen = _parse_shapes(shapes) if shapes else None
    made = synthetic_trace(kind, seed=seed, shapes=chosen, n_steps=steps, dtype=dtype)
    written = write_trace(made, output, overwrite=overwrite)
    click.echo(f"wrote {printable(output)}: {written.n_steps} steps, sha256 {written.sha256}", err=True)


def _parse_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`("w=16x8", "b=8", "s=")` as names and shapes. Raises `click.BadParameter`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, dimensions = text.rpartition("=")
        sizes = dimensions.split("x") if dimensions else []
        if not equals or not name or not all(size.isascii() and size.isdigit() for size in sizes):
            raise click.BadParameter(
                f"{text!r}, but should be like weight=16x8, or scale= for a scalar", param_hint="--shape"
            )
        if name in shapes:
            raise click.BadParameter(f"{name!r} is given twice; give each parameter once", param_hint="--shape")
        shapes[name] = tuple(int(size) for size in sizes)
    return shapes


def _info_document(found: Trace, summaries: tuple[GradientSummary, ...]) -> dict[str, Any]:
    from ..traces.summary import trace_bytes

    return {
        "schema": "optconform/trace-info/1",
        "name": found.name,
        "sha256": found.sha256,
        "steps": found.n_steps,
        "bytes": trace_bytes(found),
        "parameters": [
            {
                "name": summary.parameter.name,
                "shape": list(summary.parameter.shape),
                "dtype": summary.parameter.dtype,
                "size": summary.parameter.size,
                "steps_with_gradient": summary.steps,
                "smallest_nonzero": summary.smallest,
                "largest": summary.largest,
                "zero_fraction": summary.zero_fraction,
            }
            for summary in summaries
        ],
        "multipliers": list(found.multipliers),
        "provenance": dict(found.provenance),
    }


def _print_info(found: Trace, summaries: tuple[GradientSummary, ...]) -> None:
    from ..reports.console import make_console
    from ..traces.errors import printable
    from ..traces.summary import trace_bytes

    counts = f"{found.n_steps} steps, {len(found.parameters)} parameters"
    elements = sum(p.size for p in found.parameters)
    console = make_console()
    for label, value in (
        ("trace", found.name),
        ("sha256", found.sha256),
        ("size", f"{counts}, {elements} elements, {trace_bytes(found)} bytes"),
        ("schedule", _schedule(found.multipliers)),
    ):
        console.print(f"{label:<9} {printable(value)}", soft_wrap=True)
    _print_table(
        ("parameter", "shape", "dtype", "steps", "least |g| > 0", "greatest |g|", "zeros"),
        [
            (
                summary.parameter.name,
                "x".join(map(str, summary.parameter.shape)) or "scalar",
                summary.parameter.dtype,
                str(summary.steps),
                _number(summary.smallest, ".2e"),
                _number(summary.largest, ".2e"),
                _number(summary.zero_fraction, ".1%"),
            )
            for summary in summaries
        ],
    )
    _print_table(
        ("provenance", ""),
        [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in found.provenance.items()],
    )


def _schedule(multipliers: tuple[float, ...]) -> str:
    if not multipliers:
        return "no steps"
    if min(multipliers) == max(multipliers):
        return f"constant, multiplier {multipliers[0]:.6g}"
    first, last = multipliers[0], multipliers[-1]
    return f"multiplier {first:.6g} at first, {last:.6g} at last, {min(multipliers):.6g} to {max(multipliers):.6g}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table

    from ..reports.console import make_console
    from ..traces.errors import printable

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in columns:
        table.add_column(heading, overflow="fold")  # a name that is cut short could not be used
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    make_console().print(table)
