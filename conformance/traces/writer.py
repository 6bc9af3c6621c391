"""Writing a trace to a directory, so that there is either a whole trace or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from ...adapters.recording import TrainingStep
from .appending import TraceAppender
from .directory import DirectoryTrace
from .errors import TraceError, printable
from .index import INDEX_FILE, SCHEMA_FAMILY, is_trace_file
from .memory import check_gradients
from .opening import open_trace
from .shards import flush_directory
from .trace import DTYPES, Trace, check_multipliers, check_parameters

SHARD_BYTES = 64 * 2**20
"""Shards are filled up to this size by default; a single step may be larger and then has its own."""


def write_trace(
    trace: Trace, path: str | os.PathLike[str], *, steps_per_shard: int | None = None, overwrite: bool = False
) -> DirectoryTrace:
    """Write `trace` to the directory `path` and return it opened from there.

    The steps are streamed: memory holds one shard of `steps_per_shard` steps (by default as many as fit into
    64 MiB, at least one). Everything is written into a sibling directory, flushed to the disk and renamed, so
    that a failure leaves nothing behind. With `overwrite` an existing trace is replaced, but nothing else is.
    Raises `TraceError` when `path` cannot be written to as asked or the trace does not keep its own promises
    (shapes, dtypes, finite values, number of steps), and OSError when the disk refuses.
    """
    target = Path(path).resolve()
    if steps_per_shard is not None and steps_per_shard < 1:
        raise ValueError(f"steps_per_shard={steps_per_shard}, but should be at least 1")
    check_target(target, overwrite)
    check_parameters(trace.parameters, target)
    check_multipliers(trace.multipliers, target)
    if steps_per_shard is None:
        step_bytes = sum(p.size * DTYPES[p.dtype].itemsize for p in trace.parameters)
        steps_per_shard = max(1, SHARD_BYTES // max(step_bytes, 1))
    with whole_or_nothing(target) as folder:
        _write_files(trace, folder, target, steps_per_shard)
    return open_trace(target, verify=False)


@contextlib.contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """Give a directory to write a trace into, which becomes `target` at the end and is removed where that fails."""
    partial = unfinished(target)
    try:
        yield partial
        move(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def unfinished(target: Path) -> Path:
    """Make the directory beside `target` in which a trace is begun, until it may bear that name."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir()
    return partial


def check_target(target: Path, overwrite: bool) -> None:
    """Raise `TraceError` unless a trace can be written as `target`: a new name, or a trace that may be replaced."""
    if not target.parent.is_dir():
        raise TraceError(target, "no directory above it", "an existing directory", f"Create '{target.parent}' first.")
    if not target.exists():
        return
    if not overwrite:
        raise TraceError(
            target, "something of this name", "a new name", "Choose another name or ask to overwrite the trace."
        )
    foreign = _foreign(target)
    if foreign is not None:
        raise TraceError(target, foreign, "a trace to overwrite", "Choose another name or remove it yourself.")


def _foreign(target: Path) -> str | None:
    """What keeps `target` from being a trace and nothing else, which alone may be removed; None where it is one.

    A damaged trace is still one: only the schema is looked for in its index.
    """
    index_file = target / INDEX_FILE
    if not index_file.is_file():
        return "something that is no trace"
    others = sorted(entry.name for entry in target.iterdir() if not is_trace_file(entry.name))
    if others:
        return f"a directory that holds '{printable(others[0])}' besides"
    with index_file.open("rb") as stream:
        return None if SCHEMA_FAMILY in stream.read(1000) else f"an {INDEX_FILE} that is no trace's"


def _write_files(trace: Trace, folder: Path, target: Path, steps_per_shard: int) -> None:
    """Write all files of `trace` into `folder`. Messages speak of `target`, where the files are going to lie."""
    appender = TraceAppender(
        folder,
        target,
        name=trace.name,
        parameters=trace.parameters,
        initial=trace.initial_parameters(),
        provenance=trace.provenance,
    )
    for step in trace.steps():
        count = appender.n_steps + 1
        if step.index != count or count > trace.n_steps or step.multiplier != trace.multipliers[count - 1]:
            raise TraceError(
                target,
                f"step {step.index} with multiplier {step.multiplier!r} as number {count}",
                f"steps 1..{trace.n_steps} in order with the multipliers of the trace",
                "The source of the trace is faulty; nothing was written.",
            )
        check_gradients(step.gradients, trace.parameters, target, count)
        appender.append(TrainingStep(step.gradients, step.multiplier))
        if count % steps_per_shard == 0:
            appender.flush()
    appender.close()
    if appender.n_steps != trace.n_steps:
        raise TraceError(
            target,
            f"{appender.n_steps} steps",
            f"{trace.n_steps} steps as declared",
            "The source of the trace is faulty; nothing was written.",
        )


def move(partial: Path, target: Path) -> None:
    """Give `partial` the name `target`; a trace that lies there steps aside first and comes back on failure."""
    aside = partial.with_suffix(".replaced")
    replacing = target.exists()
    if replacing:
        target.rename(aside)
    try:
        partial.rename(target)
    except BaseException:
        if replacing:
            aside.rename(target)
        raise
    flush_directory(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
