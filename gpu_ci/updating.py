"""Write a run as the new baseline, and print what that changes."""

from __future__ import annotations

from pathlib import Path

import click

from .baseline import read_baseline, write_baseline
from .baseline_change import changes, describe, updated_baseline
from .gate_run import GateRun


def update_baseline(run: GateRun, path: Path) -> None:
    """Make the baseline `path` anew from `run`, and print the difference.

    Raises `BaselineError`, and leaves the file as it is, where it is no baseline or `run` is not fit to be one.
    """
    old = read_baseline(path) if path.exists() else None
    new = updated_baseline(run, old)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_baseline(new, path)
    click.echo(describe(changes(old, new)))
    click.echo(f"written: {path}", err=True)
