"""What the processor of this machine is: bits that two kinds of it compute are not compared."""

from __future__ import annotations

import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_FLAGS = ("flags", "Features")
"""What the kernel calls the list of extensions, on x86 and on Arm."""
_VECTOR = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "asimd", "sve", "sve2")
"""Extensions by which libraries choose among their kernels."""


def describe_processor(source: Path = _CPU_INFO) -> dict[str, str]:
    """Return `name`, `machine`, `system` and `vector`: "AMD EPYC 9654 family 25 model 17", "x86_64", "Linux", "avx2".

    `source` is the kernel's own description, which Linux has on x86 and some others; elsewhere `name` is what the
    platform says, in the worst case that of the architecture, and `vector` is left out. A virtual machine may call its
    processor by the name of a whole series, so family and model are part of the name where they are told.
    """
    told = _first_processor(source)
    name = told.get("model name") or platform.processor() or platform.machine() or "unknown"
    if "cpu family" in told and "model" in told:
        name += f" family {told['cpu family']} model {told['model']}"
    described = {"name": name, "machine": platform.machine(), "system": platform.system()}
    has = next((told[key].split() for key in _FLAGS if key in told), [])
    vector = " ".join(each for each in _VECTOR if each in has)
    return described | ({"vector": vector} if vector else {})


def _first_processor(source: Path) -> dict[str, str]:
    """Return what the kernel says of the first processor: key -> value."""
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    told: dict[str, str] = {}
    for key, _, value in (line.partition(":") for line in lines):
        told.setdefault(key.strip(), " ".join(value.split()))
    return told
