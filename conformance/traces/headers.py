"""What the header of every file of a trace must say: which tensors, of which shape and dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .errors import TraceError, printable
from .files import DAMAGED, TensorFile, TensorSlice, TraceFiles, names_in
from .index import INDEX_FILE, Index
from .rows import row_size
from .shards import STORED_DTYPES, Shard
from .trace import DTYPES, Parameter

Declared = tuple[str, tuple[int, ...]]
"""dtype and shape of a tensor."""


def check_headers(index: Index, files: TraceFiles, opened: Mapping[str, TensorFile]) -> None:
    """Raise `TraceError` unless every file holds exactly the tensors that `index` says, in shape and dtype."""
    known = {p.name: p for p in index.parameters}
    theta = {p.name: (p.dtype, p.shape) for p in index.parameters}
    _check_shared_out((index.initial, *index.added), files, opened, theta)
    sampled = {p.name: ("int64", p.shape) for p in index.parameters if p.sampled_from is not None}
    if sampled and not index.coordinates:
        where, name = files.where(INDEX_FILE), min(sampled)
        raise TraceError(where, "no file of coordinates", "where the elements of a sample lie", DAMAGED, name)
    _check_shared_out(index.coordinates, files, opened, sampled)
    for shard in index.gradients:
        rows = _check_rows_file(index, shard, files, opened, known)
        left_out = known.keys() - names_in(opened[shard.file])
        _check(
            shard,
            files,
            opened,
            {
                p.name: (p.dtype, (rows[p.name], row_size(p.shape)) if p.name in rows else (shard.n_steps, p.size))
                for p in index.parameters
                if not (p.name in left_out and index.absent(p.name, shard))
            },
        )
    if index.run is not None:
        not_yet = {name for shard in index.added for name in names_in(opened[shard.file])}
        for shard in index.run.after:
            not_yet -= names_in(opened[shard.file])
            left_out = {name for name in not_yet if index.absent(name, shard)}
            kept = {p.name: (p.dtype, (shard.n_steps, p.size)) for p in index.parameters if p.name not in left_out}
            _check(shard, files, opened, kept)
        for segment in index.run.segments:
            _check_state(segment.state, files, opened, known)


def _check_shared_out(
    shards: Sequence[Shard], files: TraceFiles, opened: Mapping[str, TensorFile], expected: Mapping[str, Declared]
) -> None:
    """Check that each of the expected tensors lies in one of `shards`; the first holds all that the others do not."""
    left = dict(expected)
    for shard in shards[1:]:
        _check(shard, files, opened, {name: left.pop(name) for name in names_in(opened[shard.file]) & left.keys()})
    if shards:
        _check(shards[0], files, opened, left)


def _check_rows_file(
    index: Index, shard: Shard, files: TraceFiles, opened: Mapping[str, TensorFile], known: Mapping[str, Parameter]
) -> dict[str, int]:
    """Check the rows beside `shard`, where it has some; return name of each sparse parameter -> its number of rows."""
    if shard.file not in index.rows:
        return {}
    rows = index.rows[shard.file]
    handle = opened[rows.file]
    counts: dict[str, int] = {}
    for name in sorted(names_in(handle)):
        shape = tuple(handle.get_slice(name).get_shape())
        if name not in known or not known[name].shape:
            _refuse(rows, files, name, "rows of something that is no parameter with rows", "rows of parameters")
        counts[name] = shape[0] if shape else 0
    _check(rows, files, opened, {name: ("int64", (count, 2)) for name, count in counts.items()})
    return counts


def _check_state(
    shard: Shard, files: TraceFiles, opened: Mapping[str, TensorFile], known: Mapping[str, Parameter]
) -> None:
    handle = opened[shard.file]
    dtypes = {STORED_DTYPES[dtype]: dtype for dtype in (*DTYPES, "int64")}
    for key in sorted(names_in(handle)):
        slot, slash, name = key.partition("/")
        tensor = handle.get_slice(key)
        if not slot or not slash or name not in known:
            _refuse(shard, files, key, "a tensor that is no state", "SLOT/NAME of a declared parameter")
        parameter = known[name]
        if slot == "theta":
            _check_tensor(shard, files, key, tensor, (parameter.dtype, parameter.shape))
        elif tensor.get_dtype() not in dtypes or tuple(tensor.get_shape()) not in (parameter.shape, ()):
            found = f"{tensor.get_dtype()} {printable(tuple(tensor.get_shape()))}"
            _refuse(shard, files, key, found, f"{parameter.shape} or a scalar of {', '.join(dtypes)}")


def _check(shard: Shard, files: TraceFiles, opened: Mapping[str, TensorFile], expected: Mapping[str, Declared]) -> None:
    """Raise `TraceError` unless the file holds exactly the expected tensors in the expected shapes and dtypes."""
    handle = opened[shard.file]
    for name in sorted(names_in(handle) ^ expected.keys()):
        state = "no such tensor" if name in expected else "a tensor that the index does not declare"
        _refuse(shard, files, name, state, "one tensor for each parameter of the index")
    for name, declared in expected.items():
        _check_tensor(shard, files, name, handle.get_slice(name), declared)


def _check_tensor(shard: Shard, files: TraceFiles, name: str, tensor: TensorSlice, declared: Declared) -> None:
    stored = (tensor.get_dtype(), tuple(tensor.get_shape()))
    dtype, shape = declared
    if stored != (STORED_DTYPES[dtype], shape):
        _refuse(shard, files, name, f"{stored[0]} {printable(stored[1])}", f"{STORED_DTYPES[dtype]} {shape}")


def _refuse(shard: Shard, files: TraceFiles, name: str, found: str, expected: str) -> None:
    raise TraceError(files.where(shard.file), found, expected, DAMAGED, name)
