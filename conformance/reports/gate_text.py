"""A run of the gate as text: a line for each case, what is wrong with it, and what was and was not compared."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from .document import Document, Entry, State
from .findings_text import MARKS, print_failures, print_shared_findings
from .layout import Column, Row, print_prose, print_table
from .wording import counts_of, environment_of, notes_of, number, repeats_of, ulp_of

_CAPTION = (
    "own, rival: distance from the rule it follows (at most 1) and from the nearest other, in bounds; from CPU: "
    "largest distance from the case on the CPU, in units in the last place of the tensor's largest element"
)


def print_gate(console: Console, run: Document, *, verbose: bool) -> None:
    """Print the table of all cases that ran, the findings that matter (all with `verbose`), and what was not run."""
    ran = [entry for entry in run.entries if entry.state is not State.SKIPPED]
    if ran:
        _print_overview(console, ran)
    pairs = [(entry.title, entry.result) for entry in ran]
    print_failures(console, pairs, verbose=verbose)
    print_shared_findings(console, pairs, verbose=verbose)
    console.print()
    for entry in run.entries:
        if entry.state is State.SKIPPED:
            print_prose(console, f"skipped: {entry.title}: {entry.skipped}", style="yellow", hang=2)
        elif verbose and entry.measured.proof:
            print_prose(console, f"{entry.title}: {entry.measured.proof}", style="dim", hang=2)
    named = "; ".join(f"{name} {value}" for name, value in environment_of(run).items())
    print_prose(console, f"ran on: {named}", hang=2)
    for note in notes_of(run):
        print_prose(console, note, style="bold", hang=2)
    print_prose(console, f"{counts_of(run)}.")


def _print_overview(console: Console, entries: list[Entry]) -> None:
    columns = (
        Column("verdict"),
        *(Column(heading, right=True) for heading in ("own", "rival", "from CPU")),
        *(Column(heading) for heading in ("repeated", "expected")),
        Column("nearest rival", extra=True),
    )
    rows = [
        Row(
            entry.title,
            (
                Text(str(entry.result.verdict), "bold"),
                number(entry.ratio),
                number(entry.result.separation.rival_ratio),
                ulp_of(entry),
                repeats_of(entry),
                MARKS[entry.result.exit_status],
                entry.result.separation.nearest_rival or "-",
            ),
        )
        for entry in entries
    ]
    print_table(console, "case", columns, rows)
    console.print()
    print_prose(console, _CAPTION, style="dim")
