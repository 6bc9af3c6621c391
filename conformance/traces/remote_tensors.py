"""A safetensors file that is read by ranges: its header, looked at with suspicion, and tensors or parts of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import TraceError, printable
from .fields import Fields, decode
from .files import DAMAGED
from .shards import STORED_DTYPES
from .trace import DTYPES, MAX_DIMENSIONS, Array

MAX_HEADER_BYTES = 2**26
"""A header of a hundred thousand tensors has some 15 MB."""

Read = Callable[[int, int], bytearray]
"""First byte, byte behind the last -> these bytes of the file."""

_DTYPES: Mapping[str, np.dtype[Any]] = {
    stored: np.dtype(np.int64) if name == "int64" else DTYPES[name] for name, stored in STORED_DTYPES.items()
}


@dataclass(frozen=True, slots=True)
class RemoteTensor:
    """One tensor: what the header says of it, and where in the file it begins."""

    stored_dtype: str
    shape: tuple[int, ...]
    begin: int
    read: Read

    def get_dtype(self) -> str:
        """Its dtype as the header writes it."""
        return self.stored_dtype

    def get_shape(self) -> list[int]:
        """Its shape."""
        return list(self.shape)

    def __getitem__(self, at: slice | tuple[slice, slice]) -> Array:
        """Rows, or rows and columns of a matrix: one range, or one for each row."""
        rows, columns = at if isinstance(at, tuple) else (at, slice(None))
        first, last, _ = rows.indices(self.shape[0])
        width = math.prod(self.shape[1:])
        start, stop, _ = columns.indices(width)
        if (start, stop) == (0, width):
            return self.values(first * width, last * width).reshape(last - first, *self.shape[1:])
        found: Array = np.empty((last - first, stop - start), _DTYPES[self.stored_dtype])
        for row in range(first, last):
            found[row - first] = self.values(row * width + start, row * width + stop)
        return found

    def values(self, start: int, stop: int) -> Array:
        """Elements `start` .. `stop` - 1 in C order, as a fresh array."""
        dtype = _DTYPES[self.stored_dtype]
        raw = self.read(self.begin + start * dtype.itemsize, self.begin + stop * dtype.itemsize)
        found: Array = np.frombuffer(raw, dtype)
        return found if sys.byteorder == "little" else found.byteswap()


@dataclass(frozen=True, slots=True)
class RemoteTensorFile:
    """The tensors of one file by name."""

    tensors: Mapping[str, RemoteTensor]

    def keys(self) -> Collection[str]:
        """The names of its tensors."""
        return self.tensors.keys()

    def get_slice(self, name: str) -> RemoteTensor:
        """One tensor, to be read in parts."""
        return self.tensors[name]

    def get_tensor(self, name: str) -> Array:
        """One whole tensor as a fresh array."""
        tensor = self.tensors[name]
        return tensor.values(0, math.prod(tensor.shape)).reshape(tensor.shape)


def read_header(size: int, read: Read, file: object) -> RemoteTensorFile:
    """The tensors of a file of `size` bytes. Raises `TraceError` for a header that is not one of just this file.

    The format (https://github.com/huggingface/safetensors#format): 8 bytes with the header's length, little-endian;
    the header in JSON; the values, each tensor's at its `data_offsets` behind the header, without gap or overlap.
    """
    length = int.from_bytes(read(0, 8), "little") if size >= 8 else 0
    begin = 8 + length
    if size < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        found = f"a header of {length} bytes" if size >= 8 else "no header"
        _refuse(file, f"{found} in a file of {size}", f"one of at most {MAX_HEADER_BYTES} bytes inside the file")
    header = Fields(decode(bytes(read(8, begin)), file), "the header", file)
    tensors: dict[str, RemoteTensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name in header.values:
        if name == "__metadata__":
            continue
        fields = header.object(name)
        dtype, shape, offsets = fields.text("dtype"), fields.integers("shape", name), fields.integers("data_offsets")
        if dtype not in _DTYPES:
            _refuse(file, f"dtype '{printable(dtype)}'", f"one of {', '.join(_DTYPES)}", name)
        if len(offsets) != 2 or len(shape) > MAX_DIMENSIONS or not all(0 <= at < 2**63 for at in (*shape, *offsets)):
            _refuse(file, f"shape {printable(shape)} at {printable(offsets)}", "a shape, and two offsets", name)
        first, last = offsets
        count = math.prod(shape) * _DTYPES[dtype].itemsize
        if last - first != count:
            _refuse(
                file, f"{printable(last - first)} bytes", f"{printable(count)} for {dtype} {printable(shape)}", name
            )
        spans.append((first, last, name))
        tensors[name] = RemoteTensor(dtype, shape, begin + first, read)
    due = 0
    for first, last, name in sorted(spans):
        if first != due:
            _refuse(file, f"values from byte {printable(first)} on", f"from byte {due} on, where the last end", name)
        due = last
    if due != size - begin:
        _refuse(file, f"values of {printable(due)} bytes", f"{size - begin} bytes, as the file has behind its header")
    return RemoteTensorFile(tensors)


def _refuse(file: object, found: str, expected: str, tensor: str | None = None) -> None:
    raise TraceError(file, found, expected, DAMAGED, tensor)
