"""A run of the gate as text: a line for each case, what is wrong with it, and what was and was not compared."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...adapters.text import escape_control
from ..result import ExitStatus
from .document import Document, Entry, State
from .text import MARKS, print_failure, print_output, print_shared_findings
from .wording import counts_of, environment_of, notes_of, number, repeats_of, ulp_of

_WIDE = 140
"""Characters from which the table has room for the rivals' names."""


def print_gate(console: Console, run: Document, *, verbose: bool) -> None:
    """Print the table of all cases that ran, the findings that matter (all with `verbose`), and what was not run."""
    ran = [entry for entry in run.entries if entry.state is not State.SKIPPED]
    if ran:
        console.print(_table(ran, console.width))
    sound = [entry for entry in ran if entry.result.exit_status is ExitStatus.AS_EXPECTED]
    for entry in ran:
        if entry not in sound:
            print_failure(console, entry.title, entry.result)
            if verbose:
                print_output(console, entry.result)
    print_shared_findings(console, [(entry.title, entry.result) for entry in sound], verbose=verbose)
    for entry in run.entries:
        if entry.state is State.SKIPPED:
            console.print(Text(escape_control(f"skipped: {entry.title}: {entry.skipped}"), "yellow"), soft_wrap=True)
        elif verbose and entry.measured.proof:
            console.print(Text(escape_control(f"{entry.title}: {entry.measured.proof}"), "dim"), soft_wrap=True)
    named = "; ".join(f"{name} {value}" for name, value in environment_of(run).items())
    console.print(Text(f"ran on: {named}"), soft_wrap=True)
    for note in notes_of(run):
        console.print(Text(note, "bold"), soft_wrap=True)
    console.print(Text(f"{counts_of(run)}."), soft_wrap=True)


def _table(entries: list[Entry], width: int) -> Table:
    wide = width >= _WIDE
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0) if wide else 0,
        caption="own, rival: distance from the rule it follows (at most 1) and from the nearest other, in bounds; from "
        "CPU: largest distance from the case on the CPU, in units in the last place of the tensor's largest element",
        caption_justify="left",
    )
    table.add_column("case", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("own", "rival", "from\nCPU"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("nearest rival", overflow="fold", max_width=24)
    for heading in ("repeated", "as\nexpected"):
        table.add_column(heading, no_wrap=True)
    for entry in entries:
        separation = entry.result.separation
        rival = [Text(separation.nearest_rival or "-")] if wide else []
        table.add_row(
            Text(escape_control(entry.title)),
            Text(str(entry.result.verdict), "bold"),
            number(entry.ratio),
            number(separation.rival_ratio),
            ulp_of(entry),
            *rival,
            repeats_of(entry),
            MARKS[entry.result.exit_status],
        )
    return table
