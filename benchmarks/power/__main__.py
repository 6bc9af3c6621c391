"""By what factor is the wrong rule rejected? Every kind of weight decay, held against every rule of the reference.

Emulates optimizers with every kind of decay in every working precision, follows each with every rule and its
rounding-error bound, and records after 10, 100, 1,000 and 10,000 steps how far outside its bound each wrong rule
was left at most. Prints one JSON document. Exit status 1 if a truth left the bound of its own rule, or if float32 at
probe values leaves a pair undecided from 100 steps on that is no identity; 3 if that could not be judged.
"""

from __future__ import annotations

import os

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
for variable in THREAD_VARIABLES:  # read once, when NumPy is loaded; the runs share the cores among themselves
    os.environ[variable] = "1"

import argparse  # noqa: E402
import importlib.metadata  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from power_page import renewed  # noqa: E402
from power_run import DTYPES, FAMILIES, HORIZON, SETTINGS, Run, follow  # noqa: E402
from power_verdict import BELOW_ROUNDING, outside, rounded, undecided  # noqa: E402

SCHEMA = "optconform/benchmark/power/1"
JUDGED = {"dtype": "float32", "setting": "probe"}
"""Runs in which every pair must be told apart but the identities ..."""
JUDGED_FROM = 100
"""... from this step on."""


def measured(run: Run) -> dict[str, Any]:
    """Take one run to its end; return its part of the document."""
    started, checkpoints = time.monotonic(), []
    rules = list(run.rules)
    with np.errstate(all="ignore"):  # a growing weight overflows in the end; what is not finite is not compared
        for steps, matrix in follow(run):
            checkpoints.append(
                {
                    "steps": steps,
                    "factors": {
                        kind.name: dict(zip(rules, map(rounded, row), strict=True))
                        for kind, row in zip(run.kinds, matrix.factor, strict=True)
                    },
                    "undecided": undecided(run, matrix),
                    "outside": outside(run, matrix),
                }
            )
    return {
        "family": run.family,
        "dtype": run.dtype,
        "setting": run.setting,
        "mode": run.mode.value,
        "hyperparameters": {name: str(v) if isinstance(v, str) else v for name, v in run.hyperparameters.items()},
        "own": {kind.name: kind.rule for kind in run.kinds},
        "checkpoints": checkpoints,
        "seconds": round(time.monotonic() - started, 1),
    }


def requirement(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Judge what was measured: no truth outside its own bound, and nothing undecided where nothing may be."""
    left = [
        {**{key: run[key] for key in ("family", "dtype", "setting")}, "steps": checkpoint["steps"], **found}
        for run in runs
        for checkpoint in run["checkpoints"]
        for found in checkpoint["outside"]
    ]
    judged = [
        (run["family"], checkpoint)
        for run in runs
        for checkpoint in run["checkpoints"]
        if all(run[key] == value for key, value in JUDGED.items()) and checkpoint["steps"] >= JUDGED_FROM
    ]
    unseen = [
        {"family": family, "steps": checkpoint["steps"], **pair}
        for family, checkpoint in judged
        for pair in checkpoint["undecided"]
        if pair["class"] == BELOW_ROUNDING
    ]
    complete = {family for family, _ in judged} == set(FAMILIES)
    told = False if unseen else True if complete else None
    return {
        "outside_the_own_bound": left,
        "judged": {**JUDGED, "from_step": JUDGED_FROM},
        "below_rounding_where_judged": unseen,
        "all_told_where_judged": told,
        "met": False if left else told,
    }


def run_all(runs: list[Run], processes: int) -> list[dict[str, Any]]:
    """Take all runs, the longest first, and return them in their order; say on standard error what is done."""
    found: dict[Run, dict[str, Any]] = {}
    with ProcessPoolExecutor(processes) as pool:
        pending = {pool.submit(measured, run): run for run in sorted(runs, key=lambda run: run.base)}
        for future in as_completed(pending):
            run = pending[future]
            found[run] = future.result()
            seconds = found[run]["seconds"]
            print(f"{len(found)}/{len(runs)} {run.family} {run.dtype} {run.setting}: {seconds} s", file=sys.stderr)
    return [found[run] for run in runs]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks/power", description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES), metavar="DTYPE")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--elements", type=int, default=128, help="elements of every truth (default 128)")
    parser.add_argument("--steps", type=int, default=HORIZON, help=f"steps of every run (default {HORIZON})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="runs at a time (default: cores)")
    parser.add_argument("--read", type=Path, metavar="FILE", help="take the result from this JSON file, print none")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the tables of this page from the result")
    return parser.parse_args(arguments)


def document_of(asked: argparse.Namespace) -> dict[str, Any]:
    """Take the runs that were asked for; return the document."""
    started = time.monotonic()
    runs = [
        Run(family, dtype, setting, asked.elements, asked.steps, asked.seed)
        for dtype, setting, family in itertools.product(asked.dtypes, asked.settings, asked.families)
    ]
    measurements = run_all(runs, asked.processes)
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": asked.seed,
        "elements": asked.elements,
        "steps": asked.steps,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("numpy", "ml_dtypes")},
        },
        "requirement": requirement(measurements),
        "runs": measurements,
        "seconds": round(time.monotonic() - started, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    document = json.loads(asked.read.read_text()) if asked.read else document_of(asked)
    if asked.page:
        asked.page.write_text(renewed(asked.page.read_text(), document))
    if not asked.read:
        json.dump(document, sys.stdout, indent=1)
        print()
    met = document["requirement"]["met"]
    return 3 if met is None else 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
