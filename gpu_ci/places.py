"""Where a run of the gate takes place: the hardware, and the class of it that a baseline is for."""

from __future__ import annotations

import re

from ..adapters.devices import DEVICE_NAME
from ..adapters.errors import MissingDevice
from ..adapters.execution import Runtime
from ..conformance.measured import Place

CPU_CLASS = "cpu"
"""One class for all processors: their own names say whether bits can be compared."""


def place_of(runtime: Runtime, device: str) -> Place:
    """Return what is known of `device`, as a framework names it."""
    described = runtime.describe(device)
    name = described.pop("name", "unknown")
    return Place(device, CPU_CLASS if device == "cpu" else name, name, described)


def normal_device(asked: str) -> str:
    """Return `cpu` or `gpu:N` for a device as the user names it; whether it is there, its process will tell.

    Raises `MissingDevice` for what is no device name.
    """
    match = re.fullmatch(DEVICE_NAME, asked)
    if match is None or (match[1] == "cpu" and match[2] not in (None, "0")):
        raise MissingDevice(f"device {asked!r} is not a device name; expected cpu, cuda, gpu or gpu:N")
    return "cpu" if match[1] == "cpu" else f"gpu:{int(match[2] or 0)}"


def inside(device: str) -> str:
    """Return the name that `device` has in its own process, where it is the first of its kind."""
    return "cpu" if device == "cpu" else "gpu:0"


def file_name_of(place: Place) -> str:
    """Return the name of the file that holds the baseline of a class of devices, such as `nvidia-h200.json`."""
    return re.sub(r"[^a-z0-9]+", "-", place.device_class.lower()).strip("-") + ".json"
