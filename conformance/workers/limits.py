"""What a worker may use: time, memory, threads; and on which systems memory can be limited at all."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..result import Result

DEFAULT_TIMEOUT = 600.0
"""Seconds; the slowest audit of a built-in optimizer takes 5, a replay of 10,000 steps of a small trace 20."""

MOST_MEMORY = 1e9
"""Gigabytes that can be asked for; the system counts bytes in 64 bits."""

WARM_SECONDS = 300.0
"""Seconds for importing a framework, which takes 2 to 6 and does not count as the target's; beyond, it hangs."""

ONE_THREAD: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    )
)
"""Environment of a worker, unless it is set: the tensors of traces are small, and only one thread may fork."""


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What every target may use, and which interpreter runs it."""

    timeout: float = DEFAULT_TIMEOUT
    """Seconds for one target, from its import to the end of its audit."""
    memory: float | None = None
    """Gigabytes (1e9 bytes) of private writable memory of one target; half of this machine's where None."""
    python: str | None = None
    """Another interpreter, which needs this package's core requirements and the framework; this one where None."""

    @property
    def bytes_allowed(self) -> int | None:
        """The limit on memory in bytes; None where this system cannot keep one."""
        if not memory_can_be_limited():
            return None
        return machine_memory() // 2 if self.memory is None else int(self.memory * 1e9)

    def kept_in(self, result: Result) -> Result:
        """Return `result` with rerun commands that set these limits too, as far as they are not the default."""
        findings = (replace(finding, rerun=self.added_to(finding.rerun)) for finding in result.findings)
        return replace(result, rerun=self.added_to(result.rerun) or "", findings=tuple(findings))

    def added_to(self, command: str | None) -> str | None:
        """Return `command` with the options that set these limits; unchanged where there is no command."""
        given = (("--timeout", self.timeout, DEFAULT_TIMEOUT), ("--memory", self.memory, None))
        options = [f" {name} {value:g}" for name, value, default in given if value is not None and value != default]
        options += [f" --python {shlex.quote(self.python)}"] if self.python is not None else []
        return command + "".join(options) if command else command


def memory_can_be_limited() -> bool:
    """Whether this system limits what a process allocates: Linux counts private memory of every kind for it."""
    return sys.platform == "linux"


def machine_memory() -> int:
    """Return the bytes of memory of this machine, which must have `sysconf`."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def unlimited_memory(device: str) -> str | None:
    """Return why the memory of a target on `device` is not limited; None where it is."""
    if not memory_can_be_limited():
        return f"memory is not limited: {sys.platform} has no limit on what a process allocates"
    if device != "cpu":
        return f"memory is not limited on {device}: drivers reserve far more address space than they use"
    return None


def no_core_dumps() -> None:
    """Let this process leave no core file when it crashes."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(allowed: int | None) -> None:
    """Let this process allocate no more than `allowed` bytes of private memory; None changes nothing."""
    if allowed is None:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
