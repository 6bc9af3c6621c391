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


@dataclass(frozen=True, slots=True)
class SparseRows:
    """A sparse gradient: rows of a matrix, all others without an entry."""

    indices: NDArray[np.int64]
    """Rows that have an entry, each once, ascending; shape (k,)."""
    values: Array
    """Their entries, shape (k, *rest of the parameter's shape)."""
    shape: tuple[int, ...]
    """The parameter's shape."""

    def dense(self) -> Array:
        """Return the same gradient with zeros in the rows that have no entry."""
        array = np.zeros(self.shape, dtype=self.values.dtype)
        array[self.indices] = self.values
        return array


Gradients = Mapping[str, Array | SparseRows | None]


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


@dataclass(frozen=True, slots=True)
class Layout:
    """How the parameters are handed over, where that is not one list in the working precision, all alike."""

    groups: tuple[tuple[str, ...], ...] = ()
    """Parameter names by group (PyTorch: `param_groups`) or by list (one optimizer each); none: all together."""
    dtypes: Mapping[str, str] = field(default_factory=dict)
    """Parameters held in another dtype than the working precision."""
    undecayed: frozenset[str] = frozenset()
    """Parameters excluded from decay in the framework's own way: group, `exclude_from_weight_decay`, mask."""
    accumulate: int = 1
    """Micro-steps whose mean gradient is one update, accumulated in the framework's own way."""


class Trajectory(Protocol):
    """Something that goes from step to step and shows its parameters: an optimizer, or the recording of one."""

    @property
    def held(self) -> Mapping[str, Any]:
        """Hyperparameters as the optimizer holds them after construction, under canonical names."""

    @property
    def casts(self) -> tuple[Cast, ...]:
        """What is rounded on use although `held` reads back unrounded."""

    @property
    def missing_gradient(self) -> MissingGradient:
        """What becomes of a parameter without a gradient in a step."""

    @property
    def computes_in(self) -> str | None:
        """Format in which a step is known to be computed where that is wider than the parameters'; None elsewhere."""

    @property
    def scalars_in(self) -> str | None:
        """Format in which beta**t and other scalars are formed where that is narrower than expected; None elsewhere.

        Expected is the parameters' dtype, and float32 where that has 16 bits.
        """

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. `lr` is the learning rate of this step, eta_t * alpha.

        `gradients` maps every parameter name to an array of the parameter's shape, to `SparseRows`, or to None.
        Raises `NotSupported` for `SparseRows` where the framework has no sparse gradients.
        """

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Copies of the parameters (all, or those named), in their own dtype and shape."""

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Copies of the state: slot -> parameter name -> array. `m`, `v`, `v_max` and `momentum` are canonical.

        `m` and `v` are Adam's moments without bias correction, `v_max` AMSGrad's maximum, `momentum` the buffer
        b = mu*b + g (or mu*b + lr*g, the learning rate inside), which is subtracted from the parameters. Other
        slots bear the framework's own names.
        """


class Optimizer(Trajectory, Protocol):
    """A real optimizer, bound to its parameters on one device."""

    @property
    def excluded(self) -> frozenset[str]:
        """Parameters that the optimizer itself was told not to decay, as far as can be read back from it."""

    def gradients_left(self) -> dict[str, Array]:
        """Copies of the gradients that the last step was given, as it left them. Missing and sparse ones left out.

        Raises `NotSupported` where a step cannot reach them (immutable arrays).
        """

    def set_weight_decay(self, value: float) -> None:
        """Change weight decay for the steps to come, in the way the framework allows.

        Raises `NotSupported` where it allows none.
        """

    def save(self) -> Any:
        """The optimizer's state in the framework's own form of saving, after a round trip through bytes or copies.

        PyTorch: `state_dict()`; Keras: `save_own_variables`; Optax: the leaves of the state. Parameters are not in it.
        Raises `NotSupported` where the framework or the target has none.
        """

    def load(self, saved: Any) -> None:
        """Take over what `save` of another instance, built alike over equal parameters, returned."""

    def snapshot(self) -> Any:
        """Parameters and state, complete and detached from later steps.

        It holds no learning rate and no weight decay, so that it can be restored into another
        instance of the same target that was built with other hyperparameters.
        """

    def restore(self, snapshot: Any) -> None:
        """Return to `snapshot`, which stays valid and may be restored again."""


PLAIN = Layout()
"""All parameters in one list, in the working precision, all alike."""


class Adapter(Protocol):
    """One framework."""

    framework: str
    paths: tuple[str, ...]
    """Names of the ways a step can be executed; the first is the default."""
    compiled_paths: tuple[str, ...]
    """Those of `paths` whose first step compiles for seconds: not to be run unless they are asked for by name."""

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
        layout: Layout = PLAIN,
    ) -> Optimizer:
        """Construct `target` over copies of `parameters`, handed over as `layout` says.

        `hyperparameters` mixes canonical names with the target's own option names. Raises
        `UnknownOption`, `MissingDevice` or `BuildFailed` from `adapters.errors`, `NotSupported` for a
        layout that the framework or the target has no way of, and `PathNotTaken`, which is both an
        `UnknownOption` and a `NotSupported`, for a path that exists but is not the target's. Raises
        `ValueError` for a layout that does not name every parameter in one group.
        """
