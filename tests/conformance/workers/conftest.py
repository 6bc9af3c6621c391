"""Hostile targets, run in workers, and the processes that they have written down."""

import shutil
import time
from pathlib import Path

import pytest

from optconform.conformance.expectation import parse_expectation
from optconform.conformance.planned import PlannedAudit
from optconform.conformance.workers.pool import run_isolated

TRACE = ("synthetic:small",)
PATIENCE = 30.0
"""Seconds after which what should have happened has not."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of `hostile.py`, and of what its targets leave."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(Path(__file__).with_name("hostile.py"), folder)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """Audit hostile classes by name, or other targets, in workers; return the results in the order of the names."""

    def isolated(*names, expect="decoupled", options=None, traces=TRACE, **arguments):
        expected = parse_expectation(expect)
        specs = [name if ":" in name else f"{folder / 'hostile.py'}:{name}" for name in names]
        plan = [PlannedAudit(spec, expected, options or {}, framework="numpy") for spec in specs]
        results = dict(run_isolated(plan, traces, **arguments))
        return [results[index] for index in range(len(plan))]

    return isolated


@pytest.fixture
def pids(folder):
    """Return a function that waits until targets have written down so many processes, and returns these."""
    file = folder / "pids"
    file.unlink(missing_ok=True)

    def written(least):
        deadline = time.monotonic() + PATIENCE
        while len(found := [int(line) for line in (file.read_text().split() if file.exists() else ())]) < least:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    return written


@pytest.fixture(scope="session")
def alive():
    """Return a function that returns which of some processes still run."""

    def running(pids):
        found = []
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            except OSError:
                continue
            found += [pid] if state not in "ZX" else []
        return found

    return running
