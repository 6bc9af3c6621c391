"""What the processor of this machine is called: bits that two of them compute are not compared."""

from __future__ import annotations

import platform
from pathlib import Path

_MODEL = "model name"
_CPU_INFO = Path("/proc/cpuinfo")


def describe_processor(source: Path = _CPU_INFO) -> dict[str, str]:
    """Return `name`, `machine` and `system` of the processor: ("AMD EPYC 9654 ...", "x86_64", "Linux").

    `source` is the kernel's own description, which Linux has on x86 and some others; elsewhere `name` is what the
    platform says, in the worst case that of the architecture.
    """
    name = _model_in(source) or platform.processor() or platform.machine() or "unknown"
    return {"name": name, "machine": platform.machine(), "system": platform.system()}


def _model_in(source: Path) -> str:
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    entries = (line.partition(":") for line in lines)
    return next((" ".join(value.split()) for key, _, value in entries if key.strip() == _MODEL), "")
