"""The self-test as text: found of planted and false alarms of sound per framework, and the rows that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .layout import Column, Row, print_prose, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from ..faults.self_test import SelfTest


def print_self_test(console: Console, report: SelfTest) -> None:
    """Print the counts, and a sentence on each row that the tool misjudged."""
    rows = [
        Row(
            tally.framework,
            (
                Text(str(tally.found), "green" if tally.found == tally.planted else "bold red"),
                str(tally.planted),
                Text(str(tally.false_alarms), "bold red" if tally.false_alarms else "green"),
                str(tally.sound),
            ),
        )
        for tally in report.tallies
    ]
    if rows:
        headings = ("found", "planted", "false alarms", "sound")
        print_table(console, "framework", [Column(heading, right=True) for heading in headings], rows)
    for row in report.misjudged:
        for sentence in row.wrong:
            print_prose(console, sentence, hang=2)
    for framework in report.skipped_frameworks:
        print_prose(console, f"not run: {framework} is not installed")
    if not report.rows:
        console.print(Text("nothing ran", "bold red"))
    elif not report.misjudged:
        console.print(Text("every planted fault was found, and no error fired on a sound optimizer", "green"))
