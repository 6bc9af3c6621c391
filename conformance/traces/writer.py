"""Writing a trace to a directory, so that there is either a whole trace or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .directory import DirectoryTrace, open_trace
from .errors import TraceError, printable
from .index import INDEX_FILE, SCHEMA_FAMILY, Index, Shard, format_index, is_trace_file
from .memory import check_gradients, check_names
from .trace import DTYPES, Array, Trace, check_array, check_multipliers, check_parameters

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
    _check_target(target, overwrite)
    check_parameters(trace.parameters, target)
    check_multipliers(trace.multipliers, target)
    if steps_per_shard is None:
        step_bytes = sum(p.size * DTYPES[p.dtype].itemsize for p in trace.parameters)
        steps_per_shard = max(1, SHARD_BYTES // max(step_bytes, 1))
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir()
    try:
        _write_files(trace, partial, target, steps_per_shard)
        _move(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_trace(target, verify=False)


def _check_target(target: Path, overwrite: bool) -> None:
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
    initial = trace.initial_parameters()
    check_names(initial, trace.parameters, target, "theta_0")
    for parameter in trace.parameters:
        check_array(initial[parameter.name], parameter, target, "theta_0")
    initial_shard = _save(initial, folder / "initial.safetensors")
    missing: dict[int, frozenset[str]] = {}
    shards = tuple(
        _save(rows, folder / f"gradients-{number:05d}.safetensors", first, last)
        for number, (first, last, rows) in enumerate(_shards(trace, target, steps_per_shard, missing), start=1)
    )
    index = Index(trace.name, trace.parameters, trace.multipliers, missing, initial_shard, shards, trace.provenance)
    (folder / INDEX_FILE).write_bytes(format_index(index))
    _flush(folder / INDEX_FILE)
    _flush(folder)


def _shards(
    trace: Trace, target: Path, steps_per_shard: int, missing: dict[int, frozenset[str]]
) -> Iterator[tuple[int, int, dict[str, Array]]]:
    """First step, last step and the tensors [steps, size] of each shard; fills `missing` on the way.

    The tensors are views of one buffer that the next shard overwrites.
    """
    n_rows = min(steps_per_shard, trace.n_steps)
    buffer = {p.name: np.zeros((n_rows, p.size), DTYPES[p.dtype]) for p in trace.parameters}
    first = 1
    count = 0
    for step in trace.steps():
        count += 1
        if step.index != count or count > trace.n_steps or step.multiplier != trace.multipliers[count - 1]:
            raise TraceError(
                target,
                f"step {step.index} with multiplier {step.multiplier!r} as number {count}",
                f"steps 1..{trace.n_steps} in order with the multipliers of the trace",
                "The source of the trace is faulty; nothing was written.",
            )
        check_gradients(step.gradients, trace.parameters, target, count)
        absent = frozenset(name for name, gradient in step.gradients.items() if gradient is None)
        if absent:
            missing[count] = absent
        for name, gradient in step.gradients.items():
            buffer[name][count - first] = 0 if gradient is None else gradient.reshape(-1)
        if count - first + 1 == steps_per_shard or count == trace.n_steps:
            yield first, count, {name: rows[: count - first + 1] for name, rows in buffer.items()}
            first = count + 1
    if count != trace.n_steps:
        raise TraceError(
            target,
            f"{count} steps",
            f"{trace.n_steps} steps as declared",
            "The source of the trace is faulty; nothing was written.",
        )


def _save(tensors: dict[str, Array], file: Path, first_step: int = 0, last_step: int = 0) -> Shard:
    save_file({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}, file)
    # The safetensors library (0.8) makes the file readable by its owner alone; the umask's answer is the directory's.
    file.chmod(file.parent.stat().st_mode & 0o666)
    _flush(file)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Shard(file.name, file.stat().st_size, digest, first_step, last_step)


def _flush(path: Path) -> None:
    """Make sure the disk holds `path`, a file or a directory."""
    if os.name == "nt" and path.is_dir():  # Windows opens no directories and needs no flush of them
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(partial: Path, target: Path) -> None:
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
    _flush(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
