"""The process above a warden: when the warden or the command is no more, it ends all that is left.

A target can kill or stop its parent, which is the warden. What it has started, in sessions of its own too, then
belongs to this process, which runs nothing of anybody else's and is not the parent of any target. Only a target that
goes up two processes and kills this one too can leave something behind; it could kill the command as well.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType
from typing import NoReturn

from .limits import no_core_dumps
from .processes import adopt_orphans, die_with_parent, kill_descendants


class _ToldToEnd(Exception):
    """The command has sent SIGTERM."""


def stay_above() -> None:
    """Return in a process below this one, in a session of its own; this one ends with it, and with its status.

    It ends too, with all that is below, when the process that has started it does, or tells it to by SIGTERM.
    """
    guardian, command = os.getpid(), os.getppid()
    adopt_orphans()
    below = os.fork()
    if below == 0:
        os.setsid()
        die_with_parent(guardian)
        return
    os.closerange(0, 3)  # the connection is between the command and the process below
    _guard(below, command)


def _guard(below: int, command: int) -> NoReturn:
    status = -signal.SIGKILL
    try:
        signal.signal(signal.SIGTERM, _end)
        poll = select.poll()
        for pid in (below, command):
            poll.register(os.pidfd_open(pid), select.POLLIN)
        poll.poll()
    except (_ToldToEnd, ProcessLookupError):  # of the latter, the process below learns by the connection
        pass
    finally:
        kill_descendants()
        with contextlib.suppress(ChildProcessError):
            status = os.waitstatus_to_exitcode(os.waitpid(below, 0)[1])
        if status < 0:
            no_core_dumps()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
            with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        os._exit(abs(status))


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise _ToldToEnd
