"""Write a run in any of the formats, to standard output or to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .output import emit

if TYPE_CHECKING:
    from rich.console import Console


def write_json(document: Mapping[str, Any], output: str | None) -> None:
    """Write one JSON document and nothing more."""
    emit(json.dumps(document, indent=2, allow_nan=False), output)


def write_text(draw: Callable[[Console], None], output: str | None) -> None:
    """Let `draw` print to the terminal, or to a file without colour."""
    from .console import recorded, show

    if output is None:
        show(draw)
    else:
        emit(recorded(draw), output)


def require_format(output_format: str) -> None:
    """Raise `MissingExtra` where `output_format` needs packages that are not installed: before minutes of work."""
    if output_format == "html":
        from .html import require_packages

        require_packages()


def write_document(
    document: Mapping[str, Any], output_format: str, output: str | None, *, verbose: bool = False
) -> None:
    """Write the JSON document of a run in `output_format`, a key of `FORMATS`, to the file `output` or to the terminal.

    `verbose` adds to text alone. Raises `DocumentError` for a document that no run has written, `MissingExtra` where
    the format needs packages that are not installed, and `OutputError` where the file cannot be written.
    """
    FORMATS[output_format](document, output, verbose)


def _json(document: Mapping[str, Any], output: str | None, verbose: bool) -> None:
    write_json(document, output)


def _text(document: Mapping[str, Any], output: str | None, verbose: bool) -> None:
    from .document_text import print_document

    write_text(lambda console: print_document(console, document, verbose=verbose), output)


def _junit(document: Mapping[str, Any], output: str | None, verbose: bool) -> None:
    from .document import read_document
    from .junit import junit_of

    emit(junit_of(read_document(document)), output, declared="utf-8")


def _markdown(document: Mapping[str, Any], output: str | None, verbose: bool) -> None:
    from .document import SURVEY_SCHEMA, read_document

    run = read_document(document)
    if run.schema == SURVEY_SCHEMA:
        from ..survey import read_report
        from .survey import markdown_of

        emit(markdown_of(read_report(document)), output)
    else:
        from .markdown import summary_markdown

        emit(summary_markdown(run), output)


def _annotations(document: Mapping[str, Any], output: str | None, verbose: bool) -> None:
    from .annotations import annotations_of
    from .document import read_document

    emit(annotations_of(read_document(document)), output)


def _html(document: Mapping[str, Any], output: str | None, verbose: bool) -> None:
    from .document import read_document
    from .html import html_of

    emit(html_of(read_document(document)), output, declared="utf-8")


FORMATS: Mapping[str, Callable[[Mapping[str, Any], str | None, bool], None]] = {
    "text": _text,
    "json": _json,
    "junit": _junit,
    "markdown": _markdown,
    "html": _html,
    "annotations": _annotations,
}
"""Format -> what writes a document in it; what it needs is imported when it is used."""
