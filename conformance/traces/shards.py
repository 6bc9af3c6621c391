"""The files of a trace directory besides its index: what the index says of each, and how one is written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import TraceError, printable
from .fields import COPY_AGAIN, Fields
from .trace import Array

STORED_DTYPES: Mapping[str, str] = {
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "bfloat16": "BF16",
    "float16": "F16",
}
"""Name of a dtype -> its name in a safetensors header, in the order in which the format lays tensors out."""

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
_PARTIAL_NAME = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9._-]*\.partial")
_LEAST_BESIDE = 2**20
"""Bytes from which on a thread pays."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file: plain name, size in bytes, SHA-256, and the steps it holds (0..0 where it holds none)."""

    file: str
    bytes: int
    sha256: str
    first_step: int = 0
    last_step: int = 0

    @property
    def n_steps(self) -> int:
        """Rows of each tensor in a shard that holds steps."""
        return self.last_step - self.first_step + 1


def is_shard_name(name: str) -> bool:
    """Whether a file called `name` can be a shard."""
    return _SHARD_NAME.fullmatch(name) is not None


def partial_name(name: str) -> str:
    """The name under which the file `name` of a trace is written until it is complete."""
    return f".{name}.partial"


def is_partial_name(name: str) -> bool:
    """Whether a file called `name` is one that was never finished."""
    return _PARTIAL_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written: dtype (a key of `STORED_DTYPES`), shape, and its values in C order, piece by piece.

    The pieces are contiguous arrays of that dtype which together hold as many values as the shape says; they are
    written one after the other, so that rows need not be laid side by side in memory first.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: Sequence[Array]

    @property
    def bytes(self) -> int:
        """Bytes of the values."""
        return sum(piece.nbytes for piece in self.pieces)


def write_shard(file: Path, tensors: Mapping[str, Tensor], first_step: int = 0, last_step: int = 0) -> Shard:
    """Write `tensors` to `file` in the safetensors format, flush it to the disk, and return its entry in the index.

    The bytes are those that the safetensors library writes: an 8-byte length, a JSON header padded with blanks to a
    multiple of 8, then the values, wider dtypes first and names in order. Unlike the library this holds no second
    copy of the values, and computes the digest beside the writing.
    Raises OSError when the disk refuses.
    """
    ordered = sorted(tensors.items(), key=lambda item: (list(STORED_DTYPES).index(item[1].dtype), item[0].encode()))
    header: dict[str, Any] = {}
    offset = 0
    for name, tensor in ordered:
        header[name] = {
            "dtype": STORED_DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset := offset + tensor.bytes],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    parts = [len(text).to_bytes(8, "little"), text, *_values(tensor for _, tensor in ordered)]
    digest = _Digest(parts)
    with file.open("wb") as stream:
        for part in parts:
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())
    return Shard(file.name, 8 + len(text) + offset, digest.result(), first_step, last_step)


def flush_directory(folder: Path) -> None:
    """Make sure the disk holds the names in `folder`."""
    if os.name == "nt":  # Windows opens no directories and needs no flush of them
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Digest:
    """The SHA-256 of `parts`, found in a thread beside what goes on: of 100 MB it takes 55 ms, as writing them does.

    Not of little, and not where the interpreter is ending and starts no thread any more: then it is found in `result`.
    """

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self._parts, self._digest = parts, hashlib.sha256()
        self._thread: threading.Thread | None = None
        if sum(map(len, parts)) >= _LEAST_BESIDE:
            thread = threading.Thread(target=self._find, daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _find(self) -> None:
        for part in self._parts:
            self._digest.update(part)

    def result(self) -> str:
        """64 hexadecimal digits."""
        if self._thread is None:
            self._find()
        else:
            self._thread.join()
        return self._digest.hexdigest()


def _values(tensors: Iterable[Tensor]) -> Iterable[bytes | memoryview]:
    for tensor in tensors:
        for piece in tensor.pieces:
            if piece.size:
                little = piece if sys.byteorder == "little" else piece.byteswap()
                yield np.ascontiguousarray(little).reshape(-1).view(np.uint8).data


def tensor_of(array: Array) -> Tensor:
    """The whole of `array` as a tensor to be written."""
    return Tensor(array.dtype.name, array.shape, (array,))


def format_shard(shard: Shard) -> dict[str, Any]:
    """`shard` as its entry in the index."""
    entry: dict[str, Any] = {"file": shard.file, "bytes": shard.bytes, "sha256": shard.sha256}
    return entry | ({"first_step": shard.first_step, "last_step": shard.last_step} if shard.first_step else {})


def parse_shard(fields: Fields, *, steps: bool = False) -> Shard:
    """The shard in an entry of the index, with the steps it holds where it has some."""
    shard = Shard(
        fields.text("file"),
        fields.natural("bytes"),
        fields.text("sha256"),
        *((fields.natural("first_step"), fields.natural("last_step")) if steps else ()),
    )
    if not is_shard_name(shard.file):
        raise TraceError(
            fields.file,
            f"the file name '{printable(shard.file)}' in {fields.where}",
            "a plain name ending in .safetensors: a trace reads nothing outside its own directory",
            COPY_AGAIN,
        )
    if not _SHA256.fullmatch(shard.sha256):
        raise TraceError(
            fields.file,
            f"'{printable(shard.sha256)}' as SHA-256 of '{shard.file}'",
            "64 lower-case hexadecimal digits",
            COPY_AGAIN,
        )
    return shard


def check_files(shards: Iterable[Shard], file: object) -> None:
    """Raise `TraceError` where one file serves twice."""
    seen: set[str] = set()
    for shard in shards:
        if shard.file in seen:
            raise TraceError(file, f"the shard '{shard.file}' twice", "every file once", COPY_AGAIN)
        seen.add(shard.file)


def check_coverage(shards: Sequence[Shard], n_steps: int, file: object) -> None:
    """Raise `TraceError` unless `shards` hold the steps 1..n_steps in order, each once."""
    due = 1
    for shard in shards:
        if shard.first_step != due or not due <= shard.last_step <= n_steps:
            raise TraceError(
                file,
                f"steps {shard.first_step}..{shard.last_step} in '{shard.file}' where step {due} is due",
                f"shards in order without gap or overlap over steps 1..{n_steps}",
                COPY_AGAIN,
            )
        due = shard.last_step + 1
    if due != n_steps + 1:
        raise TraceError(file, f"no shard for step {due}", f"shards over steps 1..{n_steps}", COPY_AGAIN)
