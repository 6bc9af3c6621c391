"""The version of NVIDIA's driver, which frameworks do not tell: they know the CUDA version that it supports."""

from __future__ import annotations

import re
import shutil
import subprocess

_QUERY = ("--query-gpu=driver_version", "--format=csv,noheader")
_PATIENCE = 20.0
"""Seconds for the driver's own tool, which may have to wake the GPUs first."""


def nvidia_driver() -> str:
    """Return the driver's version, such as "550.54.15"; empty where its tool `nvidia-smi` is absent or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        done = subprocess.run([tool, *_QUERY], capture_output=True, text=True, check=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    first = done.stdout.strip().splitlines()[:1]
    return first[0] if first and re.fullmatch(r"[0-9.]+", first[0]) else ""
