"""Runs of the gate, one after another, on a machine that is busy: how many raise an alarm although nothing is wrong.

The first run makes the baseline; every other one is held against it as strictly as the gate can. Each is a whole
`optconform gate`, in processes of its own. Prints one JSON document. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

SCHEMA = "optconform/benchmark/gate-repeated/1"
_BUSY = 1 << 22


def main() -> int:
    """Run it and print the document; the exit status is 1 where there was an alarm."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--case", action="append", default=[], metavar="GLOB", help="as for `optconform gate`")
    parser.add_argument("--framework", action="append", default=[], help="as for `optconform gate`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--busy", type=int, default=2 * (os.cpu_count() or 1), help="processes that compute beside it")
    given = parser.parse_args()
    chosen = [word for name in ("case", "framework") for value in getattr(given, name) for word in (f"--{name}", value)]
    with tempfile.TemporaryDirectory() as folder, busy(given.busy):
        baseline = str(Path(folder) / "baseline.json")
        command = ["--device", given.device, "--baseline", baseline, *chosen]
        started = time.perf_counter()
        run([*command, "--update-baseline"])
        documents = [run([*command, "--strict"]) for _ in range(given.runs)]
        seconds = time.perf_counter() - started
    statuses = Counter(document["exit_status"] for document in documents)
    findings = Counter(
        finding["rule"] for document in documents for each in document["results"] for finding in each["findings"]
    )
    print(
        json.dumps(
            {
                "schema": SCHEMA,
                "device": documents[0]["place"],
                "versions": {k: v for each in documents[0]["results"] for k, v in each["versions"].items()},
                "busy_processes": given.busy,
                "runs": given.runs,
                "cases": [each["case"] for each in documents[0]["results"]],
                "cases_run": sum(document["counts"]["ran"] for document in documents),
                "alarms": given.runs - statuses[0],
                "exit_statuses": {str(status): count for status, count in sorted(statuses.items())},
                "findings": dict(findings),
                "seconds": round(seconds, 1),
            },
            indent=2,
        )
    )
    return int(bool(given.runs - statuses[0]))


def run(arguments: Sequence[str]) -> dict[str, object]:
    """Run the gate once and return its document; nothing of one that only writes a baseline."""
    done = subprocess.run(
        [sys.executable, "-m", "optconform", "gate", *arguments, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "--update-baseline" in arguments:
        if done.returncode:
            raise SystemExit(f"the baseline could not be made: {done.stderr}")
        return {}
    try:
        document: dict[str, object] = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"a run ended with {done.returncode} and no document: {done.stderr}") from None
    return document


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes computing, and moving memory, inside the block."""
    workers = [multiprocessing.Process(target=compute, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()


def compute() -> None:
    """Compute until the process is ended."""
    values = np.random.default_rng(0).standard_normal(_BUSY)
    while True:
        values = np.sqrt(values * values + 1.0)[::-1].copy()


if __name__ == "__main__":
    sys.exit(main())
