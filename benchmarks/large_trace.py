"""The memory in which a trace of any size is checked.

Writes a trace of `--gigabytes`, whose shards are one file under many names, so that it takes 64 MiB of the disk and is
read as if it took all of them. Then a process of its own verifies it and checks AdamW in NumPy on it, while its
anonymous memory is looked at. Prints one JSON document. Needs Linux, and a file system with hard links.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from reference_replay import machine

from optconform.adapters.recording import TrainingStep
from optconform.conformance.api import check_optimizer
from optconform.conformance.traces import DirectoryTrace, Parameter, Step, Trace, open_trace
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.index import INDEX_FILE, format_index

SCHEMA = "optconform/benchmark/large-trace/1"
TARGET = "optconform.adapters.numpy_optimizers:AdamW"
ELEMENTS = 2**18
"""Of each step: 1 MiB of float32, in a matrix and a bias."""
SHARD_BYTES = 2**26
MAX_BYTES = 500 * 10**6
PARTS = 8
"""The replay of all steps is looked at from the end of its first eighth on, eighth by eighth. What goes before, and
reads some tens of steps, leaves 100 MB that Python collects when it likes, so that other spans would show that."""
INTERVAL = 0.01
"""Seconds between two looks at the memory."""


def write_linked(folder: Path, size: int, elements: int) -> int:
    """Write a trace of at least `size` bytes of gradients into the new `folder`; return its number of steps."""
    rng = np.random.default_rng(0)
    parameters = (Parameter("matrix", (elements // 512 - 1, 512), "float32"), Parameter("bias", (512,), "float32"))
    folder.mkdir()
    growing = TraceAppender(
        folder,
        folder,
        name="large",
        parameters=parameters,
        initial={p.name: rng.standard_normal(p.shape, dtype=np.float32) for p in parameters},
    )
    steps = max(1, SHARD_BYTES // (4 * elements))
    for _ in range(steps):
        growing.append(TrainingStep({p.name: rng.standard_normal(p.shape, dtype=np.float32) for p in parameters}))
    growing.close()
    index = open_trace(folder).index
    (shard,) = index.gradients
    count = -(-size // (4 * elements * steps))
    linked = [
        dataclasses.replace(
            shard,
            file=f"gradients-{number + 1:05d}.safetensors",
            first_step=number * steps + 1,
            last_step=(number + 1) * steps,
        )
        for number in range(count)
    ]
    for each in linked[1:]:
        (folder / each.file).hardlink_to(folder / shard.file)
    many = dataclasses.replace(index, gradients=tuple(linked), multipliers=(1.0,) * (count * steps))
    (folder / INDEX_FILE).write_bytes(format_index(many))
    return count * steps


class Told:
    """A trace that tells when each eighth of it was read, once it was read to its end."""

    def __init__(self, trace: DirectoryTrace) -> None:
        self._trace = trace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trace, name)

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """The steps of the trace."""
        marks = {self._trace.n_steps * part // PARTS: f"part {part}" for part in range(1, PARTS + 1)}
        times: dict[str, float] = {}
        for step in self._trace.steps(stop):
            if step.index in marks:
                times[marks[step.index]] = time.monotonic()
            yield step
        if len(times) == PARTS:
            tell(times)


def tell(times: dict[str, float]) -> None:
    """Tell the watching process when something began, on the clock that all processes share."""
    print(json.dumps(times), flush=True)


def check(folder: Path) -> None:
    """Verify and check the trace."""
    tell({"verify": time.monotonic()})
    trace = open_trace(folder)
    tell({"check": time.monotonic()})
    told = cast(Trace, Told(trace))
    check_optimizer(TARGET, traces=[told], weight_decay=1e-2, expect="decoupled,law=lr*wd")
    tell({"done": time.monotonic()})


def anonymous_memory_of(process: int) -> int:
    """Resident anonymous memory of a process in bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def watched(folder: Path) -> tuple[dict[str, float], list[tuple[float, int]]]:
    """Check `folder` in a process of its own; return when what began, and (time, anonymous bytes) all along."""
    command = [sys.executable, __file__, "--check", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    seen: list[tuple[float, int]] = []

    def watch() -> None:
        while child.poll() is None:
            seen.append((time.monotonic(), anonymous_memory_of(child.pid)))
            time.sleep(INTERVAL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert child.stdout is not None
    times: dict[str, float] = {}
    for line in child.stdout:
        times |= json.loads(line)
    watcher.join()
    if child.returncode:
        raise SystemExit(child.returncode)
    return times, seen


def highest(seen: Iterable[tuple[float, int]], begin: float, end: float) -> int:
    """The most that was seen from `begin` to `end`."""
    return max((held for at, held in seen if begin <= at <= end), default=0)


def measure(gigabytes: float, elements: int, folder: Path) -> dict[str, Any]:
    """Write, check, and say what it took."""
    steps = write_linked(folder, round(gigabytes * 1e9), elements)
    times, seen = watched(folder)
    begin, end = times["check"], times["done"]
    parts = [times[f"part {number}"] for number in range(1, PARTS + 1)]
    return {
        "gigabytes": round(4e-9 * elements * steps, 3),
        "steps": steps,
        "elements": elements,
        "shards": sum(file.name.startswith("gradients-") for file in folder.iterdir()),
        "disk_bytes": sum({file.stat().st_ino: file.stat().st_size for file in folder.iterdir()}.values()),
        "seconds": {
            "verify": round(begin - times["verify"], 2),
            "check": round(end - begin, 2),
        },
        "anonymous_bytes": {
            "highest": highest(seen, 0.0, end),
            "verify": highest(seen, times["verify"], begin),
            "parts_of_the_replay": [highest(seen, start, stop) for start, stop in itertools.pairwise(parts)],
            "looks": len(seen),
        },
        "required_at_most": {"highest": MAX_BYTES},
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20.0, metavar="GB", help="1e9 bytes each (default 20)")
    parser.add_argument("--elements", type=int, default=ELEMENTS, metavar="N", help="a multiple of 512, 1024 or more")
    parser.add_argument(
        "--folder", type=Path, help="where the trace is written, and removed (default: a temporary one)"
    )
    parser.add_argument("--check", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    if asked.check:
        check(asked.check)
        return 0
    facts = machine()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        found = measure(asked.gigabytes, asked.elements, Path(folder) / "large.trace")
    json.dump({"schema": SCHEMA, "machine": facts, "target": TARGET, **found}, sys.stdout, indent=2)
    print()
    return 0 if found["anonymous_bytes"]["highest"] <= MAX_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
