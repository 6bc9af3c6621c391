"""`optconform trace`: list, verify and make gradient traces; the other commands have files of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from .options import TRACE_HELP, format_option
from .trace_cut import cut
from .trace_info import info
from .trace_record import record

if TYPE_CHECKING:
    from ..traces import TraceError


@click.group()
def trace() -> None:
    """List, inspect, verify, make, record and cut gradient traces."""


for _command in (record, info, cut):
    trace.add_command(_command)


@trace.command("list")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(exists=True, file_okay=False))
@format_option
@click.pass_context
def list_traces(context: click.Context, folders: tuple[str, ...], output_format: str) -> None:
    """List the traces that lie in each FOLDER, or those that ship with the package and those made on demand.

    The exit status is 2 when one cannot be opened; `optconform trace verify` reads them in full.
    """
    from ..reports.render import write_json, write_text
    from ..traces import TraceError

    entries, refused = [], 0
    for entry in _in_folders(folders) if folders else _known():
        if isinstance(entry, TraceError):
            refused += 1
            click.echo(f"Error: {entry}", err=True)
        else:
            entries.append(entry)
    if output_format == "json":
        write_json({"schema": "optconform/trace-list/1", "traces": entries}, None)
    else:
        from ..reports.layout import print_list
        from ..traces.errors import printable

        rows = [(printable(entry["name"]), printable(entry["description"])) for entry in entries]
        write_text(lambda console: print_list(console, ("trace", "description"), rows), None)
    if refused:
        context.exit(2)


def _known() -> Iterator[dict[str, str]]:
    from ..traces import generated
    from ..traces.catalog import SHIPPED, SYNTHETIC_PREFIX
    from ..traces.synthetic import KINDS

    for name, text in SHIPPED.items():
        yield {"name": name, "source": "shipped", "description": text}
    for name, kind in KINDS.items():
        yield {"name": f"{SYNTHETIC_PREFIX}:{name}", "source": "synthetic", "description": kind.description}
    yield {"name": generated.FORM, "source": generated.PREFIX, "description": generated.DESCRIPTION}


def _in_folders(folders: tuple[str, ...]) -> Iterator[dict[str, str] | TraceError]:
    """The traces right below each folder, and the folder itself where it is one; what cannot be opened as its error."""
    from pathlib import Path

    from ..traces import TraceError, open_trace
    from ..traces.index import INDEX_FILE
    from ..traces.summary import counts_of

    for folder in map(Path, folders):
        candidates = [folder] if (folder / INDEX_FILE).is_file() else sorted(folder.iterdir())
        for path in candidates:
            if not (path / INDEX_FILE).is_file():
                continue
            try:
                found = open_trace(path, verify=False)
            except TraceError as error:
                yield error
                continue
            run = found.run
            source, what = ("directory", "") if run is None else ("recorded", f"{run.optimizer}, ")
            yield {"name": str(path), "source": source, "description": f"{what}{counts_of(found)}"}


@trace.command(epilog=TRACE_HELP)
@click.argument("names", metavar="TRACE...", nargs=-1, required=True)
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...]) -> None:
    """Read every byte of each TRACE; exit with status 2 when one is damaged, incomplete or not finite."""
    from ..addresses import shown
    from ..traces import TraceError, find_trace
    from ..traces.errors import printable
    from ..traces.summary import counts_of

    refused = 0
    for name in names:
        try:
            found = find_trace(name)
        except TraceError as error:
            refused += 1
            click.echo(f"Error: {error}", err=True)
        else:
            click.echo(f"{printable(shown(name))}: sound, {counts_of(found)}, sha256 {found.sha256}")
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
    from ..traces.summary import counts_of

    chosen = _parse_shapes(shapes) if shapes else None
    made = synthetic_trace(kind, seed=seed, shapes=chosen, n_steps=steps, dtype=dtype)
    written = write_trace(made, output, overwrite=overwrite)
    click.echo(f"wrote {printable(output)}: {counts_of(written)}, sha256 {written.sha256}", err=True)


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
