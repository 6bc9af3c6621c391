"""`optconform doctor`: what is installed, which devices are there, what is missing and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import FRAMEWORKS, format_option

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@format_option
def doctor(output_format: str) -> None:
    """Show frameworks, versions and devices found, what is missing, and the command that installs it."""
    from ..reports.render import write_json, write_text

    rows = [_examine(name) for name in FRAMEWORKS]
    if output_format == "json":
        write_json({"schema": "optconform/doctor/1", "frameworks": rows}, None)
    else:
        write_text(lambda console: _print(console, rows), None)


def _examine(name: str) -> dict[str, Any]:
    """Return what is known of one framework; importing it is part of the examination."""
    from ...adapters.errors import MissingFramework
    from ...adapters.frameworks import load_adapter

    try:
        adapter = load_adapter(name)
        return {
            "framework": name,
            "usable": True,
            "versions": adapter.versions(),
            "devices": list(adapter.devices()),
            "paths": list(adapter.paths),
            "remedy": None,
        }
    except MissingFramework as error:
        return {"framework": name, "usable": False, "versions": {}, "devices": [], "paths": [], "remedy": str(error)}


def _print(console: Console, rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("framework", "usable", "versions", "devices", "paths"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            row["framework"],
            Text("yes", "green") if row["usable"] else Text("no", "bold red"),
            ", ".join(f"{package} {version}" for package, version in row["versions"].items()) or "-",
            ", ".join(row["devices"]) or "-",
            ", ".join(row["paths"]) or "-",
        )
    console.print(table)
    for row in rows:
        if row["remedy"]:
            console.print(Text(f"{row['framework']}: {row['remedy']}"), soft_wrap=True)
