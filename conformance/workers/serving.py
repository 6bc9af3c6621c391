"""A worker process: takes jobs from its standard input, answers on its standard output.

Where processes can be forked and followed, jobs run in a process below this one, which then is their warden: see
there. Elsewhere they run in this very process, and the command ends it when it is over its time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from .guardian import stay_above
from .import_path import use_import_path
from .limits import ONE_THREAD, limit_memory
from .processes import can_fork
from .wire import Message, receive, send


def serve() -> None:
    """Serve the command until it closes the connection."""
    if can_fork():
        stay_above()
    jobs, answers = _private_channel()
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    messages = receive(jobs)
    setup = next(messages, None)
    if setup is not None:
        use_import_path(setup["path"])
        if can_fork():
            from .warden import Warden

            Warden(setup, messages, jobs, answers).guard()
        else:
            _serve_here(setup, messages, answers)
    os._exit(0)  # the target may have left threads, or functions to be called at exit


def _private_channel() -> tuple[int, int]:
    """Move the connection away from descriptors 0 and 1: what a target reads is empty, what it prints is output."""
    jobs, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return jobs, answers


def _serve_here(setup: Message, messages: Iterator[Message], answers: int) -> None:
    from .worker import Worker

    def tell(message: Message) -> None:
        send(answers, message)

    limit_memory(setup["memory"])
    worker = Worker(setup["framework"], setup["library"])
    tell({"ready": True})
    for job in messages:
        unchanged = worker.run(job, tell)
        os.write(2, job["mark"].encode("ascii"))
        tell({"end": True, "unchanged": unchanged})
