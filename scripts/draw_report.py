"""Draw the HTML report: `python scripts/draw_report.py [FOLDER]`, docs/figures by default, in a headless Chromium.

The report is of real audits: optimizers of every framework that is installed, some of them with L2 where decoupled
decay is expected. Needs the extra `report`, playwright, and a Chromium (on PATH, or named by OPTCONFORM_BROWSER). The
font is the system's; the pictures in the documentation were taken with Inter installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from optconform.adapters.frameworks import installed_frameworks
from optconform.conformance.reports.document import read_document
from optconform.conformance.reports.html import html_of

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
TARGETS = {
    "numpy": ("optconform.adapters.numpy_optimizers:AdamW", "optconform.adapters.numpy_optimizers:SGDW"),
    "torch": ("torch.optim:AdamW", "torch.optim:Adam", "torch.optim:SGD", "torch.optim:RMSprop"),
    "tensorflow": ("keras.optimizers:AdamW", "keras.optimizers:SGD", "keras.optimizers:Lion"),
    "jax": ("optax:adamw", "optax:lion", "optax:lamb", "optax:adafactor"),
}
"""Framework -> what is audited of it."""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 1000}


def main() -> None:
    """Write all pictures into the folder given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FIGURES)
    parser.add_argument("--framework", action="append", choices=TARGETS, help="instead of all that are installed")
    given = parser.parse_args()
    folder: Path = given.folder
    executable = os.environ.get("OPTCONFORM_BROWSER") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if executable is None:
        sys.exit(f"no browser: none of {', '.join(CHROMIUMS)} is on PATH; name one in OPTCONFORM_BROWSER")
    document = run(given.framework or installed_frameworks())
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        file = Path(place) / "report.html"
        file.write_text(html_of(read_document(document)), "utf-8")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, scheme, size, scale in (
            ("light", "light", WIDE, 1),
            ("dark", "dark", WIDE, 1),
            ("phone", "light", PHONE, 2),
        ):
            page = opened(browser, file, color_scheme=scheme, viewport=size, device_scale_factor=scale)
            page.screenshot(path=folder / f"report-{name}.png")
        for verdict in ("decoupled", "l2"):
            number = number_of(document, verdict)
            if number is None:
                print(f"no picture of {verdict}: no such result in this run", file=sys.stderr)
                continue
            section_picture(opened(browser, file, viewport=WIDE), number, folder / f"report-{verdict}.png")
        browser.close()


def run(frameworks: Sequence[str]) -> dict[str, Any]:
    """Return the JSON document of `optconform check` over the targets of `frameworks`."""
    targets = [target for framework in frameworks for target in TARGETS.get(framework, ())]
    # In a folder of its own, where no configuration is found.
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "optconform", "check", *targets, "--format", "json"]
        done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def number_of(document: dict[str, Any], verdict: str) -> int | None:
    """Return the number of the first section with that verdict and something to draw; None where there is none."""
    entries = enumerate(read_document(document).worst_first, start=1)
    drawn = (number for number, each in entries if each.result.verdict == verdict and each.result.series.displacements)
    return next(drawn, None)


def opened(browser: Browser, file: Path, **options: Any) -> Page:
    """Return the report in a window of its own."""
    page = browser.new_context(**options).new_page()
    page.goto(file.as_uri())
    return page


def section_picture(page: Page, number: int, path: Path) -> None:
    """Write a picture of a section from its heading to the end of its decoupling plots."""
    page.evaluate(f"location.hash = 'target-{number}'")
    section = page.locator(f"#target-{number}")
    for plot in section.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
    page.set_viewport_size({"width": WIDE["width"], "height": 2400})
    page.locator("body").click(position={"x": 3, "y": 3})
    top, last = section.bounding_box(), section.locator(".panels").first.bounding_box()
    if top is None or last is None:
        raise RuntimeError(f"section {number} of the report is not drawn")
    height = last["y"] + last["height"] - top["y"]
    clip = {"x": top["x"] - 12, "y": top["y"] - 12, "width": top["width"] + 24, "height": height + 24}
    page.screenshot(path=path, clip=clip)


if __name__ == "__main__":
    main()
