"""From an update of Optax to the host, whether it is computed as it is called or traced into a program.

The calls are `io_callback`s that are not ordered, since JAX refuses ordered ones on several devices. What orders them
is the data: each returns the count of updates that the state holds and that the next one needs. On several devices
one of them calls, with the whole tensors. The first call of an update asks what the recording wants of it, and a
`lax.switch` lets just that cross, sampled on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.custom_batching import custom_vmap
from jax.experimental import io_callback

from .optax_arrivals import GRADIENTS, NOTHING, STATE, THETA, Arrivals, Arrived, Layout
from .optax_state import hyperparameters_of, last_named
from .optax_update import (
    UnrecordableUpdate,
    aside,
    canonical,
    checked,
    count_in,
    dtypes_in,
    in_words,
    layout_of,
    manual_axes,
    named,
    on_host,
    slots,
)
from .recording import plain_values
from .text import describe_error

_COUNT = jax.ShapeDtypeStruct((), np.int32)
_PARTS = ("gradients", "theta", "state")
"""What crosses for GRADIENTS, THETA and STATE: the first, two or all of these."""


class Tap:
    """Lets what `arrivals` wants of each update cross to it. `schedule` is the learning rate's, where it has one."""

    def __init__(self, arrivals: Arrivals, schedule: Callable[[Any], Any] | None) -> None:
        self._arrivals, self._schedule = arrivals, schedule

    def count(self, emits: Any, n_updates: Any, gradients: Any, before: Any, after: Any, params: Any) -> Any:
        """Record the update after `n_updates` others and return the new count; raises nothing.

        `before` and `after` are the state of the rule around it, and `emits` says whether it is one at all.
        """
        if not self._arrivals.over:
            try:
                return self._recorded_count(emits, n_updates, gradients, before, after, params)
            except Exception as error:
                self._arrivals.stop(str(error) if isinstance(error, UnrecordableUpdate) else describe_error(error))
        return n_updates + 1

    def _recorded_count(self, emits: Any, n_updates: Any, gradients: Any, before: Any, after: Any, params: Any) -> Any:
        if params is None:
            raise UnrecordableUpdate(
                "an update was given no parameters, so theta is not known; call update(gradients, state, params)"
            )
        if last_named(before, "mini_step"):
            raise UnrecordableUpdate(
                "there is an optax.MultiSteps inside, so that not every update is a step; record the optax.MultiSteps "
                "itself, or the rule inside it"
            )
        if manual_axes():
            raise UnrecordableUpdate(
                "an update is inside shard_map or pmap, where each device sees its own part; update outside of it, "
                "under jax.jit with shardings"
            )
        layout = layout_of(params)
        data = {
            "gradients": checked(gradients, layout),
            "theta": named(params, layout),
            "state": slots(before, layout),
            "held": {
                "hyperparameters": canonical(hyperparameters_of(after)),
                "finite": last_named(after, "last_finite"),
                "updates": count_in(before, n_updates),
            },
        }
        operands = (emits, n_updates, data)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(operands)):
            return self._traced(layout, *jax.lax.stop_gradient(operands))
        return self._called(layout, *operands)

    def _called(self, layout: Layout, emits: Any, n_updates: Any, data: Mapping[str, Any]) -> Any:
        """Record an update that is computed as it is called."""
        code = self._need(layout, emits, n_updates)
        if code != NOTHING:
            crossing = self._crossing(code, self._sampled(layout, data))
            self._take(layout, dtypes_in(crossing), n_updates, crossing)
        return n_updates + 1

    def _traced(self, layout: Layout, emits: Any, n_updates: Any, data: Mapping[str, Any]) -> Any:
        """Record an update that is being traced, in every run of what it becomes part of."""

        def counted(emits: Any, n_updates: Any, data: Mapping[str, Any]) -> Any:
            code = io_callback(partial(self._need, layout), _COUNT, emits, n_updates)
            return jax.lax.switch(code, branches, n_updates, aside(n_updates, self._sampled(layout, data)))

        def mapped(size: int, batched: Any, emits: Any, n_updates: Any, data: Mapping[str, Any]) -> tuple[Any, Any]:
            self._arrivals.stop("an update is inside vmap, so that it is many at once; record one run of those alone")
            return n_updates + 1, batched[1]

        def branch(code: int) -> Callable[[Any, Mapping[str, Any]], Any]:
            def called(n_updates: Any, data: Mapping[str, Any]) -> Any:
                if code == NOTHING:
                    return n_updates + 1
                crossing = self._crossing(code, data)
                take = partial(self._take, layout, dtypes_in(crossing))
                return io_callback(take, _COUNT, n_updates, in_words(crossing))

            return called

        branches = [branch(code) for code in (NOTHING, GRADIENTS, THETA, STATE)]
        recorded = custom_vmap(counted)
        recorded.def_vmap(mapped)
        return recorded(emits, n_updates, data)

    def _crossing(self, code: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """What has to cross to the host for `code`."""
        held = dict(data["held"])
        if self._schedule is not None:
            held["lr"] = self._schedule(held["updates"])
        return {**{part: data[part] for part in _PARTS[:code]}, "held": held}

    def _sampled(self, layout: Layout, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with the sampled coordinates of each array that has its parameter's shape."""
        chosen = partial(self.chosen, layout)
        state = {slot: chosen(each) for slot, each in data["state"].items()}
        return {**data, "gradients": chosen(data["gradients"]), "theta": chosen(data["theta"]), "state": state}

    def chosen(self, layout: Layout, values: Mapping[str, Any]) -> dict[str, Any]:
        """The sampled coordinates of each array that has its parameter's shape, the others as they are."""
        chosen = {}
        for name, value in values.items():
            shape = layout.shapes[name]
            coordinates = None if tuple(value.shape) != shape else self._arrivals.coordinates(name, shape)
            # By index tuples, since flattening would gather a tensor that is spread over devices onto each of them.
            places = None if coordinates is None else np.unravel_index(coordinates, shape)
            chosen[name] = value if places is None else value.at[places].get(mode="promise_in_bounds")
        return chosen

    def _need(self, layout: Layout, emits: Any, n_updates: Any) -> Any:
        """What of the update is wanted on the host. Called by JAX; raises nothing."""
        try:
            return np.int32(self._arrivals.need(layout, int(n_updates)) if emits else NOTHING)
        except Exception as error:
            self._arrivals.stop(describe_error(error))
            return np.int32(NOTHING)

    def _take(self, layout: Layout, dtypes: Any, n_updates: Any, crossing: Any) -> Any:
        """Take what crossed, and return the new count of updates. Called by JAX; raises nothing."""
        try:
            found = on_host(crossing, dtypes)
            held = found["held"]
            arrived = Arrived(
                gradients=found["gradients"],
                lr=float(held["lr"]) if "lr" in held else None,
                hyperparameters=plain_values({name: value[()] for name, value in held["hyperparameters"].items()}),
                rejected=not all(held["finite"]),
                theta=found.get("theta", {}),
                state=found.get("state", {}),
            )
            self._arrivals.take(layout, arrived, int(held["updates"]))
        except Exception as error:
            self._arrivals.stop(describe_error(error))
        return np.int32(int(n_updates) + 1)
