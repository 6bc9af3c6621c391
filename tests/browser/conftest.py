"""Reports of real audits in a headless Chromium that tells of every error and every request."""

import os
import shutil
from dataclasses import dataclass, field
from typing import Any

import pytest

from optconform import audit
from optconform.adapters.numpy_optimizers import SGDW, AdamW
from optconform.conformance.check_report import CheckReport
from optconform.conformance.reports.document import read_document

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
TRACES = ("digits_mlp",)


class CoupledAdam(AdamW):
    """Adam with L2 regularisation."""

    def step(self, params, grads, lr):
        decay, self.weight_decay = self.weight_decay, 0.0
        try:
            coupled = {name: None if grad is None else grad + decay * params[name] for name, grad in grads.items()}
            return super().step(params, coupled, lr)
        finally:
            self.weight_decay = decay


class Broken(AdamW):
    """Cannot be built."""

    def __init__(self, weight_decay=0.01):
        raise ValueError("no such luck")


@dataclass
class Guard:
    """What a page has said and asked for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    @property
    def fetched(self) -> list[str]:
        """Requests that need more than the file."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


@pytest.fixture(scope="session")
def chromium():
    """A running Chromium. Where there is none it fails and does not skip: playwright is installed to see this."""
    from playwright.sync_api import sync_playwright

    named = os.environ.get("OPTCONFORM_BROWSER")
    found = named or next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if found is None:
        pytest.fail(
            f"no browser: none of {', '.join(EXECUTABLES)} is on PATH; install one, or name it in OPTCONFORM_BROWSER"
        )
    with sync_playwright() as playwright:
        # Chromium's sandbox needs privileges that containers do not have; the pages are the project's own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path):
    """Return a function that opens HTML from a file, with whatever the context takes; errors and requests fail."""
    guards, contexts = [], []

    def open_(html, fragment="", *, guarded=True, **options):
        file = tmp_path / f"report-{len(contexts)}.html"
        file.write_text(html, "utf-8")
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.guard = Guard()
        page.guard.watch(page)
        if guarded:
            guards.append(page.guard)
        page.goto(file.as_uri() + fragment)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [guard.errors for guard in guards] == [[] for _ in guards]
    assert [guard.fetched for guard in guards] == [[] for _ in guards]


@pytest.fixture
def drawn():
    """Return a function that brings pictures into sight, which is when they are drawn, and waits for each."""

    def draw(pictures):
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            picture.locator(".main-svg").first.wait_for()

    return draw


@pytest.fixture(scope="session")
def results():
    """AdamW and SGDW as they should be, Adam with L2 where decoupled is expected, and what cannot be built."""
    return tuple(audit(target, framework="numpy", traces=TRACES) for target in (AdamW, SGDW, CoupledAdam, Broken))


@pytest.fixture(scope="session")
def document(results):
    """The JSON document of a run with these results."""
    return CheckReport(results, ("torch",)).to_json()


@pytest.fixture(scope="session")
def html_of_document():
    """Return a function that makes HTML of a JSON document."""
    html = pytest.importorskip("optconform.conformance.reports.html")

    return lambda document: html.html_of(read_document(document))


@pytest.fixture(scope="session")
def report(document, html_of_document):
    """The report of that run."""
    return html_of_document(document)
