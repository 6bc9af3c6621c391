"""Is the rounding-error bound ever left? Real optimizers, random hyperparameters, every element compared.

Steps every optimizer of the table in every working precision and on every execution path that a CPU has, beside
the reference, and counts the elements inside the bound, those of which it says nothing, and those outside. Prints
one JSON document. Exit status 1 if anything lies outside, 3 if less was compared than was asked for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from soundness_case import Case, Count, run_case
from soundness_table import Lane, lanes

from optconform.adapters.frameworks import installed_frameworks, load_adapter

SCHEMA = "optconform/benchmark/soundness/1"
SHOWN = 20
"""Steps outside the bound of which the document holds the particulars; all are counted."""


@dataclass
class Tally:
    """Everything found so far."""

    lanes: Sequence[Lane]
    counts: dict[str, Count] = field(default_factory=dict)
    outside: list[dict[str, Any]] = field(default_factory=list)
    """Particulars of every step outside the bound, known defects left out."""

    def of(self, *, defective: bool) -> dict[str, Count]:
        """Return the counts of the lanes that are, or are not, known to be defective."""
        return {lane.name: self.counts[lane.name] for lane in self.lanes if bool(lane.defect) is defective}

    @property
    def compared(self) -> int:
        """Elements compared, known defects left out."""
        return sum(count.compared for count in self.of(defective=False).values())


def run(chosen: Sequence[Lane], asked: argparse.Namespace) -> tuple[Tally, bool]:
    """Go through all lanes, a case each, again and again; return the tally and whether it is all that was asked for.

    A round that has begun is finished unless time is up, so that every lane has its share.
    """
    tally = Tally(chosen, {lane.name: Count() for lane in chosen})
    deadline = time.monotonic() + asked.seconds
    for index in itertools.count(asked.first_case):
        for done, lane in enumerate(chosen, start=1):
            if time.monotonic() > deadline:
                return tally, False
            found = run_case(Case(lane, asked.seed, index, asked.elements, asked.engine), tally.counts[lane.name])
            tally.outside += found if lane.defect is None else []
            figures = f"{tally.compared:.3e} compared, {len(tally.outside)} steps outside"
            show(f"round {index}, lane {done} of {len(chosen)}: {figures}, {lane.name}")
        rounds = index + 1 - asked.first_case
        if tally.compared >= asked.comparisons if asked.rounds is None else rounds >= asked.rounds:
            return tally, tally.compared > 0
    raise AssertionError("counting does not end")


def show(line: str, end: str = "") -> None:
    """Write one line of progress over the last one, where somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end=end, file=sys.stderr, flush=True)


def document(asked: argparse.Namespace, tally: Tally, seconds: float) -> dict[str, Any]:
    """Return the whole result."""
    versions = {"python": platform.python_version()}
    for framework in sorted({lane.row.framework for lane in tally.lanes}):
        versions |= load_adapter(framework).versions()
    total, reasons = Count(), {lane.name: lane.defect for lane in tally.lanes}
    for count in tally.of(defective=False).values():
        total.include(count)
    return {
        "schema": SCHEMA,
        "seed": asked.seed,
        "elements": asked.elements,
        "versions": versions,
        "machine": {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()},
        "seconds": round(seconds, 1),
        **asdict(total),
        "by_framework_and_dtype": summary(tally),
        "lanes": [{"lane": name, **asdict(count)} for name, count in tally.of(defective=False).items()],
        "known_defects": [
            {"lane": name, "reason": reasons[name], **asdict(count)} for name, count in tally.of(defective=True).items()
        ],
        "violations": tally.outside[:SHOWN],
    }


def standard(value: Any) -> Any:
    """Return `value` with numbers that JSON does not know, infinity and NaN, as text."""
    if isinstance(value, dict):
        return {name: standard(item) for name, item in value.items()}
    if isinstance(value, list):
        return [standard(item) for item in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def summary(tally: Tally) -> list[dict[str, Any]]:
    """Return the counts of all lanes of one framework and precision together, known defects left out."""
    rows: dict[tuple[str, str], Count] = {}
    for lane in tally.lanes:
        if lane.defect is None:
            rows.setdefault((lane.row.framework, lane.dtype), Count()).include(tally.counts[lane.name])
    return [{"framework": framework, "dtype": dtype, **asdict(row)} for (framework, dtype), row in rows.items()]


def table(result: dict[str, Any]) -> str:
    """Return the summary as text."""
    lines = [f"{'framework':<12}{'dtype':<10}{'compared':>16}{'undecidable':>14}{'outside':>9}{'worst ratio':>13}"]
    for row in result["by_framework_and_dtype"]:
        figures = f"{row['compared']:>16,}{row['undecidable']:>14,}{row['steps_outside']:>9}{row['worst_ratio']:>13.4f}"
        lines.append(f"{row['framework']:<12}{row['dtype']:<10}{figures}")
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soundness", description=__doc__)
    parser.add_argument("--comparisons", type=float, default=1e9, help="stop after the round that reaches so many")
    parser.add_argument("--seconds", type=float, default=1200.0, help="stop after the case that reaches so many")
    parser.add_argument("--rounds", type=int, help="cases of every lane, instead of --comparisons")
    parser.add_argument("--elements", type=int, default=131_072, help="elements of the shortest case")
    parser.add_argument("--seed", type=int, default=0, help="everything that is drawn follows from it")
    parser.add_argument("--first-case", type=int, default=0, help="number of the first case of every lane")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="lanes by name, * and ? as in file names")
    parser.add_argument("--engine", choices=("auto", "numpy", "compiled"), default="auto", help="of the reference")
    parser.add_argument("--list", action="store_true", help="print the names of the lanes and stop")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    installed = installed_frameworks()
    everything = [lane for lane in lanes() if asked.only is None or any(fnmatchcase(lane.name, p) for p in asked.only)]
    chosen = [lane for lane in everything if lane.row.framework in installed]
    if asked.list:
        print(*(lane.name for lane in chosen), sep="\n")
        return 0
    start = time.monotonic()
    tally, complete = run(chosen, asked) if chosen else (Tally(()), False)
    result = document(asked, tally, time.monotonic() - start)
    result["not_installed"] = sorted({lane.row.framework for lane in everything} - set(installed))
    json.dump(standard(result), sys.stdout, indent=2, allow_nan=False)
    print()
    show(table(result), end="\n")
    if tally.outside:
        return 1
    return 0 if complete else 3


if __name__ == "__main__":
    sys.exit(main())
