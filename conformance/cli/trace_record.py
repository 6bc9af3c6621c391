"""`optconform trace record`: run a command and record what its optimizers do."""

from __future__ import annotations

import click

from .options import StepRange

_EPILOG = (
    "PyTorch and Keras optimizers are recorded, in every Python that COMMAND starts: python script.py, python -m "
    "module, console and shell scripts. The second optimizer goes to run-2.trace beside run.trace, the third to "
    "run-3.trace; of processes that train together rank 0 records. Exit status: that of COMMAND where it is not 0, "
    "else 0, or 2 where nothing was recorded."
)


class _CommandAfterDashes(click.Command):
    """A command whose arguments are what follows `--`, which has to be there: options of the two are not to mix."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`, and take the rest as it is."""
        at = args.index("--") if "--" in args else len(args)
        own, command = args[:at], args[at + 1 :]
        if not command and not ctx.resilient_parsing and not {*own} & {*ctx.help_option_names}:
            ctx.fail("no command to record: it stands after `--`, as in `-- python train.py`")
        surplus = super().parse_args(ctx, own)
        ctx.params["command"] = tuple(command)
        return surplus


@click.command(
    "record",
    cls=_CommandAfterDashes,
    options_metavar="--output PATH [OPTIONS] -- COMMAND [ARGUMENT]...",
    epilog=_EPILOG,
)
@click.option("--output", required=True, type=click.Path(), metavar="PATH", help="Directory to write, as run.trace.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep N random coordinates of a tensor.  [default: all]",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the sample.")
@click.option("--steps", type=StepRange(), help="Record steps A, A+N, ... before B, counted from 1.  [default: all]")
@click.option(
    "--every", default=1, show_default=True, type=click.IntRange(min=1), metavar="N", help="Record each N-th of them."
)
@click.option("--snapshots", is_flag=True, help="Keep the parameters after each step, to judge the run itself by.")
@click.option("--overwrite", is_flag=True, help="Replace traces that lie there.")
def record(
    command: tuple[str, ...],
    output: str,
    sample: int | None,
    seed: int,
    steps: range | None,
    every: int,
    snapshots: bool,
    overwrite: bool,
) -> int:
    """Run COMMAND and record what its optimizers do, without a change to it."""
    from pathlib import Path

    from ..recording.launching import launch, python_options_in_the_way
    from ..recording.options import RecordingOptions
    from ..traces.errors import printable

    try:
        options = RecordingOptions(sample, seed, steps, every, snapshots, overwrite)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    in_the_way = python_options_in_the_way(command)
    if in_the_way is not None:
        click.echo(f"{printable(in_the_way)} keeps this Python from being recorded; only those it starts are", err=True)
    launched = launch(command, Path(output), options)
    for message in launched.messages:
        click.echo(f"optconform: {message}", err=True)
    return launched.status
