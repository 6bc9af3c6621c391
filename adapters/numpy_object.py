"""One NumPy optimizer object over its own parameters: stepped, checked, saved."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import saved_attributes
from .errors import NotSupported, StepFailed, foreign_code
from .protocol import Array
from .saved_attributes import SavedValues
from .text import describe_error, escape_control

CANONICAL_STATE: Mapping[str, str] = {
    "m": "m",
    "first_moment": "m",
    "exp_avg": "m",
    "v": "v",
    "second_moment": "v",
    "exp_avg_sq": "v",
    "v_max": "v_max",
    "momentum": "momentum",
    "momentum_buffer": "momentum",
}
"""Attribute that maps parameter names to arrays (leading underscores dropped) -> canonical slot.

A `velocity` is not among them: half of the code in the wild adds it to the parameters, with the sign turned.
"""


@dataclass(frozen=True, slots=True)
class ObjectSnapshot:
    """Parameters and the object's attributes at one moment."""

    parameters: Mapping[str, Array]
    attributes: SavedValues


class NumPyObject:
    """An object with `step(params, grads, lr) -> params`, and the parameters it is stepped with.

    `hyperparameters` are the names of attributes that no snapshot holds, with or without an underscore.
    """

    def __init__(
        self, built: Any, parameters: Mapping[str, Array], spec: str, hyperparameters: Collection[str]
    ) -> None:
        self.optimizer = built
        self.parameters: dict[str, Array] = dict(parameters)
        """The parameters as the last step returned them, each in its own dtype."""
        self.fed: dict[str, Array] = {}
        """The very gradients that the last step was given."""
        self._spec = spec
        self._skip = frozenset(hyperparameters) | {f"_{name}" for name in hyperparameters}
        self._first = saved_attributes.first_values(self._attributes(), (), self._skip)

    def step(self, gradients: Mapping[str, Array], lr: float) -> None:
        """Apply one update with copies of those of `gradients` that are this object's parameters'.

        Raises `StepFailed` where it raises or does not return every parameter in its shape.
        """
        self.fed = {
            name: _rounded(gradients[name], held) for name, held in self.parameters.items() if name in gradients
        }
        every: dict[str, Array | None] = {name: self.fed.get(name) for name in self.parameters}
        # What overflows or becomes NaN is found in the parameters; NumPy's warnings would say it once a line.
        quiet = np.errstate(over="ignore", divide="ignore", invalid="ignore")
        with foreign_code(StepFailed, f"{self._spec}: step()"), quiet:
            returned = self.optimizer.step(dict(self.parameters), every, lr)
        self.parameters = self._checked(returned)

    def set_attribute(self, names: Collection[str], value: float) -> None:
        """Set the first attribute that bears one of `names`, or one with a leading underscore.

        Raises `NotSupported` where there is none, `StepFailed` where setting it raises.
        """
        spellings = [spelling for name in names for spelling in (name, f"_{name}")]
        held = next((name for name in spellings if hasattr(self.optimizer, name)), None)
        if held is None:
            raise NotSupported(f"{self._spec} has no attribute {' or '.join(names)} that could be changed.")
        with foreign_code(StepFailed, f"{self._spec}: setting {held}"):
            setattr(self.optimizer, held, value)

    def save(self) -> bytes:
        """Return `state_dict()`, or the whole object where it has none, pickled.

        Raises `NotSupported` where that cannot be pickled, `StepFailed` where `state_dict` raises.
        """
        with foreign_code(StepFailed, f"{self._spec}: state_dict()"):
            state = self.optimizer.state_dict() if self._has_state_dict() else self.optimizer
        try:
            payload = pickle.dumps(state)
            pickle.loads(payload)
        except Exception as error:  # pickle raises what __reduce__ and imports raise
            raise NotSupported(f"{self._spec} cannot be saved: pickling it raised {describe_error(error)}") from error
        return payload

    def load(self, payload: bytes) -> None:
        """Take over what `save` of an object built alike returned. Raises `StepFailed` where it raises."""
        state = pickle.loads(payload)
        if self._has_state_dict():
            with foreign_code(StepFailed, f"{self._spec}: load_state_dict()"):
                self.optimizer.load_state_dict(state)
        else:
            self.optimizer = state

    def read_state(self) -> dict[str, dict[str, Array]]:
        """Return copies of the attributes that map parameter names to arrays or numbers."""
        slots: dict[str, dict[str, Array]] = {}
        for attribute, value in self._attributes().items():
            if isinstance(value, Mapping) and value and value.keys() <= self.parameters.keys():
                plain = attribute.lstrip("_")
                arrays = {name: np.array(entry) for name, entry in value.items() if _is_numeric(entry)}
                if arrays:
                    slots[CANONICAL_STATE.get(plain, plain)] = arrays
        return slots

    def snapshot(self) -> ObjectSnapshot:
        """Return deep copies of the parameters and of all attributes that changed since construction."""
        with foreign_code(StepFailed, f"{self._spec}: copying its attributes"):
            return ObjectSnapshot(
                parameters={name: array.copy() for name, array in self.parameters.items()},
                attributes=saved_attributes.save(self._attributes(), self._first, (), self._skip),
            )

    def restore(self, snapshot: ObjectSnapshot) -> None:
        """Return to a snapshot of this object, or of one built with other hyperparameters."""
        self.parameters = {name: array.copy() for name, array in snapshot.parameters.items()}
        with foreign_code(StepFailed, f"{self._spec}: putting its attributes back"):
            saved_attributes.restore(self._attributes(), snapshot.attributes, self._first, (), self._skip)

    def _has_state_dict(self) -> bool:
        return all(callable(getattr(self.optimizer, name, None)) for name in ("state_dict", "load_state_dict"))

    def _attributes(self) -> dict[str, Any]:
        return getattr(self.optimizer, "__dict__", {})

    def _checked(self, returned: Any) -> dict[str, Array]:
        """Return copies of the returned parameters, each in its own dtype, shapes checked."""
        if not isinstance(returned, Mapping) or returned.keys() != self.parameters.keys():
            kind = (
                f"the names {sorted(map(str, returned))}" if isinstance(returned, Mapping) else type(returned).__name__
            )
            raise StepFailed(
                f"{self._spec}: step() returned {escape_control(kind)}, but should return the new parameters, "
                "a dict with every name that it was given."
            )
        found: dict[str, Array] = {}
        for name, before in self.parameters.items():
            with foreign_code(StepFailed, f"{self._spec}: reading {name!r} as step() returned it"):
                found[name] = _rounded(returned[name], before)
            if found[name].shape != before.shape:
                raise StepFailed(
                    f"{self._spec}: step() returned {name!r} with shape {found[name].shape}, "
                    f"but it should stay {before.shape}."
                )
        return found


def _rounded(array: Any, like: Array) -> Array:
    """Return a new C-ordered array in the dtype of `like`; what lies beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return np.array(array, dtype=like.dtype, order="C")


def _is_numeric(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.generic) or (
        isinstance(value, np.ndarray) and value.dtype != object
    )
