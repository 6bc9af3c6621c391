"""Reading all of a trace once: every digest, and every value finite."""

from __future__ import annotations

import numpy as np

from .directory import DirectoryTrace, GradientShard, read_rows
from .errors import TraceError
from .files import DAMAGED, names_in
from .index import INDEX_FILE
from .shards import Shard
from .trace import Parameter, check_finite

VERIFY_ELEMENTS = 2**18
"""Values looked at in one go while verifying: at most 2 MB, whatever the size of the trace."""


def verify_trace(trace: DirectoryTrace) -> None:
    """Read all of `trace`; raise `TraceError` for a wrong SHA-256 or a value that is not finite.

    Memory holds one tensor of theta_0 or of state, or `VERIFY_ELEMENTS` values, at a time. The values of a file are
    looked at right after its digest: what is far away is fetched once for both.
    """
    run = trace.run
    for shard in (*trace.index.coordinates, *trace.index.rows.values()):
        _verify_digest(trace, shard)
    for shard in (trace.index.initial, *trace.index.added):
        _verify_digest(trace, shard)
        _verify_whole(trace, shard, "theta_0")
    for shard in trace.index.gradients:
        _verify_digest(trace, shard)
        _verify_gradients(trace, shard)
    for shard in run.after if run else ():
        _verify_digest(trace, shard)
        kept = names_in(trace.tensors(shard))
        for parameter in trace.parameters:
            if parameter.name in kept:
                _verify_steps(trace, shard, parameter)
    for segment in run.segments if run else ():
        _verify_digest(trace, segment.state)
        _verify_whole(trace, segment.state, f"the state before step {segment.step}")
    _verify_coordinates(trace)


def _verify_digest(trace: DirectoryTrace, shard: Shard) -> None:
    digest = trace.files.digest(shard.file)
    if digest != shard.sha256:
        where = trace.files.where(shard.file)
        raise TraceError(where, f"SHA-256 {digest}", f"{shard.sha256} as in {INDEX_FILE}", DAMAGED)


def _verify_whole(trace: DirectoryTrace, shard: Shard, what: str) -> None:
    for name in sorted(names_in(trace.tensors(shard))):
        _verify_tensor(trace, shard, name, what)


def _verify_tensor(trace: DirectoryTrace, shard: Shard, name: str, what: str) -> None:
    check_finite(trace.tensors(shard).get_tensor(name), name, trace.files.where(shard.file), what, 0)


def _verify_coordinates(trace: DirectoryTrace) -> None:
    for parameter in trace.parameters:
        found = trace.coordinates(parameter.name)
        if found is None or not len(found):
            continue
        whole = int(np.prod(parameter.sampled_from or (), dtype=np.int64))
        if found.min() < 0 or found.max() >= whole or not (np.diff(found) > 0).all():  # a difference may wrap
            raise TraceError(
                trace.location,
                f"coordinates from {found.min()} to {found.max()}",
                f"rising coordinates of a tensor of {whole} elements, each once",
                DAMAGED,
                parameter.name,
            )


def _verify_gradients(trace: DirectoryTrace, shard: Shard) -> None:
    sparse = GradientShard(trace, shard).sparse
    kept = names_in(trace.tensors(shard))
    for parameter in trace.parameters:
        if parameter.name in sparse:
            _verify_tensor(trace, shard, parameter.name, f"steps {shard.first_step}..{shard.last_step}")
        elif parameter.name in kept:
            _verify_steps(trace, shard, parameter)


def _verify_steps(trace: DirectoryTrace, shard: Shard, parameter: Parameter) -> None:
    """Look at every value of a tensor [steps, size], a block at a time."""
    tensor, file = trace.tensors(shard).get_slice(parameter.name), trace.files.where(shard.file)
    columns = min(max(parameter.size, 1), VERIFY_ELEMENTS)
    rows = max(1, VERIFY_ELEMENTS // columns)
    for first in range(0, shard.n_steps, rows):
        last = min(first + rows, shard.n_steps)
        for start in range(0, parameter.size, columns):
            block = read_rows(parameter, tensor, first, last, start, min(start + columns, parameter.size))
            if not np.isfinite(block).all():
                for row, values in enumerate(block, start=shard.first_step + first):
                    check_finite(values, parameter.name, file, f"step {row}", start)
