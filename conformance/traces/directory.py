"""A trace in a directory, read lazily: one step, or one block of coordinates of one step, at a time."""

from __future__ import annotations

import bisect
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.protocol import SparseRows
from .files import TensorFile, TraceFiles, names_in
from .index import Index
from .rows import check_rows, row_size
from .run import RecordedRun, Segment
from .shards import Shard
from .trace import DTYPES, Array, Parameter, Step, check_range, clamp_stop


@dataclass(frozen=True, eq=False)
class DirectoryTrace:
    """A `Trace` in a directory; made by `open_trace`.

    The shards of a local trace stay mapped into memory from opening on, so a file that is replaced later does not
    change the trace. `sha256` is the digest of `index.json`, which holds the digest of every shard: it stands for
    the whole trace, and `sha256sum index.json` prints it.
    """

    location: str
    """The directory, as a path, or as an address without what may be secret."""
    index: Index
    sha256: str
    files: TraceFiles
    _opened: Mapping[str, TensorFile]

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

    @property
    def run(self) -> RecordedRun | None:
        """What is known of the run it was recorded from, where it was."""
        return self.index.run

    def tensors(self, shard: Shard) -> TensorFile:
        """One of the trace's files, opened."""
        return self._opened[shard.file]

    def initial_parameters(self) -> dict[str, Array]:
        """theta_0 by name, as fresh arrays."""
        found: dict[str, Array] = {}
        for shard in (self.index.initial, *self.index.added):
            handle = self.tensors(shard)
            found |= {name: handle.get_tensor(name) for name in names_in(handle)}
        return {p.name: found[p.name] for p in self.parameters}

    def coordinates(self, name: str) -> NDArray[np.int64] | None:
        """Where a sampled parameter's elements lie in the whole tensor (C order), int64 [size]; None if it is whole."""
        if self._parameter(name).sampled_from is None:
            return None
        files = (self.tensors(shard) for shard in self.index.coordinates)
        found: NDArray[np.int64] = next(file for file in files if name in names_in(file)).get_tensor(name)
        return found

    def steps(self, stop: int | None = None) -> Iterator[Step]:
        """Steps 1 .. min(`stop`, T); each is read when it is asked for, and nothing is kept."""
        yield from self.steps_of(self.parameters, 1, clamp_stop(stop, self.n_steps))

    def steps_of(self, parameters: Sequence[Parameter], first: int, last: int) -> Iterator[Step]:
        """Steps `first` .. `last` with the gradients of these parameters alone; of the others nothing is read."""
        for shard in self.index.gradients:
            if shard.last_step < first:
                continue
            if shard.first_step > last:
                return
            gradients = GradientShard(self, shard)
            for step in range(max(shard.first_step, first), min(shard.last_step, last) + 1):
                missing = self.index.missing.get(step, frozenset())
                yield Step(
                    step,
                    self.multipliers[step - 1],
                    {
                        p.name: None if p.name in missing else gradients.read(p, step).reshape(p.shape)
                        for p in parameters
                    },
                )

    def block(self, name: str, step: int, start: int, stop: int) -> Array | None:
        """Coordinates `start` .. `stop` - 1 of one gradient, in one contiguous read; see `Trace.block`."""
        parameter = self._parameter(name)
        check_range(parameter, self.n_steps, step, start, stop)
        if name in self.index.missing.get(step, ()):
            return None
        return GradientShard(self, _holding(self.index.gradients, step)).read(parameter, step, start, stop)

    def parameters_after(self, step: int, names: Container[str] | None = None) -> dict[str, Array] | None:
        """Theta after `step` by name (all, or those named), as fresh arrays; None where the recording did not keep it.

        Parameters that had not joined by the end of the shard are left out. Raises IndexError for a step that the
        trace does not have.
        """
        if not 1 <= step <= self.n_steps:
            raise IndexError(f"step {step} of a trace with steps 1..{self.n_steps}")
        if self.run is None or not self.run.after or step > self.run.after[-1].last_step:
            return None
        shard = _holding(self.run.after, step)
        handle, row = self.tensors(shard), step - shard.first_step
        kept = names_in(handle)
        return {
            p.name: read_rows(p, handle.get_slice(p.name), row, row + 1).reshape(p.shape)
            for p in self.parameters
            if p.name in kept and (names is None or p.name in names)
        }

    def state_before(self, segment: Segment, names: Container[str] | None = None) -> dict[str, dict[str, Array]]:
        """What the optimizer had before `segment`: slot -> parameter name -> array; theta is the slot `theta`.

        Of all parameters, or of those named.
        """
        handle = self.tensors(segment.state)
        found: dict[str, dict[str, Array]] = {}
        for key in sorted(names_in(handle)):
            slot, _, name = key.partition("/")
            if names is None or name in names:
                found.setdefault(slot, {})[name] = handle.get_tensor(key)
        return found

    def _parameter(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


def _holding(shards: tuple[Shard, ...], step: int) -> Shard:
    return shards[bisect.bisect(shards, step, key=lambda shard: shard.first_step) - 1]


class GradientShard:
    """One shard of a trace as gradients are read from it: dense tensors row by row, sparse ones by their rows."""

    def __init__(self, trace: DirectoryTrace, shard: Shard) -> None:
        self._shard = shard
        self._gradients = trace.tensors(shard)
        self._rows: dict[str, NDArray[np.int64]] = {}
        if shard.file in trace.index.rows:
            rows = trace.index.rows[shard.file]
            opened, shapes = trace.tensors(rows), {p.name: p.shape for p in trace.parameters}
            for name in names_in(opened):
                self._rows[name] = opened.get_tensor(name)
                check_rows(self._rows[name], shapes[name], shard, trace.files.where(rows.file), name)

    @property
    def sparse(self) -> frozenset[str]:
        """Names of the parameters that are sparse here."""
        return frozenset(self._rows)

    def read(self, parameter: Parameter, step: int, start: int = 0, stop: int | None = None) -> Array:
        """Coordinates `start` .. `stop` - 1 (all by default) of the gradient at `step`, 1-d, as a fresh array."""
        stop = parameter.size if stop is None else stop
        if parameter.name in self._rows:
            return self._read_sparse(parameter, step).dense().reshape(-1)[start:stop]
        row = step - self._shard.first_step
        return read_rows(parameter, self._gradients.get_slice(parameter.name), row, row + 1, start, stop).reshape(-1)

    def read_kept(self, parameter: Parameter, step: int) -> Array | SparseRows:
        """The gradient at `step` in the parameter's shape, sparse where it is kept so."""
        if parameter.name in self._rows:
            return self._read_sparse(parameter, step)
        return self.read(parameter, step).reshape(parameter.shape)

    def _read_sparse(self, parameter: Parameter, step: int) -> SparseRows:
        rows, tensor = self._rows[parameter.name], self._gradients.get_slice(parameter.name)
        first, last = (int(at) for at in np.searchsorted(rows[:, 0], (step, step + 1)))
        nothing = np.empty((0, row_size(parameter.shape)), DTYPES[parameter.dtype])
        values = tensor[first:last] if first < last else nothing  # see `read_rows`
        return SparseRows(rows[first:last, 1], values.reshape(last - first, *parameter.shape[1:]), parameter.shape)


def read_rows(
    parameter: Parameter, tensor: Any, first: int, last: int, start: int = 0, stop: int | None = None
) -> Array:
    """Rows `first` .. `last` - 1 and columns `start` .. `stop` - 1 of a tensor [steps, size], as a fresh array."""
    stop = parameter.size if stop is None else stop
    if start == stop:  # the safetensors library (0.4.0) panics on a slice that holds nothing
        return np.empty((last - first, 0), DTYPES[parameter.dtype])
    rows: Array = tensor[first:last] if (start, stop) == (0, parameter.size) else tensor[first:last, start:stop]
    return rows
