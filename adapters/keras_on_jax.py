"""Keras on its JAX backend: eager steps, and stateless ones under `jax.jit`, each observed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from .devices import resolve_device
from .execution import Opening
from .jax_scope import Scope, device_called, present_devices
from .keras_backend import import_keras
from .keras_built import KerasBuilt
from .keras_executed import BodyCalls, EagerWay, KerasExecuted, Way
from .protocol import Gradients

BACKEND = "jax"
REMEDY = "Install a JAX with GPU support and see jax.devices('gpu')."

keras = import_keras(BACKEND)


def opened(
    way: Callable[[KerasBuilt], Way],
    opening: Opening,
) -> KerasExecuted:
    """Build the target on its device and begin the execution that `way` is."""
    place = resolve_device(opening.device, present_devices(), "Keras on JAX", REMEDY)
    wanted = device_called(place)
    scope = Scope(wanted, double=opening.dtype == "float64")
    built = KerasBuilt(keras, opening, entered=scope.entered)

    def holds(value: Any) -> bool:
        return isinstance(value, jax.Array) and value.devices() == {wanted}

    return KerasExecuted(
        built,
        way(built),
        device=place,
        backend=str(keras.backend.backend()),
        misplaced=partial(built.misplaced, holds),
    )


def eager(built: KerasBuilt) -> EagerWay:
    """Return the way of `Optimizer.apply`, which JAX traces nowhere."""
    return EagerWay(built, built.optimizer, _is_traced)


class StatelessJax:
    """`stateless_apply` under `jax.jit`, its state donated, as Keras's own trainer calls it."""

    def __init__(self, built: KerasBuilt) -> None:
        self._built, optimizer = built, built.optimizer
        self._body = BodyCalls(optimizer, _is_traced)
        self._patterns: set[tuple[str, ...]] = set()
        self._asked = self._steps = 0

        def update(state: tuple[list[Any], list[Any]], grads: list[Any]) -> Any:
            parameters, variables = state
            return optimizer.stateless_apply(variables, grads, parameters)

        self._update = jax.jit(update, donate_argnums=0)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, and assign what it returns. Raises `StepFailed` where it raises."""
        built, optimizer = self._built, self._built.optimizer
        there = built.tensors(gradients)
        if not there:
            return
        with built.reporting("stateless_apply()"), built.entered(), warnings.catch_warnings():
            # Keras says so of every gradient that is None; `apply` is not given those by the eager way.
            warnings.filterwarnings("ignore", "Gradients do not exist", UserWarning)
            optimizer.learning_rate = lr
            parameters = list(built.variables.values())
            state = [variable.value for variable in parameters], [variable.value for variable in optimizer.variables]
            new = self._update(state, [there.get(name) for name in built.variables])
            for variables, values in zip((parameters, optimizer.variables), new, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
        self._steps += 1
        if tuple(there) not in self._patterns:
            self._patterns.add(tuple(there))
            self._asked += self._body.asked(gradients)

    def seen(self) -> tuple[bool, str]:
        """Return whether the body was traced once for every pattern of gradients, and never ran otherwise."""
        body = self._body
        said = (
            f"{self._steps} steps by a jitted stateless_apply, for whose {len(self._patterns)} pattern(s) of gradients "
            f"{body.method} was traced {body.traced} times of {self._asked} asked for, and ran {body.with_values} "
            "times eagerly"
        )
        return body.traced == self._asked > 0 and not body.with_values, said


def _is_traced(given: Any) -> bool:
    """Return whether JAX is tracing a gradient, or one of a list of them."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(given))
