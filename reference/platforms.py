"""What a platform's arithmetic promises: the error of square root and division, and what happens to underflow.

Errors are in units of u, half an ulp: 1 is correct rounding; a function published with a largest error of
n ulp has 2 * n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_IEEE = "IEEE 754-2019, section 5.4.1: square root and division are correctly rounded"
_JAX = "JAX documentation, 'Numerical accuracy', table for float32 (reviewed 2026-09-18)"
_CUDA = "CUDA C++ Programming Guide, 'Mathematical Functions': float32 without -use_fast_math"
_MKL = "Intel oneMKL, Vector Mathematics, 'Performance and Accuracy Data': at most 1 ulp in its most accurate mode"
_TENSORFLOW = "TensorFlow runs its kernels with denormals flushed (tsl/platform/denormal.h, ScopedFlushDenormal)"
_HALF = "float16, computed in float32, keeps its subnormals (measured: 1e-4 * 1e-3 is 1.2e-7, not 0)"
_WIDE = ("float64", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Platform:
    """One row: errors in units of u, underflow, and where the figures come from."""

    name: str
    sqrt_error: float
    division_error: float
    flushes: tuple[str, ...]
    """Formats of which subnormal operands and results may be taken as zero."""
    source: str


PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        each.name: each
        for each in (
            Platform("cpu", 1.0, 1.0, (), _IEEE),
            # torch.sqrt of 4 numbers and more calls it: .75 ulp was seen in float32, .53 in float64 (torch 2.13).
            Platform("torch-cpu", 2.0, 1.0, (), f"{_IEEE}, but for torch.sqrt: {_MKL}"),
            Platform("tensorflow-cpu", 1.0, 1.0, _WIDE, f"{_IEEE}; {_TENSORFLOW}; {_HALF}"),
            Platform("xla-cpu", 1.0, 1.0, _WIDE, f"{_JAX}: sqrt 0.5 ulp, reciprocal 0.5 ulp on x86-64; {_HALF}"),
            Platform("cuda", 1.0, 1.0, (), f"{_CUDA}: sqrtf and division 0.5 ulp, subnormals kept"),
            Platform(
                "xla-gpu", 2.0, 2.0, (*_WIDE, "float16"), f"{_JAX}: sqrt 1 ulp, reciprocal 1 ulp on NVIDIA; flushes"
            ),
        )
    }
)
"""By name. Every implementation is judged by the row of the platform it ran on."""


def platform_of(framework: str, device: str) -> Platform:
    """Return the row for a framework on a device (`cpu`, or anything else for a GPU).

    TensorFlow's own GPU kernels are CUDA's, and the row of XLA allows more, so it serves both.
    """
    on_cpu = device == "cpu"
    return PLATFORMS[_ROWS[framework][0 if on_cpu else 1]]


_ROWS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "numpy": ("cpu", "cuda"),
        "torch": ("torch-cpu", "cuda"),
        "tensorflow": ("tensorflow-cpu", "xla-gpu"),
        "jax": ("xla-cpu", "xla-gpu"),
    }
)
"""Framework -> its row on a CPU, and on a GPU."""
