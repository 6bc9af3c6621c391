"""Optax in mixed precision: a model and its gradients in 16 bits, and float32 parameters that the optimizer steps."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .arrays import host_dtype
from .execution import MASTER_DTYPES
from .optax_jax import OptaxOptimizer
from .optax_observed import Seen, compiled, times
from .optax_stepped import Asked, Stepped
from .protocol import Array, Gradients

SMALLEST_NORMAL = float(np.finfo(np.float32).smallest_normal)
"""Of the masters."""


class MasterWeights(Stepped):
    """Master weights: after each step the model's parameters are those that the optimizer holds, rounded.

    One program widens the model's gradients and updates the masters, a second rounds these for the model.
    """

    def __init__(self, optimizer: OptaxOptimizer, asked: Asked) -> None:
        super().__init__(optimizer, asked, self._on_masters)
        self._asked = (asked.dtype, MASTER_DTYPES[asked.dtype], asked.dtype)
        self._dtypes = dict.fromkeys(optimizer.read_parameters(), asked.dtype)
        self._formats: set[tuple[str, str, str]] = set()
        """Those met, of gradients, masters and model."""
        self._unlike = 0
        narrow = host_dtype(asked.dtype)
        self._round = jax.jit(lambda masters: {name: leaf.astype(narrow) for name, leaf in masters.items()})
        optimizer.advance = jax.jit(self._widened)
        self.model = self._rounded()
        """The parameters that the model computes with, on the device."""

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update to the masters and round them. Raises what `OptaxOptimizer.apply` raises."""
        optimizer = self.optimizer
        before = optimizer.snapshot()
        placed = optimizer.scope.put(optimizer.rounded(gradients, self._dtypes))
        optimizer.apply(placed, float(lr))
        self.seen.stepped(before, optimizer.snapshot(), self._device)
        self.model = self._rounded()
        for name, master in optimizer.read_parameters().items():
            model = np.asarray(self.model[name])
            self._formats.add((str(placed[name].dtype), str(master.dtype), str(model.dtype)))
            self._unlike += not is_rounding(model, master)

    def _widened(self, masters: Any, state: Any, gradients: Any, lr: Any) -> tuple[Any, Any]:
        wide = {name: leaf.astype(masters[name].dtype) for name, leaf in gradients.items()}
        return self.optimizer.update(masters, state, wide, lr)

    def _rounded(self) -> dict[str, Any]:
        with self.optimizer.scope.entered():
            rounded: dict[str, Any] = self._round(dict(self.optimizer.snapshot().parameters))
        return rounded

    def _on_masters(self, seen: Seen) -> tuple[bool, str]:
        on_path, observed = compiled(seen)
        met = "; ".join(f"gradients in {g}, masters in {m}, model in {p}" for g, m, p in sorted(self._formats))
        exact = f"{times(self._unlike)} not" if self._unlike else "each time"
        return (
            on_path and self._formats == {self._asked} and not self._unlike,
            f"{observed}; {met}; the model was {exact} the masters rounded to nearest",
        )


def is_rounding(model: Array, master: Array) -> bool:
    """Return whether every element of `model` is that of `master`, rounded to nearest in the model's own format.

    A subnormal master may count as zero, which is how XLA reads it where it flushes them.
    """
    with np.errstate(over="ignore"):
        exact = master.astype(model.dtype)
    flushed = (np.abs(master) < SMALLEST_NORMAL) & (model == 0)
    return bool(np.all((model == exact) | flushed | (np.isnan(model) & np.isnan(exact))))
