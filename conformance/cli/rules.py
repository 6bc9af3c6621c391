"""`optconform rules` and `optconform explain`: the rule table."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING

import click

from .options import format_option

if TYPE_CHECKING:
    from rich.console import Console

    from ..code_row import Code


@click.command()
@format_option
def rules(output_format: str) -> None:
    """List every rule: code, name, severity and when it fires."""
    from ..codes import CODES
    from ..reports.render import write_json, write_text

    if output_format == "json":
        rows = [dataclasses.asdict(row) for row in CODES.values()]
        write_json({"schema": "optconform/rules/1", "rules": rows}, None)
    else:
        write_text(_print_rules, None)


@click.command()
@click.argument("code")
@format_option
def explain(code: str, output_format: str) -> None:
    """Explain CODE: when it fires, why it matters, and what to do."""
    from ..codes import CODES
    from ..reports.render import write_json, write_text

    row = CODES.get(code.upper()) or next((each for each in CODES.values() if each.name == code), None)
    if row is None:
        close = difflib.get_close_matches(code.upper(), CODES, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise click.UsageError(f"unknown code {code!r}.{hint} `optconform rules` lists all.")
    if output_format == "json":
        write_json({"schema": "optconform/rule/1", **dataclasses.asdict(row)}, None)
    else:
        write_text(lambda console: _print_code(console, row), None)


def _print_rules(console: Console) -> None:
    from ..codes import CODES
    from ..reports.layout import print_list

    rows = [(row.code, row.name, str(row.severity), row.fires_when) for row in CODES.values()]
    print_list(console, ("code", "name", "severity", "fires when"), rows)


def _print_code(console: Console, row: Code) -> None:
    from ..reports.layout import print_prose

    console.print(f"{row.code} {row.name} ({row.severity})", style="bold")
    for label, text in (
        ("Fires when", row.fires_when),
        ("Why it matters", row.why),
        ("Example", row.example),
        ("What to do", row.remedy),
    ):
        console.print()
        print_prose(console, f"{label}:", style="bold")
        print_prose(console, text, indent=2)
