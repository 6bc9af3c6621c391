"""What a run of the gate leaves behind: files for the next steps of a workflow, and what its runner shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..adapters.errors import MissingExtra
from ..conformance.reports.annotations import annotations_of
from ..conformance.reports.document import read_document
from ..conformance.reports.markdown import summary_markdown
from ..conformance.reports.output import OutputError
from ..conformance.reports.render import write_document

FILES: Mapping[str, str] = {
    "gate.json": "json",
    "junit.xml": "junit",
    "summary.md": "markdown",
    "report.html": "html",
}
"""Name of a file in the folder of `--output` -> its format. The first is what the others can be made from again."""


def leave_files(document: Mapping[str, Any], folder: str) -> None:
    """Write the run into `folder`, which is made where it is missing, in every format whose packages are installed.

    What cannot be made here is said on standard error, with the command that makes it elsewhere. Raises `OutputError`.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"--output {folder!r} cannot be made a folder ({error.strerror}); name another one"
        ) from error
    for name, output_format in FILES.items():
        try:
            write_document(document, output_format, str(place / name))
        except MissingExtra:
            again = f"optconform report {place / 'gate.json'} --format {output_format} --output {place / name}"
            click.echo(
                f"{name} was not written: what it is made with is not installed (pip install 'optconform[report]'). "
                f"Where it is: {again}",
                err=True,
            )


def tell_ci(document: Mapping[str, Any]) -> None:
    """Tell a GitHub runner, where this is one: annotations on standard error, and the summary of its step."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(annotations_of(read_document(document)), err=True, nl=False)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(summary_markdown(read_document(document)))
