"""The files of a trace in object storage or behind a web server, read by ranges through fsspec.

Any address that fsspec knows will do (`https://`, `s3://`, `gs://`, `memory://`, ...); credentials are found as fsspec
finds them. No message holds one, nor an address' query, which may be a token. Nothing is written and no link
is looked into: the names of a trace's files are plain, and the store decides what lies under them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from ..addresses import below, shown
from .blocks import BLOCK_BYTES, Blocks
from .errors import TraceError, printable
from .files import DAMAGED, TensorFile
from .remote_tensors import read_header

CONNECT_SECONDS = 30.0
READ_SECONDS = 60.0
"""How long a server may stay silent; there is no limit to how long a file may take that keeps coming."""
ATTEMPTS = 3
PAUSE_SECONDS = 0.5
"""A request is made again after a pause, then after twice that: whoever serves 20 GB drops a connection some time."""

INSTALL = "Install it: python -m pip install 'optconform[remote]'."
_TRY_AGAIN = "Check the address and the connection, or copy the trace to a directory and give that."
_REMEDIES = {
    401: "Give the credentials as fsspec takes them: in its configuration, or in the address.",
    403: "Give the credentials as fsspec takes them: in its configuration, or in the address.",
    404: "Give the address of the folder that holds index.json and the shards beside it.",
}
_WEB = ("http://", "https://")

_Result = TypeVar("_Result")


class RemoteFiles:
    """The `TraceFiles` below one address. A process that is forked off opens connections of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._process = os.getpid()
        self._store: tuple[Any, str] | None = None
        self._streams: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._blocks = Blocks(self._fetch, self._changed)

    def where(self, name: str) -> str:
        """The file's address, without what may be secret."""
        return below(shown(self._address), name)

    def size(self, name: str) -> int:
        """Its bytes, asked for once."""
        if name not in self._sizes:
            self._sizes[name] = self._tried(name, lambda: self._ask_size(name))
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """All of it."""
        return bytes(self._blocks.read(name, self.size(name), 0, self.size(name)))

    def digest(self, name: str) -> str:
        """Its SHA-256. Whatever is read of the file from then on has to be what was digested."""
        return self._blocks.digest(name, self.size(name))

    def tensors(self, name: str) -> TensorFile:
        """The file's header; values are fetched when they are asked for."""
        size = self.size(name)
        return read_header(size, lambda start, stop: self._blocks.read(name, size, start, stop), self.where(name))

    def _ask_size(self, name: str) -> int:
        store, address = self._opened_store()
        facts = store.info(below(address, name))
        size = facts.get("size")
        if facts.get("type", "file") != "file" or not isinstance(size, int):
            kind = printable(facts.get("type"))
            found = "a file of unknown size" if kind == "file" else f"a {kind}"
            raise TraceError(self.where(name), found, "a file that says how many bytes it has", DAMAGED)
        if facts.get("partial") is False and size > BLOCK_BYTES:
            self._refuse_whole(name)
        return size

    def _fetch(self, name: str, start: int, stop: int) -> bytes:
        data = self._tried(name, lambda: self._read_range(name, start, stop))
        if len(data) != stop - start:
            raise TraceError(
                self.where(name),
                f"{len(data)} bytes where {stop - start} were asked for, from byte {start} on",
                "exactly these",
                "The file was replaced or the answer cut off; try again, or copy the trace to a directory.",
            )
        return data

    def _read_range(self, name: str, start: int, stop: int) -> bytes:
        stream = self._streams.get(name)
        if stream is None or self._process != os.getpid():
            store, address = self._opened_store()
            known = {"size": self.size(name)} if address.startswith(_WEB) else {}  # or it would ask again
            stream = self._streams[name] = store.open(below(address, name), "rb", cache_type="none", **known)
        stream.seek(start)
        data: bytes = stream.read(stop - start)
        return data

    def _opened_store(self) -> tuple[Any, str]:
        """The file system and what it calls the address. Threads and connections do not outlive a fork."""
        if self._process != os.getpid():
            self._store, self._streams, self._process = None, {}, os.getpid()
        if self._store is None:
            self._store = _open_store(self._address)
        return self._store

    def _tried(self, name: str, action: Callable[[], _Result]) -> _Result:
        """The result of `action`, made again where it failed and might do better."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except TraceError:
                raise
            except Exception as error:  # every store has errors of its own
                if attempt == ATTEMPTS or _is_final(error):
                    self._refuse(name, error)
                with contextlib.suppress(KeyError):
                    del self._streams[name]
                time.sleep(PAUSE_SECONDS * attempt)
        raise AssertionError("an attempt returns or raises")

    def _refuse(self, name: str, error: Exception) -> NoReturn:
        if self._address.startswith(_WEB) and isinstance(error, ValueError) and not _status(error):
            self._refuse_whole(name)
        found, remedy = _explained(error)
        # The original error may hold the whole address, so that it is left out of the traceback.
        raise TraceError(self.where(name), found, "a file that can be read", remedy) from None

    def _refuse_whole(self, name: str) -> NoReturn:
        raise TraceError(
            self.where(name),
            "a server that sends whole files only",
            f"one that answers requests for a range of bytes (HTTP status 206) in files above {BLOCK_BYTES} bytes",
            "Serve the trace with one that does, as object stores and nginx do, or copy it to a directory.",
        ) from None

    def _changed(self, name: str, start: int, stop: int) -> TraceError:
        return TraceError(
            self.where(name),
            f"other bytes from {start} to {stop - 1} than when it was verified",
            "a trace that stays as it is while it is read",
            "Run this again when nothing writes there any more.",
        )


def _open_store(address: str) -> tuple[Any, str]:
    """The fsspec file system of `address`, and the address as it is called there."""
    try:
        import fsspec
    except ImportError:
        raise TraceError(shown(address), "no package fsspec", "fsspec to read it with", INSTALL) from None
    options: dict[str, Any] = {}
    try:
        if address.startswith(_WEB):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
            options["client_kwargs"] = {"timeout": timeout, "trust_env": True}  # proxies, as everything else has them
        store, path = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        found = f"no package to read it with ({printable(error)})"
        raise TraceError(shown(address), found, "what fsspec reads this kind of address with", INSTALL) from None
    except ValueError:
        scheme = printable(address.partition("://")[0])
        known = "http, https, s3, gs, ... (Python: fsspec.available_protocols())"
        raise TraceError(shown(address), f"no scheme '{scheme}'", known, "Check the spelling.") from None
    return store, path


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error came from."""
    found = [getattr(each, "status", None) for each in _chain(error)]
    return next((status for status in found if isinstance(status, int)), None)


def _is_final(error: Exception) -> bool:
    """Whether asking again makes no sense: the server has answered, and it has nothing to do with its load."""
    status = _status(error)
    if status is not None:
        return status < 500 and status not in (408, 425, 429)
    return isinstance(list(_chain(error))[-1], (FileNotFoundError, PermissionError, ValueError, TypeError))


def _explained(error: Exception) -> tuple[str, str]:
    """What went wrong and what to do. Never the text of an error, which may hold the whole address."""
    status = _status(error)
    if status is not None:
        return f"HTTP status {status}", _REMEDIES.get(status, _TRY_AGAIN)
    causes = list(_chain(error))
    if any(isinstance(each, TimeoutError) for each in causes):
        return "no answer in time", _TRY_AGAIN
    if isinstance(causes[-1], FileNotFoundError):
        return "no such file", _REMEDIES[404]
    if isinstance(causes[-1], PermissionError):
        return "no permission", _REMEDIES[403]
    reasons = [each.strerror for each in causes if isinstance(each, OSError) and each.strerror]
    return (printable(reasons[-1]) if reasons else f"no answer ({type(causes[-1]).__name__})"), _TRY_AGAIN
