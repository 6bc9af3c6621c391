"""Device names, the same for every framework: `cpu`, `gpu:0`, `gpu:1`, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import MissingDevice

DEVICE_NAME = r"(cpu|gpu|cuda)(?::([0-9]+))?"
"""Regular expression of the names that may be asked for: their kind, and their number where one is given."""


def resolve_device(asked: str, present: Sequence[str], framework: str, remedy: str) -> str:
    """Return the name in `present` that `asked` means; `gpu`, `cuda` and `cuda:0` all mean `gpu:0`.

    Raises `MissingDevice`, naming what was asked for and what is there; `remedy` says how the
    framework comes to see a GPU.

    >>> resolve_device("cuda:1", ("cpu", "gpu:0", "gpu:1"), "torch", "")
    'gpu:1'
    """
    match = re.fullmatch(DEVICE_NAME, asked)
    if match is None:
        raise MissingDevice(
            f"device {asked!r} is not a device name; expected cpu, cuda, gpu or gpu:N. "
            f"{framework} sees: {', '.join(present)}."
        )
    index = int(match[2] or 0)
    name = f"gpu:{index}" if match[1] != "cpu" else "cpu"
    if name in present and (name != "cpu" or index == 0):
        return name
    raise MissingDevice(f"{framework} has no device {asked!r}; it sees: {', '.join(present)}. {remedy}")
