"""Devices and settings of PyTorch: what a device is, where tensors live, which settings change bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .nvidia_driver import nvidia_driver
from .processor import describe_processor
from .torch_groups import groups_of
from .torch_optimizer import TorchOptimizer

HOST_SCALARS = frozenset({"step", "mu_product"})
"""State that torch.optim keeps on the host by design, unless it is asked for capturable or fused steps."""

FLAGS: Mapping[str, Callable[[], Any]] = {
    "deterministic_algorithms": torch.are_deterministic_algorithms_enabled,
    "deterministic_warn_only": torch.is_deterministic_algorithms_warn_only_enabled,
    "float32_matmul_precision": torch.get_float32_matmul_precision,
    "cuda.matmul": lambda: _precision(torch.backends.cuda.matmul),
    "cudnn": lambda: _precision(torch.backends.cudnn),
    "cudnn.deterministic": lambda: torch.backends.cudnn.deterministic,
    "cudnn.benchmark": lambda: torch.backends.cudnn.benchmark,
    "CUBLAS_WORKSPACE_CONFIG": lambda: os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
    "num_threads": torch.get_num_threads,
}
"""Name -> what reads it."""


def present_devices() -> tuple[str, ...]:
    """Return `cpu` and one `gpu:N` for every CUDA or ROCm device."""
    return ("cpu", *(f"gpu:{index}" for index in range(torch.cuda.device_count())))


def name_of(device: Any) -> str:
    """Return what a `torch.device` is called here: `cpu` or `gpu:N`, on ROCm too; others as torch names them."""
    return f"gpu:{device.index or 0}" if device.type == "cuda" else str(device)


def describe_device(device: str) -> dict[str, str]:
    """Return what is known of `cpu` or `gpu:N`: `name`, and for a GPU its `capability`, `memory` in bytes and `driver`.

    `runtime` is what torch was built for: CUDA, or ROCm, where no driver is told.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return describe_processor()
    number = int(index or 0)
    properties = torch.cuda.get_device_properties(number)
    described = {
        "name": str(properties.name),
        "capability": f"{properties.major}.{properties.minor}",
        "memory": str(properties.total_memory),
        "driver": nvidia_driver() if torch.version.hip is None else "",
        "runtime": f"CUDA {torch.version.cuda}" if torch.version.hip is None else f"ROCm {torch.version.hip}",
    }
    return {name: value for name, value in described.items() if value}


def flags() -> dict[str, str]:
    """Return the settings that change bits, as they are now."""
    return {name: _shown(read) for name, read in FLAGS.items()}


class Location:
    """Watches where parameters and state of one optimizer live."""

    def __init__(self, optimizer: TorchOptimizer, place: str) -> None:
        self._optimizer = optimizer
        self._place = torch.device(place)
        self._tensors = 0
        self._stray = ""
        self.look()

    def look(self) -> None:
        """Look at all of them once more."""
        found = self._living()
        self._tensors = len(found)
        strays = [f"{what} on {device}" for what, device in found.items() if device != self._place]
        if strays and not self._stray:
            self._stray = f"{strays[0]}, not on {self._place}"

    def verdict(self) -> tuple[bool, str]:
        """Return whether they always lived where they were asked to, and what was seen, as part of a sentence."""
        return not self._stray, self._stray or f"{self._tensors} tensors of parameters and state lived on {self._place}"

    def _living(self) -> dict[str, Any]:
        """Return what lives where; scalars that torch.optim keeps on the host left out."""
        built = self._optimizer.optimizer
        tensors = self._optimizer.tensors
        state: Mapping[Any, Any] = getattr(built, "state", {})
        hosted = not any(group.get("capturable") or group.get("fused") for group in groups_of(built))
        found = {repr(name): tensor.device for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            for slot, value in dict(state.get(tensor, {})).items():
                if not isinstance(value, torch.Tensor):
                    continue
                if not (hosted and slot in HOST_SCALARS and value.numel() == 1 and value.device.type == "cpu"):
                    found[f"{slot} of {name!r}"] = value.device
        return found


def _shown(read: Callable[[], Any]) -> str:
    try:
        return str(read())
    except RuntimeError:  # torch's two ways of setting TF32 were mixed, and neither can be read any more
        return "unreadable"


def _precision(backend: Any) -> str:
    """Return whether a backend may round float32 to TF32: torch's newer setting where it is set, else the older."""
    newer = getattr(backend, "fp32_precision", "none")
    return str(newer) if newer != "none" else f"allow_tf32={backend.allow_tf32}"
