"""The process between the command and a target: it ends what is over its time, and all that the target started.

The warden of a framework that may be forked imports it and forks for every job, which takes 10 ms where the import
takes seconds. Other frameworks start threads, and a fork keeps only one of them: there, the process below imports
the framework, runs one job after another, and is replaced when a target has failed or has changed it.

All that is below the warden, whatever it did, ends with the job. A target that ends its parent ends the warden, and
with it itself; what it had started then is ended by the process above: see `guardian`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from .limits import WARM_SECONDS, limit_memory, no_core_dumps
from .processes import adopt_orphans, die_with_parent, kill_descendants, tasks_below, threads
from .wire import Decoder, Garbled, Message, receive, send
from .worker import Worker, flush_output

MAX_TASKS = max(1024, 16 * (os.cpu_count() or 1))
"""Processes and threads of one target. The system's own limit counts everything that the user runs."""
_COUNT_INTERVAL = 0.1
_COUNT_SHARE = 20
"""Counting takes 1.4 ms where 85 processes run; where it takes long, it is done less often."""
_CHUNK = 1 << 16
_TOLD = frozenset({"step", "result", "compared", "failed", "error", "answer"})
"""What messages of a worker hold, one of them each, besides those to its warden."""


@dataclass(slots=True)
class Ward:
    """The process in which jobs run."""

    pid: int
    descriptor: int
    """Readable when the process has ended."""
    jobs: int
    answers: int
    decoder: Decoder = field(default_factory=Decoder)
    ready: bool = False

    def status(self) -> int | None:
        """Wait for a process that has been killed or has ended; return its exit status, negative for a signal."""
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return None

    def close(self) -> None:
        """Close what leads to the process."""
        for descriptor in (self.descriptor, self.jobs, self.answers):
            os.close(descriptor)


class Warden:
    """Serves one command, whose jobs come as messages over one descriptor; answers go over the other."""

    def __init__(self, setup: Message, messages: Iterator[Message], jobs: int, answers: int) -> None:
        self._setup, self._messages, self._jobs, self._answers = setup, messages, jobs, answers
        self._ward: Ward | None = None
        self._warm: Worker | None = None

    def guard(self) -> None:
        """Run jobs until the command closes the connection or is no more."""
        adopt_orphans()
        if self._setup["forked"]:
            self._warm = self._new_worker()
            if threads() > 1:
                self._tell({"ready": False})
                return
            gc.freeze()  # otherwise the first collection in a fork copies every page of the framework
        else:
            self._ward = self._fork()
        self._tell({"ready": True})
        for job in self._messages:
            self._tell(self._attend(job))
        kill_descendants()

    def _tell(self, message: Message) -> None:
        try:
            send(self._answers, message)
        except OSError:  # the command is no more
            kill_descendants()
            os._exit(1)

    def _new_worker(self) -> Worker:
        return Worker(self._setup["framework"], self._setup["library"])

    def _attend(self, job: Message) -> Message:
        """Run one job and return how it ended, with everything that it left ended too."""
        if self._warm is not None and "traces" in job:
            with contextlib.suppress(Exception):  # which the job will raise again, and tell
                self._warm.open_traces(job)
        ward = self._ward
        if ward is None or _has_ended(ward):
            self._discard()
            ward = self._ward = self._fork()
        with contextlib.suppress(BrokenPipeError):  # then it has just died, which is seen next
            send(ward.jobs, job)
        end = self._watch(ward, job["timeout"])
        if self._warm is None and end.get("unchanged"):
            kill_descendants(spare={ward.pid})
        else:
            kill_descendants()
            end["status"] = self._discard()
        os.write(2, job["mark"].encode("ascii"))
        return end

    def _watch(self, ward: Ward, timeout: float) -> Message:
        """Pass on what the process tells until it has done the job, has died or is over its time."""
        poll = select.poll()
        for descriptor in (self._jobs, ward.descriptor, ward.answers):
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + (timeout if ward.ready else WARM_SECONDS)
        following = time.monotonic() + _COUNT_INTERVAL
        while (now := time.monotonic()) < deadline:
            if now >= following:
                if (tasks := tasks_below()) > MAX_TASKS:
                    return {"end": True, "tasks": tasks}
                took = time.monotonic() - now
                following = now + max(_COUNT_INTERVAL, _COUNT_SHARE * took)
            seen = {each for each, _ in poll.poll(1000 * max(0.0, min(deadline, following) - time.monotonic()))}
            if self._jobs in seen:  # closed: there is nothing to be said during a job
                kill_descendants()
                os._exit(0)
            if ward.answers in seen:
                chunk = os.read(ward.answers, _CHUNK)
                if not chunk:
                    poll.unregister(ward.answers)
                try:
                    for message in ward.decoder.feed(chunk):
                        if "ready" in message and not ward.ready:
                            ward.ready = True
                            deadline = time.monotonic() + timeout
                        elif "end" in message:
                            return {"end": True, "unchanged": bool(message.get("unchanged"))}
                        elif _TOLD.isdisjoint(message):
                            raise Garbled(f"a message with {', '.join(message) or 'nothing in it'}")
                        else:
                            self._tell(message)
                except Garbled as error:
                    return {"end": True, "garbled": str(error)}
            elif ward.descriptor in seen:
                return {"end": True, "warm": ward.ready}
        return {"end": True, "timed_out": True, "warm": ward.ready}

    def _discard(self) -> int | None:
        """Forget the process that runs jobs, which must have ended; return its exit status."""
        ward, self._ward = self._ward, None
        if ward is None:
            return None
        status = ward.status()
        ward.close()
        return status

    def _fork(self) -> Ward:
        jobs, to_ward = os.pipe()
        from_ward, answers = os.pipe()
        warden = os.getpid()
        flush_output()  # or the process would write it again
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                die_with_parent(warden)
                for descriptor in (to_ward, from_ward, self._jobs, self._answers):
                    os.close(descriptor)
                self._work(jobs, answers)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(jobs)
        os.close(answers)
        return Ward(pid, os.pidfd_open(pid), to_ward, from_ward)

    def _work(self, jobs: int, answers: int) -> NoReturn:
        """Run the jobs that come: one if the framework is warm already, all otherwise."""

        def tell(message: Message) -> None:
            send(answers, message)

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        no_core_dumps()
        limit_memory(self._setup["memory"])
        worker = self._warm or self._new_worker()
        tell({"ready": True})
        for job in receive(jobs):
            unchanged = worker.run(job, tell)
            tell({"end": True, "unchanged": unchanged})
            if self._warm is not None:
                break
        os._exit(0)


def _has_ended(ward: Ward) -> bool:
    return ward.ready and bool(select.select([ward.descriptor], [], [], 0)[0])
