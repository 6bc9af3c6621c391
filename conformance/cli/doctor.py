"""`optconform doctor`: what is installed, what is missing and how to get it, and whether the tool itself works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import FRAMEWORKS, format_option, target_output_aside

if TYPE_CHECKING:
    from rich.console import Console

    from ..faults.self_test import SelfTest


@click.command()
@click.option("--self-test", is_flag=True, help="Run the planted faults and the sound optimizers: minutes.")
@click.option("--framework", type=click.Choice(FRAMEWORKS), help="Look at this one alone.")
@format_option
def doctor(self_test: bool, framework: str | None, output_format: str) -> int:
    """Show frameworks and devices found, and how to install the rest.

    With --self-test, prove that the tool works here: every fault that is planted in the optimizers it ships must be
    found, and no error may fire on its sound ones. Exit status 0 if so, 1 if not, 4 if nothing ran.
    """
    from ..reports.render import write_json, write_text

    wanted = (framework,) if framework else FRAMEWORKS
    if self_test:
        report = _self_test(wanted)
        if output_format == "json":
            write_json(report.to_json(), None)
        else:
            from ..reports.self_test_text import print_self_test

            write_text(lambda console: print_self_test(console, report), None)
        return int(report.exit_status)
    rows = [_examine(name) for name in wanted]
    extras = [] if framework else _extras()
    if output_format == "json":
        document = {"schema": "optconform/doctor/1", "frameworks": rows, "extras": extras, "limits": _limits()}
        write_json(document, None)
    else:
        write_text(lambda console: _print(console, rows, extras), None)
    return 0


def _limits() -> dict[str, Any]:
    """Return what a target may use unless the command says otherwise, and how many can run at once here."""
    from ..workers.limits import Limits, usable_cores

    limits = Limits()
    return {"timeout": limits.timeout, "memory_bytes": limits.bytes_allowed, "cores": usable_cores()}


def _extras() -> list[dict[str, Any]]:
    """Return which extras besides the frameworks are installed; none is imported."""
    from ...adapters.extras import EXTRAS
    from ...adapters.frameworks import missing_imports

    return [
        {
            "extra": extra.name,
            "gives": extra.gives,
            "usable": not missing_imports(extra),
            "remedy": extra.install_command if missing_imports(extra) else None,
        }
        for extra in EXTRAS
    ]


def _self_test(frameworks: tuple[str, ...]) -> SelfTest:
    """Run the collection of those of `frameworks` that are installed, with progress."""
    from ..faults.self_test import SelfTest, collection, judged
    from ..planned import split_by_installed
    from ..reports.progress import Bar

    present, absent = split_by_installed(frameworks)
    rows = collection(present)
    with target_output_aside(), Bar([row.name for row in rows]) as bar:
        return SelfTest(tuple(bar.each(judged(rows))), tuple(absent))


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


def _print(console: Console, rows: list[dict[str, Any]], extras: list[dict[str, Any]]) -> None:
    from rich.text import Text

    from ..reports.layout import Column, Row, print_prose, print_table

    table = [
        Row(
            row["framework"],
            (Text("yes", "green") if row["usable"] else Text("no", "bold red"), ", ".join(row["devices"]) or "-"),
            "; ".join(
                f"{label} {', '.join(values)}"
                for label, values in (
                    ("versions", [f"{package} {version}" for package, version in row["versions"].items()]),
                    ("paths", row["paths"]),
                )
                if values
            ),
        )
        for row in rows
    ]
    print_table(console, "framework", (Column("usable"), Column("devices")), table)
    console.print()
    limits = _limits()
    memory = limits["memory_bytes"]
    allowed = "unlimited, since this system has no limit" if memory is None else f"{memory / 1e9:.1f} GB"
    line = f"limits of a target: time {limits['timeout']:g} s (--timeout), memory {allowed} (--memory)"
    print_prose(console, f"{line}; cores: {limits['cores']}", hang=2)
    for row in rows:
        if row["remedy"]:
            print_prose(console, f"{row['framework']}: {row['remedy']}", hang=2)
    for extra in extras:
        if extra["remedy"]:
            print_prose(console, f"{extra['extra']} ({extra['gives']}): {extra['remedy']}", hang=2)
