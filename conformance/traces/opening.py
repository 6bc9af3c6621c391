"""Opening a trace: its index, the header of every file, and on demand every byte."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..addresses import is_address, shown
from .directory import DirectoryTrace
from .errors import TraceError, printable
from .files import DAMAGED, LocalFiles, TensorFile, TraceFiles
from .headers import check_headers
from .index import INDEX_FILE, MAX_INDEX_BYTES, parse_index
from .remote import RemoteFiles
from .shards import Shard
from .verifying import verify_trace


def open_trace(path: str | os.PathLike[str], *, verify: bool = True) -> DirectoryTrace:
    """The trace in the directory `path`, or below an address (`https://...`, `s3://...`) that fsspec knows.

    Always checked: the index, and of every shard that it is a regular file inside the directory, its size,
    its header, and the name, shape and dtype of every tensor. `verify` reads everything once more, in
    the memory of one tensor, and checks the SHA-256 of every shard and that every value is finite. Of a trace below an
    address nothing is read twice unless it no longer fits into the cache; where it was verified, what is read again
    has to be the same. Raises `TraceError`.
    """
    text = os.fspath(path)
    files = _files_below(text) if is_address(text) else _files_in(Path(text))
    size = files.size(INDEX_FILE)
    index_file = files.where(INDEX_FILE)
    if size > MAX_INDEX_BYTES:
        raise TraceError(
            index_file,
            f"{size} bytes",
            f"at most {MAX_INDEX_BYTES} bytes",
            "This is not the index of a trace; record or copy the trace again.",
        )
    raw = files.read(INDEX_FILE)
    index = parse_index(raw, index_file)
    opened = {shard.file: _open_shard(files, shard) for shard in index.shards}
    check_headers(index, files, opened)
    trace = DirectoryTrace(shown(text), index, hashlib.sha256(raw).hexdigest(), files, opened)
    if verify:
        verify_trace(trace)
    return trace


def _files_below(address: str) -> TraceFiles:
    if not address.startswith("file://"):
        return RemoteFiles(address)
    from urllib.parse import urlsplit
    from urllib.request import url2pathname  # 30 ms, for an address that hardly anyone gives

    return _files_in(Path(url2pathname(urlsplit(address).path)))


def _files_in(folder: Path) -> TraceFiles:
    for there, found in (
        (os.path.lexists(folder), "nothing of this name"),
        (folder.is_dir(), "a file"),
        (os.path.lexists(folder / INDEX_FILE), f"no {INDEX_FILE} in it"),
    ):
        if not there:
            raise TraceError(
                folder,
                found,
                f"a directory with an {INDEX_FILE}",
                "`optconform trace list` shows the traces that ship with the package.",
            )
    return LocalFiles(folder)


def _open_shard(files: TraceFiles, shard: Shard) -> TensorFile:
    size = files.size(shard.file)
    if size != shard.bytes:
        where = files.where(shard.file)
        raise TraceError(where, f"{printable(size)} bytes", f"{shard.bytes} bytes as in {INDEX_FILE}", DAMAGED)
    return files.tensors(shard.file)
