"""JAX: factories that return an Optax gradient transformation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
import numpy as np
import optax

from .arrays import chosen, host_copies, host_dtype, present
from .devices import resolve_device
from .errors import BuildFailed, NotReplayable, StepFailed, UnknownOption, foreign_code
from .options import constructor_arguments, default_of, held_values, names_of, own_name
from .protocol import PLAIN, Array, Cast, Gradients, Layout, MissingGradient, Target
from .text import escape_control

CANONICAL_STATE: Mapping[str, str] = {"mu": "m", "nu": "v", "nu_max": "v_max", "trace": "momentum"}
"""Field of an Optax state -> canonical slot. Other names stay."""


@dataclass(frozen=True, slots=True)
class OptaxSnapshot:
    """Parameters and state at one moment. JAX arrays never change, so nothing needs copying."""

    parameters: Mapping[str, Any]
    state: Any


class OptaxAdapter:
    """Builds Optax gradient transformations, stepped op by op (`eager`) or under `jax.jit` (`compiled`)."""

    framework = "jax"
    paths = ("eager", "compiled")

    def versions(self) -> dict[str, str]:
        """Return the versions of JAX, jaxlib, Optax and NumPy."""
        return {
            "jax": str(jax.__version__),
            "jaxlib": metadata.version("jaxlib"),
            "optax": str(optax.__version__),
            "numpy": np.__version__,
        }

    def devices(self) -> tuple[str, ...]:
        """Return `cpu`, unless JAX_PLATFORMS leaves it out, and one `gpu:N` for every GPU."""
        cpu = ("cpu",) if _devices("cpu") else ()
        return (*cpu, *(f"gpu:{index}" for index in range(len(_devices("gpu")))))

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
    ) -> OptaxOptimizer:
        """Call the factory, with a schedule callable for its learning rate, and initialise its state.

        Raises `UnknownOption` (also where the factory takes no learning rate: steps could then not be
        told theirs), `MissingDevice` or `BuildFailed`.
        """
        place = resolve_device(
            device,
            self.devices(),
            self.framework,
            "Install JAX for it: pip install 'jax[cuda12]', and see jax.devices().",
        )
        if path not in (None, *self.paths):
            raise UnknownOption(f"jax has no path {path!r}; expected one of {', '.join(self.paths)}.")
        spec = escape_control(target.spec)
        lr_option = own_name(target, "lr")
        if lr_option is None:
            raise UnknownOption(
                f"{spec} takes no learning rate, so the replay cannot set one for each step. Give it an option "
                "learning_rate that may be a schedule, or say which option it is with --map lr=NAME."
            )
        arguments = constructor_arguments(target, hyperparameters)
        rate = _LearningRate(arguments.get(lr_option, default_of(target, "lr")))
        held = held_values(target, arguments)
        kind, _, index = place.partition(":")
        scope = _Scope(dtype, _devices(kind)[int(index or 0)])
        placed = scope.put(host_copies(parameters, dtype))
        hint = f" ({lr_option} was a schedule, a callable of the step count, as Optax allows)"
        with scope.entered(), foreign_code(BuildFailed, f"{spec}: the factory", hint):
            transformation = target.attribute(**{**arguments, lr_option: rate})
        if not all(callable(getattr(transformation, name, None)) for name in ("init", "update")):
            raise BuildFailed(
                f"{spec} returned {escape_control(type(transformation).__name__)}, which has no init and update; "
                "an Optax target returns a gradient transformation."
            )
        with scope.entered(), foreign_code(BuildFailed, f"{spec}: init()", hint):
            state = transformation.init(placed)
        return OptaxOptimizer(target, transformation, placed, state, rate, scope, held, compiled=path == "compiled")


class OptaxOptimizer:
    """A gradient transformation with its parameters and state. A missing gradient is one of zeros."""

    casts: tuple[Cast, ...] = ()
    missing_gradient = MissingGradient.ZERO
    computes_in: str | None = None
    scalars_in: str | None = None

    def __init__(
        self,
        target: Target,
        transformation: Any,
        parameters: Mapping[str, Any],
        state: Any,
        rate: _LearningRate,
        scope: _Scope,
        held: Mapping[str, Any],
        *,
        compiled: bool,
    ) -> None:
        self.transformation = transformation
        """The gradient transformation itself, for checks that need the framework's own interface."""
        self.held = dict(held)
        self._spec = escape_control(target.spec)
        self._parameters: dict[str, Any] = dict(parameters)
        self._state = state
        self._rate = rate
        self._scope = scope
        self._shapes = {name: tuple(value.shape) for name, value in parameters.items()}
        self._not_restored = names_of(target, "lr", "weight_decay")
        self._required = _required_arguments(transformation.update)
        self._advance: Callable[..., Any] = jax.jit(self._update) if compiled else self._update

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update and wait for it.

        Raises `NotReplayable` where the update needs more than gradients, `StepFailed` where it raises.
        """
        if self._required:
            raise NotReplayable(
                f"{self._spec}: update() needs {', '.join(self._required)}; recorded gradients alone cannot drive it."
            )
        dtype = self._scope.dtype
        found = host_copies(present(gradients, self._shapes), dtype)
        every = {name: found.get(name, np.zeros(shape, host_dtype(dtype))) for name, shape in self._shapes.items()}
        placed = self._scope.put(every)
        with self._scope.entered(), foreign_code(StepFailed, f"{self._spec}: update()"):
            # A Python float is weakly typed inside jit as outside: it takes the dtype of what it scales.
            stepped = self._advance(self._parameters, self._state, placed, float(lr))
            self._parameters, self._state = jax.block_until_ready(stepped)

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        return {name: np.array(self._parameters[name]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of every field of the state that is a tree like the parameters: slot -> name -> array.

        A field name met again in the same chain gets a number: `momentum`, `momentum_2`.
        """
        slots: dict[str, dict[str, Array]] = {}
        for path, leaf in jax.tree_util.tree_flatten_with_path(self._state)[0]:
            field, name = _field_and_parameter(path)
            if field is None or name not in self._shapes:
                continue
            slot = base = CANONICAL_STATE.get(field, field)
            number = 1
            while name in slots.get(slot, {}):
                number += 1
                slot = f"{base}_{number}"
            slots.setdefault(slot, {})[name] = np.array(leaf)
        return slots

    def snapshot(self) -> OptaxSnapshot:
        """Return parameters and state."""
        return OptaxSnapshot(dict(self._parameters), self._state)

    def restore(self, snapshot: OptaxSnapshot) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters.

        A learning rate or decay inside the state (`optax.inject_hyperparams`) stays this instance's own.
        """
        own, structure = jax.tree_util.tree_flatten_with_path(self._state)
        saved = jax.tree_util.tree_leaves(snapshot.state)
        leaves = [
            mine if _is_injected(path, self._not_restored) else theirs
            for (path, mine), theirs in zip(own, saved, strict=True)
        ]
        self._state = jax.tree_util.tree_unflatten(structure, leaves)
        self._parameters = dict(snapshot.parameters)

    def _update(self, parameters: Any, state: Any, gradients: Any, lr: Any) -> tuple[Any, Any]:
        with self._rate.set_to(lr):
            updates, new_state = self.transformation.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), new_state


class _LearningRate:
    """A schedule that answers with the learning rate of the step at hand, whatever the count."""

    def __init__(self, initial: Any) -> None:
        self._value = initial if isinstance(initial, int | float) else 0.0

    def __call__(self, count: Any) -> Any:
        return self._value

    @contextmanager
    def set_to(self, lr: Any) -> Iterator[None]:
        """Answer `lr` inside the block: a number, or a tracer that must not outlive its trace."""
        before, self._value = self._value, lr
        try:
            yield
        finally:
            self._value = before


class _Scope:
    """Device and dtype of one optimizer; 64-bit arrays are on inside `entered()` alone, never globally."""

    def __init__(self, dtype: str, device: Any) -> None:
        self.dtype = dtype
        self._device = device
        if hasattr(jax, "enable_x64"):
            self._enable_x64 = jax.enable_x64
        else:  # where JAX is older
            from jax.experimental import enable_x64

            self._enable_x64 = enable_x64

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._enable_x64(self.dtype == "float64"), jax.default_device(self._device):
            yield

    def put(self, tree: Mapping[str, Array]) -> dict[str, Any]:
        """Move a whole tree in one call."""
        with self.entered():
            moved: dict[str, Any] = jax.device_put(dict(tree), self._device)
        return moved


def _devices(kind: str) -> list[Any]:
    """Return JAX's devices of a kind, `cpu` or `gpu`."""
    try:
        return list(jax.devices(kind))
    except RuntimeError:  # how JAX says that it has no such backend
        return []


def _required_arguments(update: Callable[..., Any]) -> list[str]:
    """Return the arguments without default that `update` wants besides gradients, state and parameters."""
    try:
        parameters = inspect.signature(update).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def _field_and_parameter(path: tuple[Any, ...]) -> tuple[str | None, Any]:
    """Return the innermost field name along a key path, and the dictionary key that ends it."""
    fields = [str(key.name) for key in path if hasattr(key, "name")]
    return (fields[-1] if fields else None), getattr(path[-1], "key", None)


def _is_injected(path: tuple[Any, ...], names: frozenset[str]) -> bool:
    field, key = _field_and_parameter(path) if path else (None, None)
    return field == "hyperparams" and key in names
