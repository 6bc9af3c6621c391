"""A recorded run as something that walks: through the parameters that were recorded, and nothing is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...adapters.protocol import Array, Cast, Gradients, MissingGradient, Target
from ..traces import Trace
from .parts import RunPart


@dataclass(frozen=True, slots=True)
class RecordedWalker:
    """One parameter group of a recorded run: a `Walker` over its parts."""

    target: Target
    dtype: str
    held: Mapping[str, Any]
    casts: tuple[Cast, ...]
    missing_gradient: MissingGradient
    scalars_in: str | None = None
    device: str = "cpu"
    mode: str | None = None
    steered: bool = field(default=False, init=False)

    def parity(self) -> dict[str, Any]:
        """Return the hyperparameters of the run."""
        return dict(self.held)

    def begin(self, trace: Trace, values: Mapping[str, Any]) -> RecordedTrajectory:
        """Return the recorded trajectory over `trace`, which is a part of the run; `values` change nothing."""
        assert isinstance(trace, RunPart), "a recorded run walks no other trace"
        return RecordedTrajectory(self, trace)

    def state_before(self, trace: Trace) -> dict[str, dict[str, Array]]:
        """Return the state that was recorded before the first step of `trace`."""
        assert isinstance(trace, RunPart), "a recorded run walks no other trace"
        return trace.state_before()


class RecordedTrajectory:
    """One part of a recorded run, from its beginning: a `Trajectory` in the memory of one step."""

    computes_in: str | None = None

    def __init__(self, walker: RecordedWalker, part: RunPart) -> None:
        self.held, self.casts, self.scalars_in = walker.held, walker.casts, walker.scalars_in
        self._part, self._at = part, part.first - 1
        self._convention = walker.missing_gradient
        self._theta = part.initial_parameters()

    @property
    def missing_gradient(self) -> MissingGradient:
        """The framework's convention; in a step that the run skipped, or that had no gradient at all, nothing moves."""
        whole = self._part.whole
        skipped = whole.run is not None and self._at in whole.run.skipped
        nothing = len(whole.missing.get(self._at, ())) == len(whole.parameters)
        shared = self._convention is MissingGradient.SKIPPED_SHARED_COUNT
        return MissingGradient.SKIPPED if skipped or (nothing and shared) else self._convention

    def step(self, gradients: Gradients, lr: float) -> None:
        """Go on to what the parameters were after the next step, whatever is given here."""
        self._at += 1
        self._theta |= self._part.whole.parameters_after(self._at, self._part.names) or {}

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """The parameters as they were recorded, all or those named."""
        return dict(self._theta) if names is None else {name: self._theta[name] for name in names}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Nothing: no state was recorded after a step."""
        return {}
