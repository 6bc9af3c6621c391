"""NumPy optimizers that are sound in their arithmetic and hostile to the process that runs them."""

from __future__ import annotations

import os
import time

import numpy as np

from .numpy_faults import SGDW, Arrays, Gradients


class _Hostile(SGDW):
    """SGDW; what is wrong with it can be turned off."""

    def __init__(
        self, lr: float = 1e-2, weight_decay: float = 1e-2, momentum: float = 0.9, hostile: bool = True
    ) -> None:
        super().__init__(lr, weight_decay, momentum)
        self.hostile = hostile

    def step(self, params: Arrays, grads: Gradients, lr: float) -> dict[str, np.ndarray]:
        """Return the new parameters, if it comes to that."""
        if self.hostile:
            self.disturb(params)
        return super().step(params, grads, lr)

    def disturb(self, params: Arrays) -> None:
        """Do what no optimizer should."""


class RefusesDecay(_Hostile):
    """Refuses every weight_decay from 0.1 on."""

    def __init__(
        self, lr: float = 1e-2, weight_decay: float = 1e-2, momentum: float = 0.9, hostile: bool = True
    ) -> None:
        if hostile and weight_decay >= 0.1:
            raise ValueError(f"weight_decay={weight_decay} is too large")
        super().__init__(lr, weight_decay, momentum, hostile)


class NeedsDimensions(_Hostile):
    """Reads the first dimension of every parameter."""

    def disturb(self, params: Arrays) -> None:
        """Raise IndexError for a parameter that has none."""
        for theta in params.values():
            theta.shape[0]


class NeverReturns(_Hostile):
    """Waits for what never comes."""

    def disturb(self, params: Arrays) -> None:
        """Wait for an hour."""
        time.sleep(3600.0)


class Exits(_Hostile):
    """Ends the process with status 0, past every `finally`."""

    def disturb(self, params: Arrays) -> None:
        """Leave."""
        os._exit(0)


class SeedsGlobally(_Hostile):
    """Seeds NumPy's global random generator, which the training around it draws from."""

    def disturb(self, params: Arrays) -> None:
        """Seed it."""
        np.random.seed(0)  # noqa: NPY002 - the legacy generator is the one that is global
