"""One worker process as the command sees it: it is started, given jobs, listened to, and ended."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...adapters.text import escape_control
from .limits import WARM_SECONDS
from .processes import KILL_PATIENCE, can_fork
from .start import PACKAGE
from .wire import Decoder, Garbled, Message, send

OUTPUT_BYTES = 1 << 16
"""Bytes of a target's output that are kept: the last ones."""
_START = Path(__file__).with_name("start.py")
_CHUNK = 1 << 16
_PATIENCE = 5.0
"""Seconds in which a worker whose connection is closed must end by itself."""
_MARGIN = 30.0
"""Seconds beyond the limit in which a warden must have ended its target; then it is ended itself."""
_NEEDED = "It needs numpy, ml_dtypes, safetensors, click and rich, and the framework of the target."

Events = queue.SimpleQueue[tuple["Connection", Message | None]]


class BadInterpreter(OSError):
    """The interpreter that is to run the workers cannot."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a worker is started with; workers of one kind are interchangeable."""

    python: str | None
    framework: str | None
    library: str | None
    """Top-level module that is imported once for all targets in it; never a file of the user's."""
    memory: int | None
    forked: bool
    """Whether the framework may be imported once and forked for every target."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that are set in its environment besides those of this process."""

    @property
    def interpreter(self) -> str:
        """The interpreter, which is this process's own where none was named."""
        return sys.executable if self.python is None else self.python


class Output:
    """The last bytes of what a process writes, up to a mark that it writes when a job is done."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept = bytearray()
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), _CHUNK):
            with self._changed:
                self._kept += chunk
                excess = max(0, len(self._kept) - OUTPUT_BYTES)
                self._dropped += excess
                del self._kept[:excess]
                self._changed.notify()
        with self._changed:
            self._closed = True
            self._changed.notify()

    def taken(self, mark: bytes = b"") -> str:
        """Return what was written up to `mark`, and forget it; without a mark, all that was written so far."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or mark in self._kept, _PATIENCE)
            before, _, rest = bytes(self._kept).partition(mark) if mark else (bytes(self._kept), b"", b"")
            dropped, self._dropped = self._dropped, 0
            self._kept[:] = rest
        text = before.decode("utf-8", "replace")
        return f"[{dropped} bytes before this were not kept]\n{text}" if dropped else text


class Connection:
    """A worker of one kind, and the queue to which its messages go: None for the last, when it has ended."""

    def __init__(self, kind: Kind, path: Message, events: Events) -> None:
        """Start it. Raises `BadInterpreter` where the interpreter cannot be started."""
        python = kind.interpreter
        pipe = subprocess.PIPE
        try:
            # A session of its own: what the terminal sends, such as the interrupt, is for the command alone.
            self.process = subprocess.Popen(
                [python, str(_START)],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, **dict(kind.environment)},
            )
        except OSError as error:
            raise BadInterpreter(f"{python!r} cannot be started as a Python interpreter ({error.strerror})") from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.kind = kind
        self.events = events
        self.ready = False
        self._ended = False
        self._ready_at = 0.0
        self.job: Message | None = None
        self._started = self._timeout = 0.0
        self.output = Output(self.process.stderr)
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        self._send(
            {
                "path": path,
                "framework": kind.framework,
                "library": kind.library,
                "memory": kind.memory,
                "forked": kind.forked,
            }
        )

    def _read(self, stream: IO[bytes]) -> None:
        decoder = Decoder()
        with contextlib.suppress(Garbled):
            while chunk := os.read(stream.fileno(), _CHUNK):
                for message in decoder.feed(chunk):
                    if message.get("ready"):
                        self._ready_at, self.ready = time.monotonic(), True
                    elif "ready" in message:  # it cannot be forked
                        self._ended = True
                    self.events.put((self, message))
        self._ended = True
        self.events.put((self, None))

    def _send(self, message: Message) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, of which the queue is told
            send(self.process.stdin.fileno(), message)

    def start(self, job: Message, timeout: float) -> None:
        """Give it a job; only one that has none takes it."""
        self.output.taken()
        self.job = job | {"timeout": timeout, "mark": secrets.token_hex(16)}
        self._started, self._timeout = time.monotonic(), timeout
        self._send(self.job)

    def lives(self) -> bool:
        """Whether it can still be given a job."""
        return not self._ended and self.process.poll() is None

    def seconds_left(self) -> float:
        """Return in how many seconds the command itself must end it, since nothing else has."""
        if not self.ready:
            allowed = WARM_SECONDS
        elif can_fork():
            allowed = self._timeout + _MARGIN + (0.0 if self.kind.forked else WARM_SECONDS)
        else:
            allowed = self._timeout
        return max(self._started, self._ready_at) + allowed - time.monotonic()

    def seconds_used(self) -> float:
        """Return for how many seconds it has had its job."""
        return time.monotonic() - max(self._started, self._ready_at)

    def may_go_on(self, end: Message) -> bool:
        """Whether it can take another job after one that ended as `end` says: a warden always can."""
        return can_fork() or bool(end.get("unchanged"))

    def finish(self) -> str:
        """Take back the job that is done and return what was printed in it."""
        assert self.job is not None
        mark, self.job = self.job["mark"].encode("ascii"), None
        return self.output.taken(mark)

    def end(self) -> int:
        """End the process and all below it; return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(0.0 if self.job is not None and not can_fork() else _PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
        status = self.process.wait()
        for thread in (self._reader, self.output.thread):
            thread.join(_PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def unusable(self) -> BadInterpreter:
        """Return the error for one that has ended before it could take a job, with what it said last."""
        why = self.output.taken().strip().rpartition("\n")[2] or "it says nothing"
        return BadInterpreter(f"{self.kind.interpreter!r} cannot run {PACKAGE}: {escape_control(why)}. {_NEEDED}")

    def _kill(self) -> None:
        if can_fork():
            for number in (signal.SIGTERM, signal.SIGCONT):  # a target may have stopped it
                self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_PATIENCE + KILL_PATIENCE)
                return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()


def end_all(connections: Iterable[Connection]) -> None:
    """End several at once."""
    listed = list(connections)
    for connection in listed:
        assert connection.process.stdin is not None
        connection.process.stdin.close()
    for connection in listed:
        connection.end()
