"""Where the files of a trace lie, and how they are reached: a directory of this machine, or elsewhere."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open

from .errors import TraceError, printable

DAMAGED = "The trace is damaged or was edited; copy or record it again."


class TensorSlice(Protocol):
    """A tensor in a file, of which parts are read."""

    def get_dtype(self) -> str:
        """Its dtype as a safetensors header writes it."""

    def get_shape(self) -> list[int]:
        """Its shape."""

    def __getitem__(self, at: Any) -> Any:
        """Rows `[first:last]`, or rows and columns `[first:last, start:stop]`, as a fresh array."""


class TensorFile(Protocol):
    """A safetensors file whose header has been read; its values are read when they are asked for."""

    def keys(self) -> Collection[str]:
        """The names of its tensors."""

    def get_slice(self, name: str) -> TensorSlice:
        """One tensor, to be read in parts."""

    def get_tensor(self, name: str) -> Any:
        """One whole tensor as a fresh array."""


def names_in(file: TensorFile) -> frozenset[str]:
    """The names of the tensors in `file`."""
    return frozenset(file.keys())


class TraceFiles(Protocol):
    """The files of one trace. Every method raises `TraceError` where a file is not there or not what it should be."""

    def where(self, name: str) -> object:
        """What stands for the file in messages."""

    def size(self, name: str) -> int:
        """Its bytes."""

    def read(self, name: str) -> bytes:
        """All of a small file."""

    def digest(self, name: str) -> str:
        """The SHA-256 of all of it, read in pieces, as 64 hexadecimal digits."""

    def tensors(self, name: str) -> TensorFile:
        """The file as safetensors."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files in a directory of this machine: regular ones only, since a link could lead out and a pipe could hang."""

    folder: Path

    def where(self, name: str) -> Path:
        """The file's path."""
        return self.folder / name

    def size(self, name: str) -> int:
        """Its bytes."""
        file = self.folder / name
        try:
            status = file.lstat()
        except OSError as error:
            raise TraceError(file, f"no readable file ({error.strerror})", "a regular file", DAMAGED) from error
        if not stat.S_ISREG(status.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "something that is not a regular file"
            raise TraceError(
                file,
                what,
                "a regular file inside the directory of the trace",
                "Put the file itself there: a trace reads nothing outside its own directory.",
            )
        return status.st_size

    def read(self, name: str) -> bytes:
        """All of it."""
        return (self.folder / name).read_bytes()

    def digest(self, name: str) -> str:
        """Its SHA-256."""
        with (self.folder / name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def tensors(self, name: str) -> TensorFile:
        """The file, mapped into memory: replacing it later changes nothing that is read."""
        file = self.folder / name
        try:
            opened: TensorFile = safe_open(file, framework="np")
        except (SafetensorError, OSError, ValueError) as error:
            raise TraceError(file, f"no valid safetensors file: {printable(error)}", "one", DAMAGED) from error
        return opened
