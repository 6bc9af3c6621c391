"""An executed course as something that walks: through the parameters that were reached, and nothing is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..adapters.protocol import Array, Cast, Gradients, MissingGradient, Target
from ..conformance.traces import Trace
from .playing import Played


@dataclass(frozen=True, slots=True)
class PlayedWalker:
    """One executed course: a `Walker` over the trace that it was executed with."""

    target: Target
    played: Played
    device: str
    mode: str | None = None
    steered: bool = field(default=False, init=False)

    @property
    def dtype(self) -> str:
        """Precision of the parameters that were stepped."""
        return self.played.dtype

    def parity(self) -> dict[str, Any]:
        """Return the hyperparameters of the course."""
        return dict(self.played.held)

    def begin(self, trace: Trace, values: Mapping[str, Any]) -> PlayedTrajectory:
        """Return the course from its beginning; `values` change nothing."""
        return PlayedTrajectory(self.played)

    def state_before(self, trace: Trace) -> dict[str, dict[str, Array]]:
        """Return nothing: it began with a fresh state."""
        return {}


class PlayedTrajectory:
    """A course from its beginning: a `Trajectory`."""

    def __init__(self, played: Played) -> None:
        self.held: Mapping[str, Any] = played.held
        self.casts: tuple[Cast, ...] = played.casts
        self.computes_in, self.scalars_in = played.computes_in, played.scalars_in
        self._played, self._at, self._nothing = played, 0, False

    @property
    def missing_gradient(self) -> MissingGradient:
        """The framework's convention; a count that all parameters share does not move without any gradient."""
        convention = self._played.missing_gradient
        shared = convention is MissingGradient.SKIPPED_SHARED_COUNT
        return MissingGradient.SKIPPED if shared and self._nothing else convention

    def step(self, gradients: Gradients, lr: float) -> None:
        """Go on to what the next step had reached, whatever is given here."""
        self._at += 1
        self._nothing = all(grad is None for grad in gradients.values())

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return the parameters after the last step, all or those named."""
        theta = self._played.thetas[self._at]
        return dict(theta) if names is None else {name: theta[name] for name in names}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return the state after the last step; nothing where none was kept, or before the first."""
        if not self._played.states or not self._at:
            return {}
        return {slot: dict(each) for slot, each in self._played.states[self._at - 1].items()}
