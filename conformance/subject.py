"""The thing under audit: one target with the user's hyperparameters on one device, and how to build it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.arrays import host_copies, host_dtype
from ..adapters.errors import BuildFailed, NotReplayable
from ..adapters.options import accepts, default_of
from ..adapters.protocol import PLAIN, Adapter, Array, Layout, Optimizer, Target
from ..adapters.recipes import recipe_of
from ..adapters.text import escape_control
from ..reference.follow import Mode
from .own_draws import OwnDraws
from .planned import title_of
from .traces import Trace
from .traces.selected import SelectedTrace

Float64Array = NDArray[np.float64]
Arrays = dict[str, Float64Array]

PROBE_LR = 0.05
PROBE_WEIGHT_DECAY = 0.5
PROBE_BETA2 = 0.99
"""At these the wrong kind is 1e3 bounds and more away even in float32; at lr 1e-3, wd 1e-2 it can drown."""

_BETA2_NAMES = ("beta2", "betas")
"""Names under which beta2 may be among the user's hyperparameters; then the probe leaves it."""


def usual_dtype(target: Target) -> str:
    """Return the working precision where none is asked for: float64, or what a target needs that refuses it."""
    return recipe_of(target).dtype or "float64"


@dataclass(frozen=True, slots=True)
class Subject:
    """One target, how it is to be executed, and the hyperparameters the user set."""

    target: Target
    adapter: Adapter
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Under canonical names where there is one, whatever the target calls them."""
    device: str = "cpu"
    path: str | None = None
    documented_rule: str | None = None
    """The reference's rule that the target is documented to follow with these options, where that is known."""
    dtype: str = "float64"
    """Working precision: that of the parameters and of the gradients as they are fed."""
    mode: str | None = None
    """What the reference takes over before every step; chosen by dtype and optimizer where None."""
    own_draws: bool = True
    """Whether every optimizer built draws random numbers of its own (`OwnDraws`), or all draw from one course."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a dtype or mode that is not supported."""
        host_dtype(self.dtype)
        if self.mode is not None and self.mode not in tuple(Mode):
            raise ValueError(
                f"mode={self.mode!r} is not known; use one of {', '.join(Mode)}, or none to have it chosen."
            )

    @property
    def steered(self) -> bool:
        """An optimizer takes any hyperparameters, and any learning rate in a step."""
        return True

    @property
    def title(self) -> str:
        """The target with the options set, the path and the dtype, as tables and progress show it."""
        return title_of(self.target.spec, self.hyperparameters, self.path, self.dtype)

    @property
    def has_weight_decay(self) -> bool:
        """Whether the target has a weight-decay option at all."""
        return accepts(self.target, "weight_decay")

    def probe(self) -> dict[str, Any]:
        """Return the hyperparameters that decide the kind of decay.

        The user's, with lr .05 and weight_decay .5, and beta2 .99 unless the user set the betas; every
        other option stays as set or as the target's default.
        """
        values = dict(self.hyperparameters) | {"lr": PROBE_LR}
        if self.has_weight_decay:
            values["weight_decay"] = PROBE_WEIGHT_DECAY
        # A target that takes any keyword shows no default, and may have no betas at all.
        named = isinstance(default_of(self.target, "beta2"), int | float)
        if named and not any(name in self.hyperparameters for name in _BETA2_NAMES):
            values["beta2"] = PROBE_BETA2
        return values

    def parity(self) -> dict[str, Any]:
        """Return the hyperparameters at which the trajectory is matched: the user's own.

        Where the user set no learning rate and the target has no default, or where decay is off, the
        probe's value stands in: nothing could be told from them.
        """
        return own_values(self.target, self.hyperparameters)

    def build_without_decay(
        self, parameters: Mapping[str, NDArray[Any]], hyperparameters: Mapping[str, Any]
    ) -> Optimizer:
        """Construct the optimizer with decay off: weight_decay 0.0 or, where the target refuses that, None.

        A target without the option is built as it is. Raises what `build` raises for 0.0 where neither works.
        """
        if not self.has_weight_decay:
            return self.build(parameters, hyperparameters)
        try:
            return self.build(parameters, {**hyperparameters, "weight_decay": 0.0})
        except BuildFailed as refused:
            try:
                return self.build(parameters, {**hyperparameters, "weight_decay": None})
            except BuildFailed:
                raise refused from None

    def build(
        self, parameters: Mapping[str, NDArray[Any]], hyperparameters: Mapping[str, Any], layout: Layout = PLAIN
    ) -> Optimizer:
        """Construct the optimizer over copies of `parameters`, rounded to the working precision.

        Raises what `Adapter.build` raises, and `NotReplayable` where no trace can drive it, as its recipe says.
        """
        recipe = recipe_of(self.target)
        if recipe.not_replayable:
            raise NotReplayable(f"{escape_control(self.target.spec)}: {recipe.reason}")

        def built() -> Optimizer:
            return self.adapter.build(
                self.target,
                hyperparameters,
                parameters,
                dtype=self.dtype,
                device=self.device,
                path=self.path,
                layout=layout,
            )

        return OwnDraws(built) if self.own_draws else built()

    def begin(self, trace: Trace, values: Mapping[str, Any]) -> Optimizer:
        """Construct the optimizer over theta_0 of `trace`. Raises what `build` raises."""
        return self.build(trace.initial_parameters(), values)

    def state_before(self, trace: Trace) -> dict[str, dict[str, Array]]:
        """Return nothing: it begins every trace anew."""
        return {}

    def taken_from(self, traces: Sequence[Trace]) -> list[Trace]:
        """Return `traces` with the parameters that the target takes: all, unless its recipe says matrices only.

        Traces that hold none of those are left out.
        """
        if not recipe_of(self.target).matrices_only:
            return list(traces)
        selected = [SelectedTrace(trace, lambda parameter: len(parameter.shape) == 2) for trace in traces]
        return [trace for trace in selected if trace.parameters]

    def initial_parameters(self, trace: Trace) -> Arrays:
        """Return theta_0 of `trace` as the optimizer holds it: rounded to the working precision, then float64."""
        return initial_parameters(trace, self.dtype)

    def as_fed(self, gradients: Mapping[str, NDArray[Any] | None]) -> dict[str, Float64Array | None]:
        """Return the gradients that reach the optimizer: rounded to the working precision, then float64.

        Every adapter rounds them so, on the host; a missing one stays None, and one beyond the format's range
        becomes infinite.
        """
        fed = rounded({name: grad for name, grad in gradients.items() if grad is not None}, self.dtype)
        return {name: fed.get(name) for name in gradients}


def own_values(target: Target, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's own hyperparameters, the probe's where nothing could be told from them: see `parity`."""
    values = dict(hyperparameters)
    if values.get("lr", default_of(target, "lr")) is None:
        values["lr"] = PROBE_LR
    if accepts(target, "weight_decay") and not values.get("weight_decay", default_of(target, "weight_decay")):
        values["weight_decay"] = PROBE_WEIGHT_DECAY
    return values


def initial_parameters(trace: Trace, dtype: str = "float64") -> Arrays:
    """Return theta_0 of `trace` rounded to `dtype`, in float64, which holds every supported dtype exactly."""
    return rounded(trace.initial_parameters(), dtype)


def rounded(arrays: Mapping[str, NDArray[Any]], dtype: str) -> Arrays:
    """Return `arrays` rounded to `dtype` as the adapters round them, in float64."""
    return _in_float64(host_copies(arrays, dtype))


def _in_float64(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}


def read(optimizer: Optimizer) -> Arrays:
    """Return the optimizer's parameters in float64."""
    return _in_float64(optimizer.read_parameters())
