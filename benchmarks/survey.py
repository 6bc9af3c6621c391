"""How long a survey takes, and the table of the documentation: one JSON document.

Takes a survey of the libraries named into a cache of its own, so that every optimizer is audited, and prints the
seconds, the verdicts, and how many optimizers have a verdict that says nothing and no reason for it. With `--data` the
parts of the results that the table is made of are written to a file, from which `--page` makes the table; `--read`
takes them from such a file and audits nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from optconform.conformance.reports.survey import markdown_of
from optconform.conformance.survey import read_report
from optconform.conformance.workers.exporting import exports_of

SCHEMA = "optconform/benchmark/survey/1"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
"""What stands between these two lines of a page is made here."""
SECONDS_ALLOWED, OPTIMIZERS = 180.0, 200
"""The requirement: so many optimizers in so many seconds on two cores, after the imports."""
SHARE_ALLOWED = 0.1
"""Largest share of optimizers of which nothing is known, and not why."""
_SAYING_NOTHING = ("other", "inconclusive", "error")
_SHOWN = {
    "decay": ("law", "factor", "lr_exponent", "wd_exponent", "applied_to", "form"),
    "match": ("rule", "epsilon"),
}
"""Parts of a result, and what of them the table shows."""


def take(libraries: list[str], jobs: int, more: list[str]) -> tuple[dict[str, Any], float]:
    """Return the document of a new survey and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "survey.json"
        command = [sys.executable, "-m", "optconform", "survey", *libraries, "--jobs", str(jobs), *more]
        command += ["--cache", str(Path(folder) / "cache"), "--format", "json", "--output", str(output)]
        start = time.perf_counter()
        status = subprocess.run(command, check=False).returncode
        seconds = time.perf_counter() - start
        if not output.exists():
            raise SystemExit(f"the survey ended with status {status} and without a result")
        return json.loads(output.read_text(encoding="utf-8")), seconds


def compact(document: dict[str, Any]) -> dict[str, Any]:
    """Return the survey with only as much of each result as the table shows."""
    results = []
    for result in document["results"]:
        kept = {name: result[name] for name in ("target", "dtype", "verdict", "reason")}
        kept |= {part: {name: result[part][name] for name in names} for part, names in _SHOWN.items()}
        kept["findings"] = [
            {name: finding[name] for name in ("rule", "severity", "message")} for finding in result["findings"]
        ]
        results.append(kept)
    return document | {"results": results}


def written(document: dict[str, Any]) -> str:
    """Return the survey as JSON with one line for each result, so that a difference between two can be read."""
    head = json.dumps({name: value for name, value in document.items() if name != "results"}, indent=1)
    results = ",\n".join(json.dumps(result, ensure_ascii=False) for result in document["results"])
    return f'{head[:-2]},\n "results": [\n{results}\n]\n}}\n'


def renewed(page: str, document: dict[str, Any]) -> str:
    """Return `page` with its tables made anew. Raises `ValueError` where the two marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page must hold the lines {BEGIN!r} and {END!r}, in this order; put them in")
    return f"{before}{begin}\n\n{markdown_of(read_report(document), '###')}\n{end}{after}"


def measured(document: dict[str, Any], seconds: float, importing: float, jobs: int) -> dict[str, Any]:
    """Return what the survey took, held against the requirement."""
    results = document["results"]
    unexplained = [
        result["target"] for result in results if result["verdict"] in _SAYING_NOTHING and not result["reason"]
    ]
    auditing = seconds - importing
    return {
        "schema": SCHEMA,
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "load_average": [round(each, 2) for each in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        },
        "jobs": jobs,
        "optimizers": len(results),
        "verdicts": dict(Counter(result["verdict"] for result in results).most_common()),
        "unexplained": unexplained,
        "seconds": {
            "all": round(seconds, 1),
            "importing": round(importing, 1),
            "auditing": round(auditing, 1),
            "summed_over_optimizers": round(sum(result["seconds"] for result in results), 1),
            "slowest": {
                result["target"]: round(result["seconds"], 1)
                for result in sorted(results, key=lambda result: -result["seconds"])[:5]
            },
        },
        "requirement": {
            "optimizers": OPTIMIZERS,
            "seconds": SECONDS_ALLOWED,
            "unexplained_share": SHARE_ALLOWED,
            "met": len(results) >= OPTIMIZERS
            and auditing <= SECONDS_ALLOWED
            and len(unexplained) <= SHARE_ALLOWED * len(results),
        },
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help="modules such as torch.optim")
    parser.add_argument("--jobs", type=int, default=2, help="optimizers audited at once")
    parser.add_argument("--metamorphic", action="store_true", help="compare ways of using them too")
    parser.add_argument("--data", type=Path, metavar="FILE", help="write there what the table is made of")
    parser.add_argument("--read", type=Path, metavar="FILE", help="take it from this file instead")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the table of this page")
    asked = parser.parse_args(arguments)
    if bool(asked.libraries) == (asked.read is not None):
        parser.error("name libraries to survey, or a file to --read")
    if asked.read is not None:
        document = json.loads(asked.read.read_text(encoding="utf-8"))
    else:
        start = time.perf_counter()
        for library in asked.libraries:
            exports_of(library)
        importing = time.perf_counter() - start
        document, seconds = take(asked.libraries, asked.jobs, ["--metamorphic"] if asked.metamorphic else [])
        print(json.dumps(measured(document, seconds, importing, asked.jobs), indent=2))
        document = compact(document)
    if asked.data is not None:
        asked.data.write_text(written(document), encoding="utf-8")
    if asked.page is not None:
        asked.page.write_text(renewed(asked.page.read_text(encoding="utf-8"), document), encoding="utf-8")


if __name__ == "__main__":
    main()
