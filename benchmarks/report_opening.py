"""How large the HTML report of many targets is, and how soon it answers in a browser: one JSON document.

Needs the extra `report`, playwright, and a Chromium. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from optconform import audit
from optconform.conformance.check_report import CheckReport
from optconform.conformance.reports.document import read_document
from optconform.conformance.reports.html import html_of

TARGETS = tuple(f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES, MOST_SECONDS = 10_000_000, 2.0
"""What 300 targets may take."""

# Interactive: the first click on a heading has been answered, and its answer painted.
CLICK = """() => new Promise((done) => {
  document.querySelector("#matrix thead button").click();
  requestAnimationFrame(() => requestAnimationFrame(() => done(document.querySelector("[aria-sort]") !== null)));
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=7, help="times that it is opened; one more warms up")
    parser.add_argument("--browser", default=os.environ.get("OPTCONFORM_BROWSER"), help="executable of a Chromium")
    given = parser.parse_args()
    executable = given.browser or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if executable is None:
        parser.error(f"no browser: none of {', '.join(CHROMIUMS)} is on PATH; name one with --browser")
    start = time.perf_counter()
    page = html_of(read_document(run_of(given.targets)))
    made = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(page, "utf-8")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        rounds = [opened(browser, file) for _ in range(given.repeats + 1)][1:]
        version = browser.version
        browser.close()
    seconds = {name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}
    size = len(page.encode())
    document = {
        "schema": "optconform/benchmark/report-opening/1",
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "chromium": version,
        },
        "targets": given.targets,
        "repeats": given.repeats,
        "bytes": size,
        "seconds_to_write": round(made, 3),
        "seconds": seconds,
        "requirement": {
            "at_most_bytes": MOST_BYTES,
            "interactive_at_most_seconds": MOST_SECONDS,
            "met": size <= MOST_BYTES and seconds["interactive"] <= MOST_SECONDS,
        },
    }
    print(json.dumps(document, indent=2))


def run_of(count: int) -> dict[str, Any]:
    """Return the document of a run with `count` results: real audits of two optimizers, repeated under other names."""
    found = [audit(target) for target in TARGETS]
    results = (replace(found[number % len(found)], title=f"library_{number}:Optimizer") for number in range(count))
    return CheckReport(tuple(results)).to_json()


def opened(browser: Browser, file: Path) -> dict[str, float]:
    """Return the seconds from the request of the page to its load, its first answer, and its first picture."""
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(file.as_uri(), wait_until="load")
    loaded = time.perf_counter()
    if not page.evaluate(CLICK):
        raise RuntimeError("the click on a heading was not answered: no column is sorted")
    interactive = time.perf_counter()
    page.evaluate("location.hash = 'target-1'")
    page.locator("#target-1 .evidence .scatterlayer .point").first.wait_for()
    drawn = time.perf_counter()
    page.close()
    return {"load": loaded - start, "interactive": interactive - start, "first_picture": drawn - interactive}


if __name__ == "__main__":
    main()
