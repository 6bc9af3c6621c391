"""The pytest plugin: its options, which checks are run, and where what they found goes.

Every pytest session of an environment that has this package loads this file, so it imports nothing else of weight:
no NumPy, no framework, and nothing that draws tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from .session import Settings, close, current, opened

if TYPE_CHECKING:
    from .checks import OptimizerCheck

PROPERTY = "optconform"
"""The user property of a report that holds, as JSON, what a check told: it passes through pytest-xdist and JUnit."""
_CHECKS = f"{__package__}.checks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("optconform", "optimizer conformance (optconform)")
    group.addoption(
        "--optconform-select",
        action="append",
        default=[],
        metavar="CHECK|CODE",
        help="run only this check of optimizers, or those that may find this code (repeatable, or separated by commas)",
    )
    group.addoption(
        "--optconform-device",
        default="cpu",
        metavar="DEVICE",
        help="audit on this device, such as cuda:0, where an optimizer names none (default: cpu)",
    )
    group.addoption(
        "--optconform-trace",
        action="append",
        default=[],
        metavar="NAME|PATH",
        help="replay this trace instead of the default ones, where an optimizer names none (repeatable)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Leave the options where the checks find them, until the session ends."""
    words = [word.strip() for text in config.getoption("optconform_select") for word in text.split(",")]
    settings = Settings(
        tuple(word for word in words if word),
        config.getoption("optconform_device"),
        tuple(config.getoption("optconform_trace")),
    )
    session = opened(settings)
    config.add_cleanup(lambda: close(session))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the checks that `--optconform-select` does not name."""
    words = current().settings.select
    module = sys.modules.get(_CHECKS)
    if not words or module is None:
        return
    try:
        chosen = {check.id for check in module.selected(words)}
    except ValueError as error:
        raise pytest.UsageError(f"--optconform-select: {error}") from error
    checks = [(item, _check_of(item)) for item in items]
    dropped = [item for item, check in checks if check is not None and check.id not in chosen]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item, check in checks if check is None or check.id in chosen]


def _check_of(item: pytest.Item) -> OptimizerCheck | None:
    """Return the check with which `item` was parametrized; None for any other test."""
    module = sys.modules.get(_CHECKS)
    callspec = getattr(item, "callspec", None)
    if module is None or callspec is None:
        return None
    return next((value for value in callspec.params.values() if isinstance(value, module.OptimizerCheck)), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Keep what the check of this item told with its report."""
    session = current()
    session.take()
    try:
        return (yield)
    finally:
        told = session.take()
        if told is not None and _check_of(item) is not None:
            item.user_properties.append((PROPERTY, json.dumps(told)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write how many checks ran and how they ended, the findings by code, and the commands that run them again."""
    told = [
        json.loads(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if told:
        from .summary import lines  # a session without optimizers does not need it

        terminalreporter.section("optconform")
        for line in lines(told):
            terminalreporter.write_line(line)
