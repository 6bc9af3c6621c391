"""The one interface through which every framework's optimizer is built, stepped and read.

Nothing here imports a framework. Arrays cross the interface as NumPy arrays; where a parameter
lives, in which dtype and on which device, is the adapter's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Gradients = Mapping[str, Array | None]


class MissingGradient(StrEnum):
    """What a framework does by convention with a parameter that has no gradient in a step.

    In a step in which no parameter has a gradient, neither of the `SKIPPED` conventions moves anything.
    """

    SKIPPED = "skipped: neither state nor step count of the parameter moves"
    SKIPPED_SHARED_COUNT = "skipped; the step count is shared by all parameters and moves if any has a gradient"
    ZERO = "treated as a gradient of zeros"


@dataclass(frozen=True, slots=True)
class Cast:
    """One hyperparameter that the optimizer rounds to `dtype` before it uses it.

    `hyperparameter` is a canonical name (`lr`, `weight_decay`, `beta1`, ...). `use` says where the
    rounded value enters: `"everywhere"`, or `"bias_correction"` for the power in 1 - beta**t alone.
    """

    hyperparameter: str
    dtype: str
    use: str = "everywhere"


@dataclass(frozen=True, slots=True)
class Target:
    """An optimizer to be examined: where it was found, what was found there, whose it is."""

    spec: str
    """As given: `package.module:attribute` or `path/to/file.py:attribute`."""
    attribute: Any
    """The class or factory itself."""
    framework: str
    """`numpy`, `torch`, `tensorflow` or `jax`."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Canonical name -> the target's own option name, where the user said so (`--map`)."""


class Optimizer(Protocol):
    """A real optimizer, bound to its parameters on one device."""

    held: Mapping[str, Any]
    """Hyperparameters as the optimizer holds them after construction, under canonical names."""
    casts: tuple[Cast, ...]
    """What is rounded on use although `held` reads back unrounded."""
    missing_gradient: MissingGradient
    computes_in: str | None
    """dtype in which a step is known to be computed where that is wider than the parameters'; None elsewhere."""
    scalars_in: str | None
    """dtype in which beta**t and other scalars are formed where that is narrower than float32; None elsewhere."""

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. `lr` is the learning rate of this step, eta_t * alpha.

        `gradients` maps every parameter name to an array of the parameter's shape, or to None.
        """

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Copies of the parameters (all, or those named), in their own dtype and shape."""

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Copies of the state: slot -> parameter name -> array. `m`, `v`, `v_max` and `momentum` are canonical.

        `m` and `v` are Adam's moments without bias correction, `v_max` AMSGrad's maximum, `momentum` the buffer
        b = mu*b + g (or mu*b + lr*g, the learning rate inside), which is subtracted from the parameters. Other
        slots bear the framework's own names.
        """

    def snapshot(self) -> Any:
        """Parameters and state, complete and detached from later steps.

        It holds no learning rate and no weight decay, so that it can be restored into another
        instance of the same target that was built with other hyperparameters.
        """

    def restore(self, snapshot: Any) -> None:
        """Return to `snapshot`, which stays valid and may be restored again."""


class Adapter(Protocol):
    """One framework."""

    framework: str
    paths: tuple[str, ...]
    """Names of the ways a step can be executed; the first is the default."""

    def versions(self) -> dict[str, str]:
        """Package name -> version of the framework and what it stands on."""

    def devices(self) -> tuple[str, ...]:
        """Devices present: `cpu`, `gpu:0`, ..."""

    def build(
        self,
        target: Target,
        hyperparameters: Mapping[str, Any],
        parameters: Mapping[str, Array],
        *,
        dtype: str = "float64",
        device: str = "cpu",
        path: str | None = None,
    ) -> Optimizer:
        """Construct `target` over copies of `parameters`.

        `hyperparameters` mixes canonical names with the target's own option names. Raises
        `UnknownOption`, `MissingDevice` or `BuildFailed` from `adapters.errors`.
        """
