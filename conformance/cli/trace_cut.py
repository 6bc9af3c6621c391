"""`optconform trace cut`: a smaller trace from a trace."""

from __future__ import annotations

import click

from .options import TRACE_HELP, StepRange


@click.command(epilog=TRACE_HELP)
@click.argument("name", metavar="TRACE")
@click.option("--output", required=True, type=click.Path(), help="Directory to write; it must not exist yet.")
@click.option("--steps", type=StepRange(), help="Keep steps A, A+N, ... before B, counted from 1.  [default: all]")
@click.option(
    "--parameter",
    "parameters",
    metavar="NAME",
    multiple=True,
    help="Keep this parameter, or those that match a pattern such as 'encoder.*' (repeatable).  [default: all]",
)
@click.option(
    "--coordinates",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep N random coordinates of every tensor that has more.  [default: all]",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the coordinates.")
@click.option("--overwrite", is_flag=True, help="Replace a trace that lies there.")
def cut(
    name: str,
    output: str,
    steps: range | None,
    parameters: tuple[str, ...],
    coordinates: int | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Write some steps, some parameters or a sample of the coordinates of TRACE.

    What was recorded of a run stays where it holds for the cut; standard error says what does not.
    """
    from ..traces import find_trace
    from ..traces.cutting import Cut, cut_trace
    from ..traces.errors import printable
    from ..traces.summary import counts_of

    if steps is None and not parameters and coordinates is None:
        raise click.UsageError("nothing to cut: give --steps, --parameter or --coordinates")
    try:
        chosen = Cut(steps, parameters, coordinates, seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    written, lost = cut_trace(find_trace(name), output, chosen, overwrite=overwrite)
    for sentence in lost:
        click.echo(f"Note: {sentence}.", err=True)
    click.echo(f"wrote {printable(output)}: {counts_of(written)}, sha256 {written.sha256}", err=True)
