"""`optconform report`: the results of an earlier run, in another format."""

from __future__ import annotations

import click

from .options import RUN_FORMATS, output_options


@click.command()
@click.argument("result", metavar="RESULT.json", type=click.Path(dir_okay=False, allow_dash=True))
@output_options(*RUN_FORMATS, "annotations")
def report(result: str, output_format: str, output: str | None, verbose: bool) -> int:
    """Show the results that --format json wrote to RESULT.json.

    They are those of check, audit, survey or gate; `-` reads standard input. junit is for a CI server, markdown for
    GitHub's step summary, annotations are GitHub's workflow commands, and html is one file that opens without a
    network. Nothing runs again, and the results do not decide the exit status: it is 0 once the report is written, and
    2 where the file holds no results.
    """
    from ..reports.reading import read_json
    from ..reports.render import write_document

    write_document(read_json(result), output_format, output, verbose=verbose)
    return 0
