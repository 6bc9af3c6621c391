"""Master weights: a model of 16 bits, and float32 copies of its parameters that the optimizer steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .arrays import host_copies
from .torch_optimizer import TorchOptimizer
from .torch_proofs import Apply
from .torch_tensors import to_array


class MasterWatch:
    """Gives the optimizer's parameters, the masters, the gradients of a model, and rounds them into it."""

    def __init__(self, optimizer: TorchOptimizer, model_dtype: str, master_dtype: str) -> None:
        self._masters = optimizer.tensors
        self._model_dtype, self._master_dtype = model_dtype, master_dtype
        self.model: dict[str, Any] = {
            name: torch.nn.Parameter(tensor.detach().to(getattr(torch, model_dtype)))
            for name, tensor in optimizer.tensors.items()
        }
        """The parameters that a model would compute with."""
        self._steps = 0
        self._against = ""

    def __call__(self, apply: Apply) -> None:
        """Apply one update to the masters with the model's gradients, widened, and round them into the model."""
        for name, master in self._masters.items():
            given = master.grad
            self.model[name].grad = None if given is None else given.to(self.model[name].dtype)
            master.grad = None if given is None else self.model[name].grad.to(given.dtype)
        apply()
        with torch.no_grad():
            for name, master in self._masters.items():
                self.model[name].copy_(master)
        self._steps += 1
        self._against = self._against or self._amiss()

    def verdict(self) -> tuple[bool, str]:
        """Return whether, after every step, masters were as wide as asked and the model exactly their rounding."""
        if self._against or not self._steps:
            return False, self._against or "no update has been applied yet"
        return True, (
            f"after each of {self._steps} updates of {self._master_dtype} masters with {self._model_dtype} gradients, "
            f"every parameter of the model was its master rounded to {self._model_dtype}"
        )

    def _amiss(self) -> str:
        """Return what is not as it should be; the rounding is checked on the host, which rounds by its own code."""
        masters = {name: to_array(master) for name, master in self._masters.items()}
        expected = host_copies(masters, self._model_dtype)
        for name, master in masters.items():
            model = to_array(self.model[name])
            if (master.dtype.name, model.dtype.name) != (self._master_dtype, self._model_dtype):
                return (
                    f"update {self._steps} left {name!r} as {master.dtype} and {model.dtype}, but should leave a "
                    f"{self._master_dtype} master and a {self._model_dtype} parameter"
                )
            unlike = model.view(np.uint16) != expected[name].view(np.uint16)
            if np.any(unlike & ~(np.isnan(model) & np.isnan(expected[name]))):
                return f"update {self._steps} left {name!r} in the model as another value than its master rounded"
        return ""
