"""A trace in a directory, read lazily: one step, or one block of coordinates of one step, at a time."""

from __future__ import annotations

import bisect
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .errors import TraceError, printable
from .index import INDEX_FILE, MAX_INDEX_BYTES, Index, Shard, parse_index
from .trace import DTYPES, Array, Parameter, Step, check_finite, check_range, clamp_stop

STORED_DTYPES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Name of a dtype in the index -> its name in a safetensors header."""

VERIFY_ELEMENTS = 2**18
"""Gradient values looked at in one go while verifying: at most 2 MB, whatever the size of the trace."""

_COPY_AGAIN = "The trace is damaged or was edited; copy or record it again."


@dataclass(frozen=True, eq=False)
class DirectoryTrace:
    """A `Trace` in the directory `path`; made by `open_trace`.

    The shards stay mapped into memory from opening on, so a file that is replaced later does not change
    the trace. `sha256` is the digest of `index.json`, which holds the digest of every shard: it stands for
    the whole trace, and `sha256sum index.json` prints it.
    """

    path: Path
    index: Index
    sha256: str
    _handles: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name the trace was written under."""
        return self.index.name

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in recorded order."""
        return self.index.parameters

    @property
    def multipliers(self) -> tuple[float, ...]:
        """eta_1 .. eta_T."""
        return self.index.multipliers

    @property
    def missing(self) -> Mapping[int, frozenset[str]]:
        """Step -> names of the parameters without a gradient in it."""
        return self.index.missing

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.index.multipliers)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the trace comes from, as recorded."""
        return self.index.provenance

    def initial_parameters(self) -> dict[str, Array]:
        """theta_0 by name, as fresh arrays."""
        handle = self._handles[self.index.initial.file]
        return {p.name: handle.get_tensor(p.name) for p in self.parameters}

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """Steps 1 .. min(`stop`, T); each is read when it is asked for, and nothing is kept."""
        last = clamp_stop(stop, self.n_steps)
        for shard in self.index.gradients:
            handle = self._handles[shard.file]
            slices = [(p, handle.get_slice(p.name)) for p in self.parameters]
            for step in range(shard.first_step, min(shard.last_step, last) + 1):
                missing = self.index.missing.get(step, frozenset())
                row = step - shard.first_step
                yield Step(
                    step,
                    self.multipliers[step - 1],
                    {
                        p.name: None if p.name in missing else _read(p, tensor, row, row + 1).reshape(p.shape)
                        for p, tensor in slices
                    },
                )

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates `start` .. `stop` - 1 of one gradient, in one contiguous read; see `Trace.block`."""
        parameter = next((p for p in self.parameters if p.name == name), None)
        if parameter is None:
            raise KeyError(name)
        check_range(parameter, self.n_steps, step, start, stop)
        if name in self.index.missing.get(step, ()):
            return None
        shard = self.index.gradients[bisect.bisect(self.index.gradients, step, key=lambda s: s.first_step) - 1]
        row = step - shard.first_step
        tensor = self._handles[shard.file].get_slice(name)
        return _read(parameter, tensor, row, row + 1, start, stop).reshape(-1)


def _read(parameter: Parameter, tensor: Any, first: int, last: int, start: int = 0, stop: int | None = None) -> Array:
    """Rows `first` .. `last` - 1 and columns `start` .. `stop` - 1 of a gradient tensor [steps, size]."""
    stop = parameter.size if stop is None else stop
    if start == stop:  # the safetensors library (0.4.0) panics on a slice that holds nothing
        return np.empty((last - first, 0), DTYPES[parameter.dtype])
    rows: Array = tensor[first:last] if (start, stop) == (0, parameter.size) else tensor[first:last, start:stop]
    return rows


def open_trace(path: str | os.PathLike[str], *, verify: bool = True) -> DirectoryTrace:
    """The trace in the directory `path`.

    Always checked: the index, and of every shard that it is a regular file inside the directory, its size,
    its header, and the name, shape and dtype of every tensor. `verify` reads everything once more, in
    the memory of one tensor, and checks the SHA-256 of every shard and that every value is finite. Raises `TraceError`.
    """
    folder = Path(path)
    index_file = folder / INDEX_FILE
    for there, found in (
        (os.path.lexists(folder), "nothing of this name"),
        (folder.is_dir(), "a file"),
        (os.path.lexists(index_file), f"no {INDEX_FILE} in it"),
    ):
        if not there:
            raise TraceError(
                folder,
                found,
                f"a directory with an {INDEX_FILE}",
                "`optconform trace list` shows the traces that ship with the package.",
            )
    if _regular_size(index_file) > MAX_INDEX_BYTES:
        raise TraceError(
            index_file,
            f"{index_file.stat().st_size} bytes",
            f"at most {MAX_INDEX_BYTES} bytes",
            "This is not the index of a trace; record or copy the trace again.",
        )
    raw = index_file.read_bytes()
    index = parse_index(raw, index_file)
    handles = {shard.file: _open_shard(folder / shard.file, shard) for shard in (index.initial, *index.gradients)}
    expected = {p.name: (p, p.shape) for p in index.parameters}
    _check_header(handles[index.initial.file], folder / index.initial.file, expected)
    for shard in index.gradients:
        rows = {p.name: (p, (shard.n_steps, p.size)) for p in index.parameters}
        _check_header(handles[shard.file], folder / shard.file, rows)
    trace = DirectoryTrace(folder, index, hashlib.sha256(raw).hexdigest(), handles)
    if verify:
        verify_trace(trace)
    return trace


def _regular_size(file: Path) -> int:
    """The size of `file`, which must be a regular file: a link could lead out of the directory, a pipe could hang."""
    try:
        status = file.lstat()
    except OSError as error:
        raise TraceError(file, f"no readable file ({error.strerror})", "a regular file", _COPY_AGAIN) from error
    if not stat.S_ISREG(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "something that is not a regular file"
        raise TraceError(
            file,
            what,
            "a regular file inside the directory of the trace",
            "Put the file itself there: a trace reads nothing outside its own directory.",
        )
    return status.st_size


def _open_shard(file: Path, shard: Shard) -> Any:
    size = _regular_size(file)
    if size != shard.bytes:
        raise TraceError(file, f"{size} bytes", f"{shard.bytes} bytes as in {INDEX_FILE}", _COPY_AGAIN)
    try:
        return safe_open(file, framework="np")
    except (SafetensorError, OSError, ValueError) as error:
        raise TraceError(file, f"no valid safetensors file: {printable(error)}", "one", _COPY_AGAIN) from error


def _check_header(handle: Any, file: Path, expected: Mapping[str, tuple[Parameter, tuple[int, ...]]]) -> None:
    """Raise `TraceError` unless the file holds exactly the expected tensors in the expected shapes and dtypes."""
    found = set(handle.keys())
    for name in sorted(found ^ set(expected)):
        state = "no such tensor" if name in expected else "a tensor that the index does not declare"
        raise TraceError(file, state, "one tensor for each parameter of the index", _COPY_AGAIN, name)
    for name, (parameter, shape) in expected.items():
        tensor = handle.get_slice(name)
        stored = (tensor.get_dtype(), tuple(tensor.get_shape()))
        declared = (STORED_DTYPES[parameter.dtype], shape)
        if stored != declared:
            raise TraceError(
                file, f"{stored[0]} {printable(stored[1])}", f"{declared[0]} {declared[1]}", _COPY_AGAIN, name
            )


def verify_trace(trace: DirectoryTrace) -> None:
    """Read all of `trace`; raise `TraceError` for a wrong SHA-256 or a value that is not finite.

    Memory holds one tensor of theta_0 or `VERIFY_ELEMENTS` gradient values at a time.
    """
    for shard in (trace.index.initial, *trace.index.gradients):
        with (trace.path / shard.file).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != shard.sha256:
            raise TraceError(
                trace.path / shard.file,
                f"SHA-256 {digest}",
                f"{shard.sha256} as in {INDEX_FILE}",
                _COPY_AGAIN,
            )
    file = trace.path / trace.index.initial.file
    for parameter in trace.parameters:
        check_finite(trace._handles[file.name].get_tensor(parameter.name), parameter.name, file, "theta_0", 0)
    for shard in trace.index.gradients:
        for parameter in trace.parameters:
            tensor = trace._handles[shard.file].get_slice(parameter.name)
            _verify_gradients(tensor, parameter, trace.path / shard.file, shard)


def _verify_gradients(tensor: Any, parameter: Parameter, file: Path, shard: Shard) -> None:
    columns = min(max(parameter.size, 1), VERIFY_ELEMENTS)
    rows = max(1, VERIFY_ELEMENTS // columns)
    for first in range(0, shard.n_steps, rows):
        last = min(first + rows, shard.n_steps)
        for start in range(0, parameter.size, columns):
            block = _read(parameter, tensor, first, last, start, min(start + columns, parameter.size))
            if not np.isfinite(block).all():
                for row, values in enumerate(block, start=shard.first_step + first):
                    check_finite(values, parameter.name, file, f"step {row}", start)
