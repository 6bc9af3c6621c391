"""What of a run is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..traces.drawn_coordinates import drawn_coordinates
from ..traces.fields import MAX_NATURAL
from ..traces.run import MAX_SEED


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """Which steps, coordinates and parameters are kept. Raises `ValueError` or `TypeError` for what cannot be."""

    sample: int | None = None
    """Coordinates kept of each tensor, drawn at random, the same in every step; None keeps all. Tensors of no more
    elements are kept whole. Exact for optimizers that treat every coordinate alone, as Adam and SGD do."""
    seed: int = 0
    """Seed of the sample."""
    steps: range | None = None
    """Steps to record, counted from 1 since the recording began; its own step says how many are left out."""
    every: int = 1
    """Record each so many-th of those steps."""
    snapshots: bool = False
    """Keep theta after each step, so that the finished run itself can be judged."""
    overwrite: bool = False
    """Replace a trace that lies there."""

    def __post_init__(self) -> None:
        """Check every option."""
        for name, least, limit in (("sample", 1, MAX_NATURAL), ("seed", 0, MAX_SEED), ("every", 1, MAX_NATURAL)):
            value = getattr(self, name)
            if name == "sample" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name}={value!r}, but should be an integer")
            if value < least:
                raise ValueError(f"{name}={value}, but should be at least {least}")
            if value >= limit:
                raise ValueError(f"{name}={value}, but should be less than 2**{limit.bit_length() - 1}")
        for name in ("snapshots", "overwrite"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r}, but should be True or False")
        if self.steps is None:
            return
        if not isinstance(self.steps, range):
            raise TypeError(f"steps={self.steps!r}, but should be a range, for example range(1000, 1020)")
        if self.steps.step < 1 or not self.steps or self.steps.start < 1:
            raise ValueError(f"steps={self.steps}, but should be a rising range of steps from 1 on that holds a step")

    @classmethod
    def of(cls, options: dict[str, Any]) -> RecordingOptions:
        """The options given as keywords. Raises `TypeError` for an unknown one, and names those there are."""
        known = list(cls.__dataclass_fields__)
        unknown = [name for name in options if name not in known]
        if unknown:
            raise TypeError(f"unknown option {unknown[0]!r}; a recording takes {', '.join(known)}")
        return cls(**options)

    def wants(self, step: int) -> bool:
        """Whether training step `step`, counted from 1, is recorded."""
        steps = self.steps
        if steps is None:
            return (step - 1) % self.every == 0
        return step in steps and (step - steps.start) // steps.step % self.every == 0

    def done(self, step: int) -> bool:
        """Whether no step from `step` on is recorded any more."""
        return self.steps is not None and step > self.steps[-1]

    def coordinates(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """The coordinates kept of the tensor `name`, rising; None for all of them."""
        return None if self.sample is None else drawn_coordinates(name, prod(shape), self.sample, self.seed)
