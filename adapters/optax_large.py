"""optax.adamw over a large generated vector; see `large_steps`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .devices import resolve_device
from .errors import NotSupported
from .generated_gradients import GRADIENTS, PARAMETERS, Layout, generated_bits, key_of
from .jax_scope import Scope, device_called, present_devices
from .large_steps import LargeProblem
from .optax_jax import OptaxAdapter
from .protocol import Array


class OptaxLarge:
    """`LargeSteps` in JAX: a gradient is one program, an update another, both jitted.

    Arrays never change, so that no copy is ever made of what is judged, and nothing is donated.
    """

    def __init__(self, adapter: OptaxAdapter, device: str, problem: LargeProblem) -> None:
        if problem.staged:
            raise NotSupported("jax stages no gradients here: they are made on the device alone.")
        self._problem = problem
        name = resolve_device(device, adapter.devices(), adapter.framework, "See jax.devices().")
        place = device_called(name)
        self._scope = Scope(place, double=problem.dtype == "float64")
        self._wide = Scope(place, double=True)
        self._made = {
            kind: jax.jit(lambda first, second, layout=layouts[problem.dtype]: self._generated((first, second), layout))
            for kind, layouts in (("gradient", GRADIENTS), ("parameters", PARAMETERS))
        }
        self._advanced = jax.jit(self._advance)
        self._programs: dict[Hashable, Callable[..., Any]] = {}
        self.begin()

    def begin(self) -> None:
        """Go back to theta_0, without state."""
        with self._scope.entered():
            self._theta = self._of("parameters", 0)
            self._state = self._optimizer(self._problem.lr).init(self._theta)

    def generate(self, index: int) -> None:
        """Make the gradient of step `index`."""
        with self._scope.entered():
            self._gradient = self._of("gradient", index)

    def step(self, lr: float) -> None:
        """Take one step with the gradient made last."""
        with self._scope.entered():
            rate = jnp.asarray(lr, dtype=self._problem.dtype)
            self._theta, self._state = self._advanced(self._theta, self._state, self._gradient, rate)

    def wait(self) -> None:
        """Return when the device has done all that was asked of it."""
        jax.block_until_ready((self._theta, self._state, getattr(self, "_gradient", None)))

    def parameters(self) -> Any:
        """Return the parameters."""
        return self._theta

    kept = parameters

    def gradient(self) -> Any:
        """Return the gradient made last."""
        return self._gradient

    def placed(self, coordinates: Array) -> Any:
        """Return coordinates on the device."""
        with self._scope.entered():
            return jnp.asarray(coordinates.astype(np.int32))

    def take(self, array: Any, where: Any) -> Any:
        """Return some elements as float64."""
        return array[where].astype(jnp.float64)

    def lives_on(self) -> tuple[str, ...]:
        """Return where parameters, gradient and state are now."""
        names = {device_called(name): name for name in present_devices()}
        leaves = jax.tree_util.tree_leaves((self._theta, self._state, self._gradient))
        return tuple(sorted({names[device] for leaf in leaves for device in leaf.devices()}))

    def to_host(self, array: Any) -> Array:
        """Return an array as NumPy has it."""
        return np.asarray(array)

    def on_device(self, array: Array) -> Any:
        """Return a NumPy array on the device."""
        return jnp.asarray(array)

    def program(self, function: Callable[..., Any], *constants: Hashable) -> Callable[..., Any]:
        """Return `function` jitted."""
        if (function, constants) not in self._programs:
            self._programs[function, constants] = jax.jit(partial(function, *constants))
        return self._programs[function, constants]

    def judging(self) -> AbstractContextManager[Any]:
        """Return a context in which 64-bit arrays are on."""
        return self._wide.entered()

    def _of(self, kind: str, index: int) -> Any:
        first, second = (np.int32(word) for word in key_of(self._problem.seed, index))
        return self._made[kind](first, second)

    def _generated(self, key: Any, layout: Layout) -> Any:
        coordinates = jnp.arange(self._problem.elements, dtype=jnp.int32)
        bits = generated_bits(coordinates, key, layout)
        return jax.lax.bitcast_convert_type(bits, jnp.float32).astype(self._problem.dtype)

    def _advance(self, theta: Any, state: Any, gradient: Any, lr: Any) -> Any:
        updates, state = self._optimizer(lr).update(gradient, state, theta)
        return optax.apply_updates(theta, updates), state

    def _optimizer(self, lr: Any) -> Any:
        """Return the transformation at one learning rate; its state does not depend on it."""
        return optax.adamw(lr, weight_decay=self._problem.weight_decay)
