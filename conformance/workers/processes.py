"""Processes below this one on Linux: found, counted and ended, whatever group or session they moved to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
"""PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of <linux/prctl.h>."""
_PROC = Path("/proc")
KILL_PATIENCE = 10.0
"""Seconds in which what was killed must be gone; a process that waits for a dead disk may stay longer."""
_PAUSE = 0.002


def can_fork() -> bool:
    """Whether processes here can be forked and followed: it takes Linux's /proc, and Linux 5.3 for pidfd_open."""
    if not (hasattr(os, "fork") and hasattr(os, "pidfd_open") and (_PROC / "self" / "task").is_dir()):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def threads() -> int:
    """Return the number of threads of this process, those of native libraries included."""
    return len(list((_PROC / "self" / "task").iterdir()))


def adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own, so that none escapes."""
    _control(_SET_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """End this process by SIGKILL when `parent` does, also if that is already so."""
    _control(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _control(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def descendants() -> list[int]:
    """Return the living processes below this one, parents before children."""
    below: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The command's name is in parentheses and may hold anything, so fields count from the last one.
                state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in ("Z", "X"):
                    below.setdefault(int(parent), []).append(int(entry.name))
    found = list(below.get(os.getpid(), ()))
    for pid in found:
        found += below.get(pid, ())
    return found


def tasks_below() -> int:
    """Return how many processes and threads there are below this one."""
    total = 0
    for pid in descendants():
        with contextlib.suppress(OSError):
            total += (_PROC / str(pid) / "task").stat().st_nlink - 2
    return total


def kill_descendants(spare: Collection[int] = ()) -> None:
    """Kill every process below this one but those in `spare`, and wait until they are gone.

    They are stopped before they are killed: one that forks faster than it is found would never end.
    """
    deadline = time.monotonic() + KILL_PATIENCE
    stopped: set[int] = set()
    while (alive := [pid for pid in descendants() if pid not in spare]) and time.monotonic() < deadline:
        new = [pid for pid in alive if pid not in stopped]
        for pid in new or alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP if new else signal.SIGKILL)
        stopped.update(new)
        if not new:
            time.sleep(_PAUSE)
    for pid in stopped:
        with contextlib.suppress(ChildProcessError):  # somebody else's child, which went with its parent
            os.waitpid(pid, os.WNOHANG)
