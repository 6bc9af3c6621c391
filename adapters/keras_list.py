"""One Keras optimizer over one list of variables: what it is fed, what it holds, how it is saved."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import saved_attributes
from .arrays import Piece, pack
from .keras_import import is_variable, tf
from .keras_slots import slots_of
from .protocol import Array, SparseRows
from .saved_attributes import SavedValues

PATHS: Mapping[str, Mapping[str, Any] | None] = {"eager": None, "function": {}, "compiled": {"jit_compile": True}}
"""Path -> options of `tf.function`, None for no `tf.function` at all."""

_SCALARS = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class ListSnapshot:
    """Values of the parameters, of every variable of the optimizer, and of its changed plain attributes."""

    parameters: tuple[Array, ...]
    variables: tuple[Array, ...]
    attributes: SavedValues


class KerasList:
    """A built Keras optimizer and the variables that it was built with, by parameter name.

    Nothing here says on which device, and nothing catches what the optimizer raises: that is the caller's.
    """

    def __init__(
        self, built: Any, variables: Mapping[str, Any], dtypes: Mapping[str, str], path: str, not_saved: frozenset[str]
    ) -> None:
        self.optimizer = built
        self.variables = dict(variables)
        self.functions: list[tuple[Any, Any]] = []
        """Every `tf.function` that was made of it, which keeps the plain numbers that it read, and its one trace."""
        self._shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        self._names_by_dtype = {
            dtype: [name for name in variables if dtypes[name] == dtype] for dtype in dict.fromkeys(dtypes.values())
        }
        self._dtypes = {name: dtypes[name] for name in variables}
        self._function_options = PATHS[path]
        self._applied: dict[tuple[tuple[str, int | None], ...], Callable[..., Any]] = {}
        self._skip = not_saved | {f"_{name}" for name in not_saved}
        self._first = saved_attributes.first_values(self._plain_attributes(), (), self._skip)

    def step(self, gradients: Mapping[str, Array | SparseRows], lr: float) -> None:
        """Apply one update with the gradients that are there, at least one, of this list's parameters."""
        sparse = {name: rows for name, rows in gradients.items() if isinstance(rows, SparseRows)}
        dense = {name: array for name, array in gradients.items() if not isinstance(array, SparseRows)}
        tensors: list[Any] = []
        packed: list[list[Piece]] = []
        for dtype, names in self._names_by_dtype.items():
            shapes = {name: self._shapes[name] for name in names}
            buffer, pieces = pack({name: dense.get(name) for name in names}, shapes, dtype)
            if pieces:
                tensors.append(tf.constant(buffer))
                packed.append(pieces)
        for name, rows in sparse.items():
            tensors.append(tf.constant(rows.values, self._dtypes[name]))
            tensors.append(tf.constant(rows.indices, "int64"))
        pattern: tuple[tuple[str, int | None], ...] = (
            *((piece.name, None) for pieces in packed for piece in pieces),
            *((name, len(rows.indices)) for name, rows in sparse.items()),
        )
        if pattern not in self._applied:
            self._applied[pattern] = self._function(packed, list(sparse), tensors)
        self.optimizer.learning_rate = lr
        self._applied[pattern](*tensors)

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of every attribute that lists one variable per parameter: slot -> name -> array.

        The slots are those of `slots_of`.
        """
        return {
            slot: {name: value_of(variable) for name, variable in each.items()}
            for slot, each in slots_of(self.optimizer, self.variables).items()
        }

    def snapshot(self) -> ListSnapshot:
        """Return the values of all variables but the learning rate, and of plain attributes that changed."""
        return ListSnapshot(
            parameters=tuple(value_of(variable) for variable in self.variables.values()),
            variables=tuple(value_of(variable) for variable in self._state_variables()),
            attributes=saved_attributes.save(self._plain_attributes(), self._first, (), self._skip),
        )

    def restore(self, snapshot: ListSnapshot) -> None:
        """Return to a snapshot of this list, or of one whose optimizer has other hyperparameters."""
        for variable, value in zip(self.variables.values(), snapshot.parameters, strict=True):
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

    def save(self) -> dict[str, Array]:
        """Return what `save_own_variables` stores, as Keras's `.keras` and `.weights.h5` files hold it."""
        store: dict[str, Any] = {}
        self.optimizer.save_own_variables(store)
        return {key: np.array(value) for key, value in store.items()}

    def load(self, saved: Mapping[str, Array]) -> None:
        """Take over a store. Where Keras warns that it skips the store, that warning is raised."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            self.optimizer.load_own_variables({key: np.array(value) for key, value in saved.items()})

    def _function(
        self, packed: Sequence[Sequence[Piece]], sparse: Sequence[str], tensors: Sequence[Any]
    ) -> Callable[..., Any]:
        """Return the function that applies `tensors`; one per pattern of gradients that are there."""

        def apply(*given: Any) -> None:
            grads: dict[str, Any] = {}
            for pieces, buffer in zip(packed, given, strict=False):
                parts = tf.split(buffer, [piece.stop - piece.start for piece in pieces])
                grads |= {p.name: tf.reshape(part, p.shape) for part, p in zip(parts, pieces, strict=True)}
            rest = given[len(packed) :]
            for name, values, indices in zip(sparse, rest[::2], rest[1::2], strict=True):
                grads[name] = tf.IndexedSlices(values, indices, tf.constant(self._shapes[name], "int64"))
            named = {name: variable for name, variable in self.variables.items() if name in grads}
            self.optimizer.apply([grads[name] for name in named], list(named.values()))

        if self._function_options is None:
            return apply
        # Traced here, not at the first call: TensorFlow takes many patterns for a retracing mistake.
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
        function = tf.function(apply, **self._function_options)
        traced = function.get_concrete_function(*specs)
        self.functions.append((function, traced))
        return traced  # type: ignore[no-any-return]

    def _state_variables(self) -> list[Any]:
        """Return every variable of the optimizer but the learning rate and the decay, each once.

        `optimizer.variables` alone would not do: it knows no bare `tf.Variable` that an optimizer keeps.
        """
        attributes = vars(self.optimizer)
        left_out = {id(value) for name, value in attributes.items() if name in self._skip and is_variable(value)}
        left_out |= {id(variable) for variable in self.variables.values()}
        found = {id(variable): variable for variable in self.optimizer.variables}
        for value in attributes.values():
            found |= {id(variable): variable for variable in _variables_in(value)}
        return [variable for key, variable in found.items() if key not in left_out]

    def _plain_attributes(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.optimizer).items() if isinstance(value, _SCALARS)}


def value_of(variable: Any) -> Array:
    """Return a copy of a variable's value."""
    return np.array(variable.numpy())


def excluded_by(optimizer: Any, variables: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of those variables that the optimizer would not decay, by Keras's own list and pattern."""
    decays = getattr(optimizer, "_use_weight_decay", None)
    if decays is None:
        return frozenset()
    # Keras asks for the tf.Variable inside, whose name ends in ":0".
    return frozenset(name for name, variable in variables.items() if not decays(variable.value))


def _variables_in(value: Any) -> Iterator[Any]:
    if is_variable(value):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _variables_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _variables_in(item)
