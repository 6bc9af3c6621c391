"""JAX: factories that return an Optax gradient transformation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
import numpy as np
import optax

from .arrays import chosen, host_dtype, present
from .devices import resolve_device
from .errors import BuildFailed, NotReplayable, NotSupported, StepFailed, UnknownOption, foreign_code
from .jax_control_flow import has_control_flow
from .jax_scope import Scope, device_called, present_devices
from .layouts import copies_in, dtypes_of, lists_of
from .optax_build import accumulated, by_list, required_arguments, with_mask
from .optax_state import OptaxSnapshot, SavedState, is_injected, loaded, merged, saved, slots_of
from .options import constructor_arguments, default_of, held_values, names_of, own_name
from .protocol import PLAIN, Array, Cast, Gradients, Layout, MissingGradient, Target
from .text import escape_control


class OptaxAdapter:
    """Builds Optax gradient transformations, stepped op by op (`eager`) or under `jax.jit` (`compiled`)."""

    framework = "jax"
    paths = ("eager", "compiled")
    compiled_paths = ("compiled",)

    def __init__(self) -> None:
        self._in_python: dict[tuple[str, bool], bool] = {}
        """Whether a target, accumulating or not, has control flow; were it otherwise with other options, it is slow."""

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
        return present_devices()

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

        Several lists are labels of one `optax.multi_transform`, the factory called once for each;
        `layout.undecayed` becomes the target's mask option; `layout.accumulate` wraps all in `optax.MultiSteps`.

        Raises `UnknownOption` (also where the factory takes no learning rate: steps could then not be
        told theirs), `MissingDevice` or `BuildFailed`, `NotSupported` where the target has no mask, and
        `ValueError` for a layout that does not name every parameter in one group.
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
        dtypes = dtypes_of(layout, parameters, dtype)
        double = "float64" in dtypes.values()
        scope = Scope(device_called(place), double=double)
        placed = scope.put(copies_in(parameters, dtypes))
        hint = f" ({lr_option} was a schedule, a callable of the step count, as Optax allows)"

        def made() -> Any:
            with foreign_code(BuildFailed, f"{spec}: the factory", hint):
                built = target.attribute(**{**arguments, lr_option: rate})
            if not all(callable(getattr(built, name, None)) for name in ("init", "update")):
                raise BuildFailed(
                    f"{spec} returned {escape_control(type(built).__name__)}, which has no init and update; "
                    "an Optax target returns a gradient transformation."
                )
            return built

        def whole() -> tuple[Any, list[Any]]:
            transformation, parts = by_list(lists_of(layout, placed), made)
            if layout.accumulate > 1:
                transformation = accumulated(transformation, layout.accumulate, double=double)
            return transformation, parts

        with scope.entered():
            arguments, excluded = with_mask(target, arguments, placed, layout.undecayed)
            transformation, parts = whole()
            with foreign_code(BuildFailed, f"{spec}: init()", hint):
                state = transformation.init(placed)
            key = (target.spec, layout.accumulate > 1)
            if path != "compiled" and key not in self._in_python:
                # Of another instance: tracing calls a function once more, which one with state of its own would feel.
                self._in_python[key] = has_control_flow(whole()[0].update, placed, state, placed)
        required = sorted({name for part in parts for name in required_arguments(part.update)})
        bound = _Bound(
            transformation, rate, scope, dtypes, held, excluded, tuple(required), self._in_python.get(key, False)
        )
        return OptaxOptimizer(target, bound, placed, state, compiled=path == "compiled")


@dataclass(frozen=True, slots=True)
class _Bound:
    """A transformation with all that was settled when it was built."""

    transformation: Any
    rate: _LearningRate
    scope: Scope
    dtypes: Mapping[str, str]
    held: Mapping[str, Any]
    excluded: frozenset[str]
    required: Sequence[str]
    """Arguments that `update` wants beyond gradients, state and parameters."""
    in_python: bool
    """Whether loops and branches are run in Python where a step runs op by op, there being some."""


class OptaxOptimizer:
    """A gradient transformation with its parameters and state. A missing gradient is one of zeros."""

    casts: tuple[Cast, ...] = ()
    missing_gradient = MissingGradient.ZERO
    computes_in: str | None = None
    scalars_in: str | None = None

    def __init__(
        self, target: Target, bound: _Bound, parameters: Mapping[str, Any], state: Any, *, compiled: bool
    ) -> None:
        self.transformation = bound.transformation
        """The gradient transformation itself, for what needs the framework's own interface, or stands in for it."""
        self.held = dict(bound.held)
        self.excluded = bound.excluded
        self.scope = bound.scope
        self._spec = escape_control(target.spec)
        self._bound = bound
        self._parameters: dict[str, Any] = dict(parameters)
        self._state = state
        self._shapes = {name: tuple(value.shape) for name, value in parameters.items()}
        self._decay_names = names_of(target, "weight_decay")
        self._not_restored = names_of(target, "lr", "weight_decay")
        self.advance: Callable[..., Any] = jax.jit(self.update) if compiled else self._op_by_op
        """How `apply` executes `update`; whatever takes and returns the same may be put here."""

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update, or one micro-step, and wait for it. Raises as `rounded` and `apply` do."""
        # A Python float is weakly typed inside jit as outside: it takes the dtype of what it scales.
        self.apply(self.scope.put(self.rounded(gradients, self._bound.dtypes)), float(lr))

    def rounded(self, gradients: Gradients, dtypes: Mapping[str, str]) -> dict[str, Array]:
        """Return copies of the gradients, each in its parameter's entry of `dtypes`, zeros for those missing.

        Raises `NotSupported` for a sparse gradient, which JAX has no optimizers for.
        """
        found = copies_in(present(gradients, self._shapes), dtypes)
        return {
            name: found[name] if name in found else np.zeros(shape, host_dtype(dtypes[name]))
            for name, shape in self._shapes.items()
        }

    def apply(self, gradients: Any, lr: Any) -> None:
        """Hand gradients that are on the device to `advance`, and wait for it.

        Raises `NotReplayable` where the update needs more than gradients, `StepFailed` where it raises.
        """
        if self._bound.required:
            raise NotReplayable(
                f"{self._spec}: update() needs {', '.join(self._bound.required)}; "
                "recorded gradients alone cannot drive it."
            )
        with self._reporting("update()"):
            stepped = self.advance(self._parameters, self._state, gradients, lr)
            self._parameters, self._state = jax.block_until_ready(stepped)

    def update(self, parameters: Any, state: Any, gradients: Any, lr: Any) -> tuple[Any, Any]:
        """Return parameters and state after one step from those given: a pure function, for `jax.jit` and the like."""
        with self._bound.rate.set_to(lr):
            updates, new_state = self.transformation.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), new_state

    def gradients_left(self) -> dict[str, Array]:
        """Raise `NotSupported`: a step gets JAX arrays, which nothing can change."""
        raise NotSupported("JAX's arrays cannot be changed, so a step cannot reach the caller's gradients.")

    def set_weight_decay(self, value: float) -> None:
        """Set weight decay inside the state, where `optax.inject_hyperparams` keeps it.

        Raises `NotSupported` where the state holds none: Optax then binds the number for good.
        """
        flat, structure = jax.tree_util.tree_flatten_with_path(self._state)
        if not any(is_injected(path, self._decay_names) for path, _ in flat):
            raise NotSupported(
                f"{self._spec} bound weight decay when it was built. Optax keeps it changeable in the state only "
                "where the factory is wrapped in optax.inject_hyperparams."
            )
        with self._reporting("setting weight decay in its state"):
            leaves = [
                jax.numpy.full_like(leaf, value) if is_injected(path, self._decay_names) else leaf
                for path, leaf in flat
            ]
            self._state = jax.tree_util.tree_unflatten(structure, leaves)

    def save(self) -> SavedState:
        """Return the leaves of the state as NumPy arrays, and the state's structure."""
        with self._reporting("saving its state"):
            return saved(self._state)

    def load(self, state: SavedState) -> None:
        """Take over saved leaves. Raises `StepFailed` where structure, shapes or dtypes are not this state's."""
        with self._reporting("loading its state"):
            self._state = loaded(state, self._state, self.scope)

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        return {name: np.array(self._parameters[name]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of every field of the state that is a tree like the parameters: slot -> name -> array.

        A field name met again in the same chain gets a number: `momentum`, `momentum_2`.
        """
        return slots_of(self._state, self._shapes)

    def snapshot(self) -> OptaxSnapshot:
        """Return parameters and state."""
        return OptaxSnapshot(dict(self._parameters), self._state)

    def restore(self, snapshot: OptaxSnapshot) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters.

        A learning rate or decay inside the state (`optax.inject_hyperparams`) stays this instance's own.
        """
        with self._reporting("restoring its state"):
            self._state = merged(self._state, snapshot.state, self._not_restored)
        self._parameters = dict(snapshot.parameters)

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        """Work on the optimizer's device and raise `StepFailed` for whatever the optimizer raises."""
        with self.scope.entered(), foreign_code(StepFailed, f"{self._spec}: {doing}"):
            yield

    def _op_by_op(self, *arguments: Any) -> Any:
        """Return what `update` does, with loops and branches run in Python."""
        with jax.disable_jit() if self._bound.in_python else nullcontext():
            return self.update(*arguments)


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
