"""TensorFlow: Keras 3 optimizers on the TensorFlow backend."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import native_output, saved_attributes
from .arrays import Piece, chosen, host_copies, pack
from .devices import resolve_device
from .errors import BuildFailed, MissingFramework, StepFailed, UnknownOption, foreign_code
from .frameworks import FRAMEWORKS, prepare_environment
from .keras_casts import DECAY_CASTS, UPDATE_CASTS
from .options import constructor_arguments, held_values, names_of, own_name, without_unaccepted_lr
from .protocol import PLAIN, Array, Cast, Gradients, Layout, MissingGradient, Target
from .saved_attributes import SavedValues
from .text import escape_control

BACKEND = "tensorflow"

PATHS: Mapping[str, Mapping[str, Any] | None] = {"eager": None, "function": {}, "compiled": {"jit_compile": True}}
"""Path -> options of `tf.function`, None for no `tf.function` at all."""

CANONICAL_STATE: Mapping[str, str] = {"velocities": "v", "velocity_hats": "v_max"}
"""Attribute that lists one variable per parameter -> canonical slot; for `momentums` see `read_state`."""

_SCALARS = (bool, int, float, str, type(None))


def _wrong_backend(found: str) -> MissingFramework:
    return MissingFramework(
        f"Keras runs on {found!r} in this process, but the {BACKEND} adapter needs the "
        f"{BACKEND!r} backend. Set KERAS_BACKEND={BACKEND} before Keras is imported, or unset it."
    )


def _import_keras() -> tuple[Any, Any]:
    """Import TensorFlow and Keras. Raises `MissingFramework` where Keras is set to another backend."""
    prepare_environment(FRAMEWORKS[BACKEND])
    asked = os.environ["KERAS_BACKEND"]
    if asked != BACKEND:
        raise _wrong_backend(asked)
    with native_output.without_noise():
        import keras
        import tensorflow
    if keras.backend.backend() != BACKEND:  # imported earlier, under another setting
        raise _wrong_backend(str(keras.backend.backend()))
    return tensorflow, keras


tf, keras = _import_keras()


@dataclass(frozen=True, slots=True)
class KerasSnapshot:
    """Values of the parameters, of every variable of the optimizer, and of its changed plain attributes."""

    parameters: tuple[Array, ...]
    variables: tuple[Array, ...]
    attributes: SavedValues


class KerasAdapter:
    """Builds Keras optimizers: `eager`, in a `tf.function`, or in one that XLA compiles (`compiled`)."""

    framework = BACKEND
    paths = tuple(PATHS)

    def versions(self) -> dict[str, str]:
        """Return the versions of TensorFlow, Keras and NumPy."""
        return {"tensorflow": str(tf.__version__), "keras": str(keras.__version__), "numpy": np.__version__}

    def devices(self) -> tuple[str, ...]:
        """Return `cpu` and one `gpu:N` for every GPU."""
        return ("cpu", *(f"gpu:{index}" for index in range(len(tf.config.list_physical_devices("GPU")))))

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
    ) -> KerasOptimizer:
        """Construct `target` and build it over Keras variables that hold copies of `parameters`.

        Raises `UnknownOption`, `MissingDevice` or `BuildFailed`.
        """
        place = resolve_device(
            device,
            self.devices(),
            self.framework,
            "Install a TensorFlow with GPU support and see tf.config.list_physical_devices('GPU').",
        )
        if path not in (None, *PATHS):
            raise UnknownOption(f"tensorflow has no path {path!r}; expected one of {', '.join(PATHS)}.")
        arguments = constructor_arguments(target, without_unaccepted_lr(target, hyperparameters))
        lr_option = own_name(target, "lr")
        if lr_option in arguments and isinstance(arguments[lr_option], int):
            arguments[lr_option] = float(arguments[lr_option])  # Keras refuses an int
        spec = escape_control(target.spec)
        copies = host_copies(parameters, dtype)
        with tf.device(place), foreign_code(BuildFailed, f"{spec}: the constructor"):
            built = target.attribute(**arguments)
        if not all(callable(getattr(built, name, None)) for name in ("build", "apply")):
            raise BuildFailed(
                f"{spec} returned {escape_control(type(built).__name__)}, which has no build and apply; "
                "a Keras target returns an optimizer."
            )
        with tf.device(place), foreign_code(BuildFailed, f"{spec}: build()"):
            names = _variable_names(copies)
            variables = {name: keras.Variable(array, dtype=dtype, name=names[name]) for name, array in copies.items()}
            built.build(list(variables.values()))
        return KerasOptimizer(target, built, variables, dtype, place, held_values(target, arguments, built), path)


class KerasOptimizer:
    """A Keras optimizer over its own variables.

    A parameter without a gradient is filtered out as `Optimizer.apply` itself does, without its warning;
    the iteration count is the optimizer's and moves. With no gradient at all, `apply` has nothing to be
    called with, and neither variables nor count move.
    """

    missing_gradient = MissingGradient.SKIPPED_SHARED_COUNT
    computes_in: str | None = None

    def __init__(
        self,
        target: Target,
        built: Any,
        variables: Mapping[str, Any],
        dtype: str,
        device: str,
        held: Mapping[str, Any],
        path: str | None,
    ) -> None:
        self.optimizer = built
        """The optimizer itself, for checks that need the framework's own interface."""
        self.held = {name: _plain(value) for name, value in held.items() if name != "name"}
        self.casts = casts_of(built, dtype)
        # Keras casts beta and the iteration to the variables' dtype before it takes the power.
        self.scalars_in = dtype if dtype in ("float16", "bfloat16") else None
        self._spec = escape_control(target.spec)
        self._variables = dict(variables)
        self._shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        self._dtype = dtype
        self._device = device
        self._function_options = PATHS[path or "eager"]
        self._applied: dict[tuple[str, ...], Callable[[Any], Any]] = {}
        skipped = names_of(target, "lr", "weight_decay")
        self._skip = skipped | {f"_{name}" for name in skipped}
        self._first = saved_attributes.first_values(self._plain_attributes(), (), self._skip)

    def step(self, gradients: Gradients, lr: float) -> None:
        """Apply one update. Raises `StepFailed` where it raises."""
        buffer, pieces = pack(gradients, self._shapes, self._dtype)
        if not pieces:
            return
        with tf.device(self._device), foreign_code(StepFailed, f"{self._spec}: apply()"):
            self.optimizer.learning_rate = lr
            self._apply(pieces)(tf.constant(buffer))

    def read_parameters(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of the parameters (all, or those named)."""
        return {name: _value(self._variables[name]) for name in chosen(names, self._shapes)}

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of every attribute that lists one variable per parameter: slot -> name -> array.

        `momentums` is `m` beside `velocities`, as in Adam. Alone it keeps its name: Keras's SGD holds the buffer
        with its sign turned, mu * buffer - lr * g, where the canonical `momentum` is mu * buffer + lr * g.
        """
        lists = {name.strip("_"): value for name, value in vars(self.optimizer).items() if self._is_slot(value)}
        canonical = {**CANONICAL_STATE, **({"momentums": "m"} if "velocities" in lists else {})}
        return {
            canonical.get(attribute, attribute): {
                name: _value(variable)
                for name, variable in zip(self._variables, value, strict=True)
                if variable is not None
            }
            for attribute, value in lists.items()
        }

    def snapshot(self) -> KerasSnapshot:
        """Return the values of all variables but the learning rate, and of plain attributes that changed."""
        return KerasSnapshot(
            parameters=tuple(_value(variable) for variable in self._variables.values()),
            variables=tuple(_value(variable) for variable in self._state_variables()),
            attributes=saved_attributes.save(self._plain_attributes(), self._first, (), self._skip),
        )

    def restore(self, snapshot: KerasSnapshot) -> None:
        """Return to a snapshot of this instance, or of one built with other hyperparameters."""
        for variable, value in zip(self._variables.values(), snapshot.parameters, strict=True):
            variable.assign(value)
        for variable, value in zip(self._state_variables(), snapshot.variables, strict=True):
            variable.assign(value)
        there = self._plain_attributes()
        restored = dict(there)
        saved_attributes.restore(restored, snapshot.attributes, self._first, (), self._skip)
        attributes = vars(self.optimizer)
        for name in there.keys() - restored.keys():
            del attributes[name]
        attributes.update(restored)

    def _apply(self, pieces: Sequence[Piece]) -> Callable[[Any], Any]:
        """Return the function that applies a packed buffer; one per pattern of gradients that are there."""
        pattern = tuple(piece.name for piece in pieces)
        if pattern not in self._applied:
            variables = [self._variables[name] for name in pattern]

            def apply(buffer: Any) -> None:
                parts = tf.split(buffer, [piece.stop - piece.start for piece in pieces])
                grads = [tf.reshape(part, piece.shape) for part, piece in zip(parts, pieces, strict=True)]
                self.optimizer.apply(grads, variables)

            # Traced here, not at the first call: TensorFlow takes many patterns for a retracing mistake.
            self._applied[pattern] = (
                apply
                if self._function_options is None
                else tf.function(apply, **self._function_options).get_concrete_function(
                    tf.TensorSpec([pieces[-1].stop], self._dtype)
                )
            )
        return self._applied[pattern]

    def _is_slot(self, value: Any) -> bool:
        """Return whether `value` lists one variable of each parameter's shape, none of them a parameter."""
        if not isinstance(value, list | tuple) or len(value) != len(self._shapes) or not value:
            return False
        parameters = {id(variable) for variable in self._variables.values()}
        return (
            any(item is not None for item in value)
            and all(
                item is None or (_is_variable(item) and tuple(item.shape) == shape and id(item) not in parameters)
                for item, shape in zip(value, self._shapes.values(), strict=True)
            )
            and value is not getattr(self.optimizer, "_variables", None)
        )

    def _state_variables(self) -> list[Any]:
        """Return every variable of the optimizer but the learning rate and the decay, each once.

        `optimizer.variables` alone would not do: it knows no bare `tf.Variable` that an optimizer keeps.
        """
        attributes = vars(self.optimizer)
        left_out = {id(value) for name, value in attributes.items() if name in self._skip and _is_variable(value)}
        left_out |= {id(variable) for variable in self._variables.values()}
        found = {id(variable): variable for variable in self.optimizer.variables}
        for value in attributes.values():
            found |= {id(variable): variable for variable in _variables_in(value)}
        return [variable for key, variable in found.items() if key not in left_out]

    def _plain_attributes(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.optimizer).items() if isinstance(value, _SCALARS)}


def casts_of(optimizer: Any, dtype: str) -> tuple[Cast, ...]:
    """Return what a Keras optimizer over weights of `dtype` rounds below their precision.

    Only float64 weights are wider than what Keras rounds to. Which casts hold is decided by the class
    whose `update_step` runs: an optimizer that brings its own is not Keras's, whatever it inherits from.
    """
    if dtype != "float64":
        return ()
    rate: Any = getattr(optimizer, "_learning_rate", None)
    rate_dtype = keras.backend.standardize_dtype(rate.dtype) if _is_variable(rate) else "float32"
    casts: tuple[Cast, ...] = (Cast("lr", rate_dtype),) if rate_dtype != dtype else ()
    if _owner(optimizer, "_apply_weight_decay") is not None:
        casts += DECAY_CASTS
    return casts + UPDATE_CASTS.get(_owner(optimizer, "update_step") or "", ())


def _owner(optimizer: Any, method: str) -> str | None:
    """Return the name of the Keras class that defines `method` for this optimizer, None if it is no Keras class."""
    cls = next((base for base in type(optimizer).__mro__ if method in vars(base)), None)
    return cls.__name__ if cls is not None and cls.__module__.partition(".")[0] == "keras" else None


def _is_variable(value: Any) -> bool:
    return isinstance(value, keras.Variable | tf.Variable)


def _variables_in(value: Any) -> Iterator[Any]:
    if _is_variable(value):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _variables_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _variables_in(item)


def _value(variable: Any) -> Array:
    return np.array(variable.numpy() if hasattr(variable, "numpy") else keras.ops.convert_to_numpy(variable))


def _plain(value: Any) -> Any:
    """Return a scalar variable or tensor as the number it holds, all else as it is."""
    return value.numpy().item() if (_is_variable(value) or tf.is_tensor(value)) and tuple(value.shape) == () else value


def _variable_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name that Keras and TensorFlow take for every parameter, the number making it unique."""
    return {name: f"{re.sub('[^A-Za-z0-9_]', '_', name)}__{number}" for number, name in enumerate(names)}
