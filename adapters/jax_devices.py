"""Devices and settings of JAX: what a device is, and which settings change bits."""

from __future__ import annotations

import os
from typing import Any

import jax

from .jax_scope import device_called, present_devices
from .nvidia_driver import nvidia_driver
from .processor import describe_processor

__all__ = ["describe_device", "described_gpu", "flags", "present_devices"]

CONFIGURATION = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_disable_jit",
)
"""Settings of `jax.config` that change bits; float64 is switched on for single optimizers, not by the first."""
ENVIRONMENT = (
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "NVIDIA_TF32_OVERRIDE",
)


def describe_device(device: str) -> dict[str, str]:
    """Return what is known of `cpu` or `gpu:N`: `name`, and for a GPU `capability`, `memory` in bytes and `driver`.

    `runtime` is what JAX was built for: CUDA, or ROCm, where no driver is told.
    """
    return describe_processor() if device == "cpu" else described_gpu(device_called(device))


def described_gpu(device: Any) -> dict[str, str]:
    """Return what is known of one of JAX's GPUs, as `describe_device` does; `memory` is what JAX may allocate."""
    runtime = " ".join(str(getattr(device.client, "platform_version", "")).split())
    told = {
        "name": device.device_kind,
        "capability": getattr(device, "compute_capability", None),
        "memory": (device.memory_stats() or {}).get("bytes_limit"),
        "driver": nvidia_driver() if "rocm" not in runtime.lower() else "",
        "runtime": runtime,
    }
    return {what: str(value) for what, value in told.items() if value not in (None, "")}


def flags() -> dict[str, str]:
    """Return settings of JAX and XLA as they are now; what is not set is empty."""
    settings = {name: getattr(jax.config, name, None) for name in CONFIGURATION}
    shown = {name: "" if value is None else str(value) for name, value in settings.items()}
    return shown | {name: os.environ.get(name, "") for name in ENVIRONMENT}
