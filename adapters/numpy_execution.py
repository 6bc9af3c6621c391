"""NumPy as the gate runs it: one way, one device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import host_dtype
from .execution import Executed, Execution, OfAdapter, OfOptimizer, Opening, Proof
from .numpy_array import NumPyAdapter, NumPyOptimizer
from .processor import describe_processor
from .protocol import Gradients


class NumPyRuntime(OfAdapter):
    """NumPy in one process."""

    def __init__(self) -> None:
        super().__init__(NumPyAdapter(), EXECUTIONS)

    def describe(self, device: str) -> dict[str, str]:
        """Return what is known of the processor."""
        return describe_processor()

    def flags(self) -> dict[str, str]:
        """Return what chooses among NumPy's kernels: the vector extensions found, and those that were disabled."""
        extensions: Mapping[str, Any] = np.show_config(mode="dicts").get("SIMD Extensions", {})
        return {
            "simd": " ".join(extensions.get("found", ())),
            "NPY_DISABLE_CPU_FEATURES": os.environ.get("NPY_DISABLE_CPU_FEATURES", ""),
        }


class NumPyExecuted(OfOptimizer):
    """A NumPy optimizer on its way."""

    def __init__(self, optimizer: NumPyOptimizer, dtype: str) -> None:
        super().__init__(optimizer)
        self._optimizer = optimizer
        self._dtype = host_dtype(dtype)
        self._steps = 0

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. Raises as `NumPyOptimizer.step` does."""
        self._optimizer.step(gradients, lr)
        self._steps += 1

    def proof(self) -> Proof:
        """Return that steps were taken, and that the parameters are arrays of the dtype asked for, on the host."""
        found = self._optimizer.read_parameters().values()
        dtypes = sorted({array.dtype.name for array in found})
        return Proof(
            on_path=self._steps > 0,
            on_device=all(isinstance(array, np.ndarray) and array.dtype == self._dtype for array in found),
            observed=f"{self._steps} updates by NumPy; {len(found)} parameters in {', '.join(dtypes)} on the host",
        )


def _open(opening: Opening) -> Executed:
    return NumPyExecuted(opening.built_by(NumPyAdapter()), opening.dtype)


EXECUTIONS = (Execution("default", _open, devices=("cpu",)),)
