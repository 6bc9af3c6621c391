"""Recorded gradient traces: what a trace is, where it is kept, how it is made, and why one is refused."""

from __future__ import annotations

from .catalog import default_names, find_trace, shipped_names
from .directory import DirectoryTrace
from .errors import TraceError
from .memory import MemoryTrace
from .opening import open_trace
from .synthetic import synthetic_kinds, synthetic_trace
from .trace import DTYPES, Parameter, Step, Trace
from .writer import write_trace

__all__ = [
    "DTYPES",
    "DirectoryTrace",
    "MemoryTrace",
    "Parameter",
    "Step",
    "Trace",
    "TraceError",
    "default_names",
    "find_trace",
    "open_trace",
    "shipped_names",
    "synthetic_kinds",
    "synthetic_trace",
    "write_trace",
]
