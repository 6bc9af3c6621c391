"""Optax as one process runs it: its ways of executing a course of steps, its devices, and what is recorded of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from . import jax_devices
from .arrays import HOST_DTYPES
from .devices import resolve_device
from .errors import PathNotTaken
from .execution import MASTER_DTYPES, Executed, Execution, OfAdapter, Opening
from .jax_scope import device_called
from .optax_jax import OptaxAdapter, OptaxOptimizer
from .optax_masters import MasterWeights
from .optax_observed import compiled, in_double, in_python
from .optax_scan import Scanned
from .optax_skipping import Skipping, skips_infinite
from .optax_stepped import Asked, Stepped, with_donation
from .protocol import Target


@dataclass(frozen=True, slots=True)
class Way:
    """One way of executing, as data."""

    begin: Callable[[OptaxOptimizer, Asked], Executed]
    path: str = "compiled"
    """Path of the adapter."""
    dtypes: tuple[str, ...] = tuple(HOST_DTYPES)
    """Those of gradients for which there is such a way."""
    steps_in: Mapping[str, str] = field(default_factory=dict)
    prepared: Callable[[Target], Target] = lambda target: target
    """What becomes of the target before it is built."""


WAYS: Mapping[str, Way] = {
    "eager": Way(partial(Stepped, judge=in_python), path="eager"),
    "jit": Way(partial(Stepped, judge=compiled)),
    "donated": Way(with_donation),
    "scan": Way(Scanned),
    "x64": Way(partial(Stepped, judge=in_double), dtypes=("float64",)),
    "master-weights": Way(MasterWeights, dtypes=tuple(MASTER_DTYPES), steps_in=MASTER_DTYPES),
    "apply-if-finite": Way(Skipping, prepared=skips_infinite),
}
"""By name; the first is the plain one."""


class OptaxRuntime(OfAdapter):
    """Optax on one process's JAX: a `Runtime`."""

    def __init__(self) -> None:
        adapter = OptaxAdapter()
        rows = (Execution(name, partial(_begun, adapter, name), steps_in=way.steps_in) for name, way in WAYS.items())
        super().__init__(adapter, rows)

    def describe(self, device: str) -> dict[str, str]:
        """Return what is known of a device, as `jax_devices.describe_device` does."""
        return jax_devices.describe_device(device)

    def flags(self) -> dict[str, str]:
        """Return settings of JAX and XLA as they are now; what is not set is empty."""
        return jax_devices.flags()


def _begun(adapter: OptaxAdapter, name: str, opening: Opening) -> Executed:
    """Begin the execution called `name`: an `Open` but for its first two arguments."""
    way, dtype = WAYS[name], opening.dtype
    if dtype not in way.dtypes:
        raise PathNotTaken(f"{name} is for {' and '.join(way.dtypes)}, and there is no such way in {dtype}; use jit.")
    stepped = replace(opening.rounded(), target=way.prepared(opening.target), dtype=way.steps_in.get(dtype, dtype))
    optimizer = stepped.built_by(adapter, way.path)
    place = resolve_device(opening.device, adapter.devices(), adapter.framework, "See jax.devices().")
    return way.begin(optimizer, Asked(tuple(opening.feeds), dtype, device_called(place)))
