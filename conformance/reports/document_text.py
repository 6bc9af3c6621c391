"""A run, read from its JSON document, as the text that the command printed which wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from ..check_report import CheckReport
from ..json_form import revive
from ..result import SCHEMA as AUDIT_SCHEMA
from .document import GATE_SCHEMA, SURVEY_SCHEMA, read_document
from .gate_text import print_gate
from .text import print_audit, print_check


def print_document(console: Console, document: Mapping[str, Any], *, verbose: bool) -> None:
    """Print the run that `document` tells of. Raises `DocumentError` for what is none."""
    run = read_document(document)
    if run.schema == AUDIT_SCHEMA:
        (entry,) = run.entries
        print_audit(console, entry.result, entry.title, verbose=verbose)
    elif run.schema == SURVEY_SCHEMA:
        from ..survey import read_report
        from .survey import print_survey

        print_survey(console, read_report(document))
    elif run.schema == GATE_SCHEMA:
        print_gate(console, run, verbose=verbose)
    else:
        report = CheckReport(
            tuple(entry.result for entry in run.entries),
            tuple(document.get("skipped_frameworks", ())),
            revive(tuple[str, ...], document.get("left_out", [])),
            run.unmatched,
        )
        print_check(console, report, [entry.title for entry in run.entries], verbose=verbose)
