"""What is held against the rules of the reference: an optimizer that is stepped, or a run that was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..adapters.protocol import Array, Target, Trajectory
from .traces import Trace


class Walker(Protocol):
    """Something that walks a trace as often as it is asked to, always the same way."""

    @property
    def target(self) -> Target:
        """What it is an instance of."""

    @property
    def device(self) -> str:
        """Where its parameters live."""

    @property
    def dtype(self) -> str:
        """Working precision: that of the parameters and of the gradients as they are fed."""

    @property
    def mode(self) -> str | None:
        """What the reference takes over before every step; chosen by dtype and optimizer where None."""

    @property
    def steered(self) -> bool:
        """Whether it can be built with other hyperparameters, and takes whatever learning rate a step is given."""

    def parity(self) -> dict[str, Any]:
        """Return the hyperparameters at which the trajectory is matched."""

    def begin(self, trace: Trace, values: Mapping[str, Any]) -> Trajectory:
        """Return the trajectory over `trace` from its beginning, built with `values` where that can be chosen."""

    def state_before(self, trace: Trace) -> Mapping[str, Mapping[str, Array]]:
        """Return the state before the first step of `trace`: slot -> parameter name -> array; none where it is fresh.

        The slot `step` counts the updates that a parameter has had.
        """
