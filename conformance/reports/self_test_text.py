"""The self-test as text: found of planted and false alarms of sound per framework, and the rows that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from ..faults.self_test import SelfTest


def print_self_test(console: Console, report: SelfTest) -> None:
    """Print the counts, and a sentence on each row that the tool misjudged."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("framework", "found", "planted", "false alarms", "sound"):
        table.add_column(heading, justify="left" if heading == "framework" else "right")
    for tally in report.tallies:
        table.add_row(
            tally.framework,
            Text(str(tally.found), "green" if tally.found == tally.planted else "bold red"),
            str(tally.planted),
            Text(str(tally.false_alarms), "bold red" if tally.false_alarms else "green"),
            str(tally.sound),
        )
    if report.tallies:
        console.print(table)
    for row in report.misjudged:
        for sentence in row.wrong:
            console.print(Text(sentence), soft_wrap=True)
    for framework in report.skipped_frameworks:
        console.print(Text(f"not run: {framework} is not installed"), soft_wrap=True)
    if not report.rows:
        console.print(Text("nothing ran", "bold red"))
    elif not report.misjudged:
        console.print(Text("every planted fault was found, and no error fired on a sound optimizer", "green"))
