"""A trace that grows on the disk: whatever happens, what lies there is a valid trace of the steps finished so far."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.protocol import SparseRows
from ...adapters.recording import Gradient, TrainingStep
from .courses import Courses
from .errors import TraceError
from .fields import check_plain
from .index import INDEX_FILE, Index, format_index
from .memory import check_names
from .rows import check_sparse, row_size
from .run import RecordedRun, Segment
from .shards import Shard, Tensor, flush_directory, partial_name, tensor_of, write_shard
from .trace import DTYPES, Array, Parameter, check_array, check_parameters


class TraceAppender:
    """Appends steps to the trace in `folder`, an empty directory that it fills; from one thread at a time.

    Every file is written under a temporary name, flushed and renamed, and the index, which is replaced last, names
    only what is complete: a process that is killed leaves the steps of the last `flush` behind, and at most a file
    whose name ends in `.partial`, which readers pass over. `target` is where the trace is going to lie, for messages.
    `lr_base` is what the learning rate of a step is divided by for its multiplier eta_t; where it is None, the largest
    so far. Raises `TraceError` for values that do not fit and OSError when the disk refuses; the trace stays as it was.
    """

    def __init__(
        self,
        folder: Path,
        target: Path,
        *,
        name: str,
        parameters: Sequence[Parameter],
        initial: Mapping[str, Array],
        coordinates: Mapping[str, NDArray[np.int64]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        run: RecordedRun | None = None,
        lr_base: float | None = 1.0,
    ) -> None:
        self._folder, self._target, self._lr_base = folder, target, lr_base
        self._rates: list[float] = []
        self._waiting: list[TrainingStep] = []
        self._courses = Courses()
        self._segment: tuple[int, int, Shard] | None = None
        self._unnamed: list[Path] = []
        self.waiting_bytes = 0
        check_parameters(parameters, target)
        check_plain(dict(provenance or {}), "provenance", target)
        self._check_initial(parameters, initial)
        index = Index(
            name=name,
            parameters=tuple(parameters),
            multipliers=(),
            missing={},
            initial=self._write("initial", {p.name: tensor_of(initial[p.name]) for p in parameters}),
            gradients=(),
            provenance=dict(provenance or {}),
            coordinates=self._write_coordinates(1, parameters, coordinates or {}),
            run=run,
        )
        self._publish(index)

    @property
    def n_steps(self) -> int:
        """Steps appended so far, on the disk or not."""
        return len(self._rates)

    @property
    def n_written(self) -> int:
        """Steps on the disk."""
        return len(self._index.multipliers)

    def moved_to(self, folder: Path) -> None:
        """Go on in `folder`, which the directory was renamed to."""
        self._folder = folder

    def begin_segment(self, training_step: int, state: Mapping[str, Mapping[str, Array]]) -> None:
        """Begin a stretch of consecutive training steps with the next one, which is number `training_step` of the run.

        `state` is what the optimizer has before it: slot -> parameter name -> array, theta as the slot `theta`.
        """
        assert self._index.run is not None, "only a recorded run has segments"
        self.flush()
        tensors = {f"{slot}/{name}": tensor_of(value) for slot, each in state.items() for name, value in each.items()}
        shard = self._write(f"state-{len(self._index.run.segments) + 1:05d}", tensors)
        self._segment = self.n_steps + 1, training_step, shard

    def join(
        self,
        parameters: Sequence[Parameter],
        initial: Mapping[str, Array],
        coordinates: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        """Add parameters that take part from the next step on, with theta as it is now."""
        self.flush()
        check_parameters((*self._index.parameters, *parameters), self._target)
        self._check_initial(parameters, initial)
        number = len(self._index.added) + 2
        added = self._write(f"initial-{number:05d}", {p.name: tensor_of(initial[p.name]) for p in parameters})
        missing = dict(self._index.missing)
        for step in range(1, self.n_steps + 1):
            missing[step] = missing.get(step, frozenset()) | {p.name for p in parameters}
        grown = replace(
            self._index,
            parameters=(*self._index.parameters, *parameters),
            added=(*self._index.added, added),
            coordinates=(
                *self._index.coordinates,
                *self._write_coordinates(number, parameters, coordinates or {}),
            ),
            missing=missing,
        )
        self._publish(grown)

    def append(self, step: TrainingStep) -> None:
        """Take one finished step; it reaches the disk with the next `flush`.

        Parameters that join and the start of a segment have methods of their own.
        """
        number = self.n_steps + 1
        if not (math.isfinite(step.lr) and step.lr >= 0.0):
            raise TraceError(
                self._target,
                f"learning rate (or multiplier) {step.lr!r} at step {number}",
                "a finite number >= 0",
                "Correct the schedule.",
            )
        parameters = {p.name: p for p in self._index.parameters}
        for name, gradient in step.gradients.items():
            if name not in parameters:
                check_names(step.gradients, self._index.parameters, self._target, f"step {number}")
            if isinstance(gradient, SparseRows):
                check_sparse(gradient, parameters[name], self._target, f"step {number}")
            elif gradient is not None:
                check_array(gradient, parameters[name], self._target, f"step {number}")
        if step.after is not None:
            check_names(step.after, self._index.parameters, self._target, f"theta after step {number}")
            for name, value in step.after.items():
                check_array(value, parameters[name], self._target, f"theta after step {number}")
        for group in step.groups:
            check_plain(dict(group.hyperparameters), "hyperparameters", self._target)
        self._rates.append(step.lr)
        self._courses.add(number, step.groups)
        self._waiting.append(step)
        held = [*step.gradients.values(), *(step.after or {}).values()]
        self.waiting_bytes += sum(map(_bytes, held))

    def flush(self) -> None:
        """Bring every step so far to the disk."""
        if self._waiting:
            try:
                self._publish(self._grown(self.n_steps - len(self._waiting) + 1))
            except BaseException:
                self._remove_unnamed()
                raise
            self._waiting = []
            self._segment = None
            self.waiting_bytes = 0

    def close(self) -> None:
        """Flush, and remove what was begun and no step belongs to."""
        try:
            self.flush()
        finally:
            self._segment = None
            self._remove_unnamed()

    def _grown(self, first: int) -> Index:
        """Write the waiting steps, from number `first` on, and return the index that names their files."""
        steps, last = self._waiting, self.n_steps
        number = len(self._index.gradients) + 1
        tensors, rows = self._tensors(first)
        gradients = self._write(f"gradients-{number:05d}", tensors, first, last)
        missing = dict(self._index.missing)
        for at, step in enumerate(steps, start=first):
            absent = frozenset(p.name for p in self._index.parameters if step.gradients.get(p.name) is None)
            if absent:
                missing[at] = absent
        rows_of = {gradients.file: self._write(f"rows-{number:05d}", rows)} if rows else {}
        return replace(
            self._index,
            multipliers=self._multipliers(),
            missing=missing,
            gradients=(*self._index.gradients, gradients),
            rows={**self._index.rows, **rows_of},
            run=self._run(number, first),
        )

    def _multipliers(self) -> tuple[float, ...]:
        base = self._lr_base or max(self._rates, default=0.0) or 1.0
        return tuple(rate / base for rate in self._rates)

    def _run(self, number: int, first: int) -> RecordedRun | None:
        run, steps = self._index.run, self._waiting
        if run is None:
            return None
        after, segments = run.after, run.segments
        kept = [each.after for each in itertools.takewhile(lambda step: step.after is not None, steps)]
        if kept and first == (after[-1].last_step if after else 0) + 1:
            tensors = {
                p.name: Tensor(p.dtype, (len(kept), p.size), [(each or {})[p.name] for each in kept])
                for p in self._index.parameters
            }
            after = (*after, self._write(f"after-{number:05d}", tensors, first, first + len(kept) - 1))
        if self._segment is not None:
            segments = (*segments, Segment(*self._segment))
        skipped = {at for at, step in enumerate(steps, start=first) if step.skipped}
        return replace(
            run, after=after, segments=segments, skipped=run.skipped | skipped, groups=self._courses.groups()
        )

    def _tensors(self, first: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tensors of a gradient shard, and the rows of those that are sparse throughout."""
        tensors: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        for parameter in self._index.parameters:
            name, shape = parameter.name, parameter.shape
            gradients = [step.gradients.get(name) for step in self._waiting]
            present = [gradient for gradient in gradients if gradient is not None]
            sparse = [(at, each) for at, each in enumerate(gradients, first) if isinstance(each, SparseRows)]
            if not present:
                continue  # a frozen layer takes no space
            if len(sparse) == len(present):
                count = sum(len(each.indices) for _, each in sparse)
                pairs = [np.stack([np.full(len(each.indices), at), each.indices], axis=1) for at, each in sparse]
                rows[name] = Tensor("int64", (count, 2), pairs)
                tensors[name] = Tensor(parameter.dtype, (count, row_size(shape)), [each.values for _, each in sparse])
                continue
            nothing = np.zeros(parameter.size if len(present) < len(gradients) else 0, DTYPES[parameter.dtype])
            pieces = [nothing if each is None else _dense(each) for each in gradients]
            tensors[name] = Tensor(parameter.dtype, (len(gradients), parameter.size), pieces)
        return tensors, rows

    def _write_coordinates(
        self, number: int, parameters: Sequence[Parameter], coordinates: Mapping[str, NDArray[np.int64]]
    ) -> tuple[Shard, ...]:
        sampled = {p.name: tensor_of(coordinates[p.name]) for p in parameters if p.sampled_from is not None}
        return (self._write(f"coordinates-{number:05d}", sampled),) if sampled else ()

    def _check_initial(self, parameters: Sequence[Parameter], initial: Mapping[str, Array]) -> None:
        check_names(initial, tuple(parameters), self._target, "theta_0")
        for parameter in parameters:
            check_array(initial[parameter.name], parameter, self._target, "theta_0")

    def _write(self, stem: str, tensors: Mapping[str, Tensor], first_step: int = 0, last_step: int = 0) -> Shard:
        file = self._folder / f"{stem}.safetensors"
        partial = self._folder / partial_name(file.name)
        try:
            shard = write_shard(partial, tensors, first_step, last_step)
            partial.rename(file)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._unnamed.append(file)
        return replace(shard, file=file.name)

    def _remove_unnamed(self) -> None:
        """Remove what no index names, but for the state of a segment whose steps are yet to come."""
        awaited = () if self._segment is None else (self._segment[2].file,)
        for file in self._unnamed:
            if file.name not in awaited:
                file.unlink(missing_ok=True)
        self._unnamed = [file for file in self._unnamed if file.name in awaited]

    def _publish(self, index: Index) -> None:
        """Make `index` that of the trace; where that fails, the one before stays."""
        partial = self._folder / partial_name(INDEX_FILE)
        try:
            with partial.open("wb") as stream:
                stream.write(format_index(index))
                stream.flush()
                os.fsync(stream.fileno())
            flush_directory(self._folder)  # what it names has its name on the disk before it is named
            partial.replace(self._folder / INDEX_FILE)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._index = index
        named = {shard.file for shard in index.shards}
        self._unnamed = [file for file in self._unnamed if file.name not in named]
        flush_directory(self._folder)


def _dense(gradient: Array | SparseRows) -> Array:
    return gradient.dense() if isinstance(gradient, SparseRows) else gradient


def _bytes(held: Gradient) -> int:
    return 0 if held is None else (held.values if isinstance(held, SparseRows) else held).nbytes
